"""The pages of a sign-in: /login, /register and /consent, in a browser without JavaScript."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import httpx2
import pytest
import time_machine

from factories import PASSWORD, Service, running
from flows.mail_support import VERIFY, mails_about
from idp.dev.embedded import EmbeddedPostgres
from pages.visitor import CALLBACK, Visitor, authorization, form_of, heading, new_client, returned

WRONG = "The e-mail address or the password is wrong"
EXPIRED = "This sign-in has expired"
REJECTED = "The form was rejected"


@pytest.fixture
async def visitor(service: Service) -> AsyncIterator[Visitor]:
    async with Visitor(service) as visitor:
        yield visitor


@pytest.fixture
async def client_id(service: Service) -> str:
    return await new_client(service)


@pytest.fixture(scope="module")
async def verifying(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    """A service that requires verified addresses."""
    environ = {"IDP_ACCOUNTS__REQUIRE_EMAIL_VERIFICATION": "true"}
    async with running(postgres.create_database("verifying"), environ=environ) as service:
        yield service


async def asked(visitor: Visitor, client_id: str, **changes: str) -> httpx2.Response:
    """Come from an app, and return the page that is shown."""
    return await visitor.open("/oauth2/authorize", **authorization(client_id, **changes))


# --- /login ----------------------------------------------------------------------------------------------------------


async def test_a_user_signs_in_and_comes_back_to_the_app(service: Service, visitor: Visitor, client_id: str) -> None:
    """SEC-41: sign-in, consent, code; 303 after each form; without JavaScript and without Sec-Fetch headers."""
    person = await service.register(name="Ada Lovelace")
    page = await asked(visitor, client_id)
    assert heading(page) == "Sign in"
    assert "to continue to <strong>Notes</strong>" in page.text
    sent = await visitor.post(page, email=person.email, password=PASSWORD)
    assert sent.status_code == 303
    assert sent.headers["Location"].startswith("/oauth2/continue?request=")
    page = await visitor.follow(sent)
    assert heading(page) == "Allow Notes to access your account?"
    assert "Ada Lovelace" in page.text
    sent = await visitor.post(page, decision="allow")
    assert sent.status_code == 303
    done = returned(await visitor.follow(sent))
    assert done["state"] == "state-1"
    assert done["code"]


async def test_the_form_is_one_that_programs_and_password_managers_understand(production: Service) -> None:
    page = await production.client.get("/login")
    form = form_of(page)
    assert set(form.fields) == {"csrf_token", "email", "password"}
    assert 'autocomplete="username webauthn"' in page.text
    assert 'autocomplete="current-password"' in page.text
    assert re.search(r'<input type="checkbox" name="remember"', page.text)
    assert len(form.buttons) == 1
    assert re.findall(r'<form[^>]*action="([^"]*)"', page.text) == ["/login", "/login/passkey"]
    assert "onpaste" not in page.text


async def test_wrong_credentials_are_shown_in_place_and_keep_the_address(service: Service, visitor: Visitor) -> None:
    """SEC-9: an unknown address and a wrong password look the same."""
    person = await service.register()
    page = await visitor.open("/login")
    answers = []
    for email in (person.email, service.new_email()):
        answer = await visitor.send(page, email=email, password="not the password")
        assert answer.status_code == 422
        assert f'value="{email}"' in answer.text
        assert "not the password" not in answer.text
        assert 'aria-invalid="true"' in answer.text
        answers.append(re.sub('data-passkey-get="[^"]*"', "", answer.text.replace(email, "")))
    assert WRONG in answers[0]
    assert answers[0] == answers[1]
    assert (await visitor.post(answer, email=person.email, password=PASSWORD)).status_code == 303


@pytest.mark.parametrize("form", [{"email": "", "password": ""}, {"email": "pat@example.com", "password": ""}, {}])
async def test_a_missing_field_is_named(visitor: Visitor, form: dict[str, str]) -> None:
    answer = await visitor.send(await visitor.open("/login"), **form)
    assert answer.status_code == 422
    assert "Please enter your e-mail address and your password" in answer.text


@pytest.mark.parametrize(
    "values",
    [
        {"email": "x" * 100_000, "password": "y" * 100_000},
        {"email": "<script>alert(1)</script>", "password": "x"},
        {"email": 'a"onfocus="alert(1)', "password": "\x00"},
        {"email": "pat@example.com\r\nSet-Cookie: a=b", "password": "\r\n"},
        {"email": "\ud7ff\u202e\x00", "password": "\u202e"},
        {"email": "pat@example.com", "password": "x", "remember": "y" * 10_000, "unknown": "z"},
    ],
)
async def test_odd_values_are_wrong_credentials(visitor: Visitor, values: dict[str, str]) -> None:
    """SEC-46."""
    answer = await visitor.send(await visitor.open("/login"), **values)
    assert answer.status_code == 422, answer.text
    assert WRONG in answer.text
    assert "<script>alert" not in answer.text
    assert '"onfocus=' not in answer.text
    assert len(answer.text) < 10_000
    assert "a=b" not in str(answer.headers.multi_items() if hasattr(answer.headers, "multi_items") else answer.headers)


async def test_remember_keeps_the_cookie_when_the_browser_closes(service: Service, visitor: Visitor) -> None:
    person = await service.register()
    for values, lasts in (({}, False), ({"remember": "1"}, True)):
        page = await visitor.open("/login", other="1")
        answer = await visitor.post(page, email=person.email, password=PASSWORD, **values)
        (cookie,) = [each for each in answer.headers.get_list("set-cookie") if each.startswith("idp_session=")]
        assert ("Max-Age" in cookie) == lasts
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie


async def test_a_sign_in_gets_a_new_session_and_ends_the_one_before(service: Service, visitor: Visitor) -> None:
    """SEC-70: no fixation; what the browser had before is worth nothing."""
    person = await service.register()
    await visitor.sign_in(person)
    first = visitor.client.cookies["idp_session"]
    await visitor.sign_in(person)
    assert visitor.client.cookies["idp_session"] != first
    stale = await service.client.get("/auth/me", headers={"Cookie": f"idp_session={first}"})
    assert stale.status_code == 401


async def test_two_tabs_and_a_double_submit_do_no_harm(service: Service, visitor: Visitor, client_id: str) -> None:
    person = await service.register()
    one, other = await asked(visitor, client_id, state="one"), await asked(visitor, client_id, state="other")
    assert heading(one) == heading(other) == "Sign in"
    consents = [await visitor.send(page, email=person.email, password=PASSWORD) for page in (one, one, other)]
    assert {heading(page) for page in consents} == {"Allow Notes to access your account?"}
    # The second sign-in ended the first session, and with it the tokens of its forms: they ask again.
    again = await visitor.send(consents[0], decision="allow")
    assert heading(again) == "Allow Notes to access your account?"
    assert returned(await visitor.send(consents[2], decision="allow"))["state"] == "other"
    # What was allowed once is not asked again.
    again = await visitor.open("/oauth2/continue", request=form_of(one).action.partition("request=")[2])
    assert returned(again)["state"] == "one"


async def test_a_finished_sign_in_is_a_page_that_says_so(service: Service, visitor: Visitor, client_id: str) -> None:
    """The back button after the end, and a request that nobody knows."""
    person = await service.register()
    page = await asked(visitor, client_id)
    consent = await visitor.send(page, email=person.email, password=PASSWORD)
    returned(await visitor.send(consent, decision="allow"))
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=2), tick=True):
        for old in (
            await visitor.send(page, email=person.email, password=PASSWORD),
            await visitor.open(str(consent.url)),
        ):
            assert (old.status_code, heading(old)) == (410, EXPIRED)


async def test_an_expired_step_is_a_page_that_says_so(service: Service, visitor: Visitor, client_id: str) -> None:
    person = await service.register()
    page = await asked(visitor, client_id)
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=61), tick=True):
        answer = await visitor.send(page, email=person.email, password=PASSWORD)
    assert (answer.status_code, heading(answer)) == (410, EXPIRED)


@pytest.mark.parametrize("path", ["/login", "/register", "/consent"])
@pytest.mark.parametrize(
    "request_id",
    ["", "nothing", "01990c7e-7f3b-7c1e-8a54-0f6f1d5a9a10", "x" * 5000, "a\r\nSet-Cookie: b=c", "<script>", "\x00"],
)
async def test_a_request_that_nobody_knows_is_a_page(visitor: Visitor, path: str, request_id: str) -> None:
    answer = await visitor.open(f"{path}?request={quote(request_id)}")
    assert (answer.status_code, heading(answer)) == (410, EXPIRED)
    assert "b=c" not in str(answer.headers)
    assert "<script>" not in answer.text


async def test_a_failed_sign_in_is_limited_on_the_page_too(service: Service, visitor: Visitor) -> None:
    """S3-54."""
    person = await service.register()
    page = await visitor.open("/login")
    answers = [await visitor.send(page, email=person.email, password="wrong") for _ in range(11)]
    assert [answer.status_code for answer in answers] == [422] * 10 + [429]
    assert heading(answers[-1]) == "Too many attempts"


# --- where it leads --------------------------------------------------------------------------------------------------


async def test_a_sign_in_leads_to_the_page_that_was_asked_for(service: Service, visitor: Visitor) -> None:
    person = await service.register()
    page = await visitor.open("/login", return_to="/errors?x=1")
    answer = await visitor.post(page, email=person.email, password=PASSWORD)
    assert answer.headers["Location"] == "/errors?x=1"


@pytest.mark.parametrize(
    "return_to",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/%2f/evil.example",
        "/%2F%2Fevil.example",
        "/%252f%252fevil.example",
        "/%5cevil.example",
        "/.//evil.example",
        "/@evil.example",
        "/a@evil.example",
        "javascript:alert(1)",
        "/\tevil",
        "/\r\nSet-Cookie: a=b",
        "/%0d%0aSet-Cookie:%20a=b",
        " /errors",
        "errors",
        "",
        "/" + "a" * 3000,
        "/\u2215evil.example",
    ],
)
async def test_a_sign_in_leads_nowhere_else(service: Service, visitor: Visitor, return_to: str) -> None:
    """SEC-42: //, backslashes, @, encoded, control characters."""
    person = await service.register()
    page = await visitor.open("/login", return_to=return_to)
    answer = await visitor.post(page, email=person.email, password=PASSWORD)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")


# --- CSRF ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/login", "/register"])
@pytest.mark.parametrize("token", ["", "x", "ä", "A" * 43, "\x00"])
async def test_a_form_without_this_browsers_token_is_refused(
    service: Service, visitor: Visitor, path: str, token: str
) -> None:
    """SEC-44: login CSRF; the token of another browser is as good as none."""
    person = await service.register()
    page = await visitor.open(path)
    answer = await visitor.send(page, csrf_token=token, email=person.email, password=PASSWORD)
    assert (answer.status_code, heading(answer)) == (403, REJECTED)
    assert "idp_session" not in visitor.client.cookies
    async with Visitor(service) as other:
        foreign = form_of(await other.open(path)).fields["csrf_token"]
        answer = await visitor.send(page, csrf_token=foreign, email=person.email, password=PASSWORD)
        assert (answer.status_code, heading(answer)) == (403, REJECTED)


async def test_a_form_without_cookies_says_what_to_do(service: Service) -> None:
    async with Visitor(service) as visitor:
        page = await visitor.open("/login")
        visitor.client.cookies.clear()
        answer = await visitor.send(page, email="pat@example.com", password=PASSWORD)
        assert (answer.status_code, heading(answer)) == (403, REJECTED)
        assert "allow cookies" in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_a_form_of_another_site_is_refused(
    service: Service, visitor: Visitor, client_id: str, headers: dict[str, str]
) -> None:
    """SEC-44."""
    person = await service.register()
    page = await asked(visitor, client_id)
    answer = await visitor.send(page, email=person.email, password=PASSWORD, headers=headers)
    assert (answer.status_code, heading(answer)) == (403, REJECTED)
    consent = await visitor.send(page, email=person.email, password=PASSWORD)
    answer = await visitor.send(consent, decision="allow", headers=headers)
    assert (answer.status_code, heading(answer)) == (403, REJECTED)


async def test_consent_needs_the_token_of_the_session(service: Service, visitor: Visitor, client_id: str) -> None:
    """SEC-44: that of the form before the session is not enough."""
    person = await service.register()
    page = await asked(visitor, client_id)
    consent = await visitor.send(page, email=person.email, password=PASSWORD)
    for token in ("", "x", form_of(page).fields["csrf_token"]):
        for decision in ("allow", "deny"):
            answer = await visitor.send(consent, decision=decision, csrf_token=token)
            assert (answer.status_code, heading(answer)) == (200, "Allow Notes to access your account?")
    assert await service.sql("SELECT 1 FROM idp.consents WHERE user_id = $1", person.id) == []


@pytest.fixture(scope="module")
async def https(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    """Production, as a proxy with TLS reaches it."""
    environ = {"IDP_PUBLIC_URL": "https://id.example.com"}
    async with running(postgres.create_database("https_pages"), profile="production", environ=environ) as service:
        yield service


async def test_over_https_no_other_host_can_set_the_cookies(https: Service) -> None:
    """SEC-44 SEC-70: `__Host-`, Secure and HttpOnly, before the session and with it."""
    person = await https.register()
    page = await https.client.get("/login")
    (cookie,) = page.headers.get_list("set-cookie")
    assert re.fullmatch(r"__Host-idp_form=[\w-]{22}; HttpOnly; Path=/; SameSite=lax; Secure", cookie)
    headers = {"Cookie": cookie.partition(";")[0], "Origin": "https://id.example.com"}
    form = form_of(page).fields | {"email": person.email, "password": PASSWORD}
    done = await https.client.post("/login", data=form, headers=headers)
    assert done.status_code == 303
    sessions = [each for each in done.headers.get_list("set-cookie") if each.startswith("__Host-idp_session=")]
    assert len(sessions) == 1
    assert "Secure" in sessions[0]
    assert "HttpOnly" in sessions[0]


@pytest.mark.parametrize(
    "query",
    [
        "request=a&request=b",
        "request=%00",
        "request=%ff%fe",
        "return_to=%ff&return_to=/x",
        "choose=%F0%9F%98%80&other=&resume=%00",
        "=&&&=;",
        "request=" + "%0d%0a" * 500,
        "ui_locales=" + "de%20" * 3000,
        "ui_locales=%00%ff&request=x",
        "a[]=1&__proto__=2",
        "step[]=sent&step=%F0",
        "token=%ff&token=x",
    ],
)
@pytest.mark.parametrize("path", ["/login", "/register", "/consent", "/reset-password", "/verify-email"])
async def test_an_odd_query_is_never_a_fault(production: Service, path: str, query: str) -> None:
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
        answer = await production.client.request(method, f"{path}?{query}")
        assert answer.status_code < 500, (method, answer.text)
        assert "a=b" not in str(answer.headers)


@pytest.mark.parametrize("path", ["/login", "/register", "/consent", "/reset-password"])
async def test_an_odd_body_is_a_page(production: Service, path: str) -> None:
    bodies: list[tuple[bytes, str]] = [
        (b"", "application/x-www-form-urlencoded"),
        (b"email=a&email=b", "application/x-www-form-urlencoded"),
        (b"email=%ff", "application/x-www-form-urlencoded"),
        (b"{}", "application/json"),
        (b'--x\r\nContent-Disposition: form-data; name="email"\r\n\r\na\r\n--x--', "multipart/form-data; boundary=x"),
        (b"x" * 2_000_000, "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % number for number in range(100)), "application/x-www-form-urlencoded"),
    ]
    for body, kind in bodies:
        answer = await production.client.post(path, content=body, headers={"Content-Type": kind})
        assert 400 <= answer.status_code < 500, (body[:50], answer.text)
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8", (body[:50], answer.text)


# --- choosing an account ---------------------------------------------------------------------------------------------


async def test_an_account_is_chosen_with_one_click(service: Service, visitor: Visitor) -> None:
    client_id = await new_client(service, skip_consent=True)
    person = await service.register(name="Grace Hopper")
    await visitor.sign_in(person)
    page = await asked(visitor, client_id, prompt="select_account")
    assert heading(page) == "Choose an account"
    assert "Continue as Grace Hopper" in page.text
    assert "Use another account" in page.text
    assert returned(await visitor.send(page))["code"]
    page = await asked(visitor, client_id, prompt="select_account")
    other = await service.register()
    link = re.findall(r'<a class="button quiet" href="([^"]*)"', page.text)[0].replace("&amp;", "&")
    page = await visitor.open(link)
    assert heading(page) == "Sign in"
    assert returned(await visitor.send(page, email=other.email, password=PASSWORD))["code"]


async def test_choosing_needs_the_token_of_the_session(service: Service, visitor: Visitor, client_id: str) -> None:
    """SEC-44."""
    await visitor.sign_in(await service.register())
    page = await asked(visitor, client_id, prompt="select_account")
    answer = await visitor.send(page, csrf_token="x")
    assert (answer.status_code, heading(answer)) == (200, "Choose an account")


async def test_a_session_that_ended_meanwhile_leads_to_the_form(service: Service, visitor: Visitor) -> None:
    person = await service.register()
    await visitor.sign_in(person)
    page = await visitor.open("/login")
    assert heading(page) == "Choose an account"
    out = await service.client.post("/auth/logout-all", headers=person.bearer)
    assert out.status_code == 200
    assert heading(await visitor.send(page)) == "Sign in"


async def test_prompt_login_asks_for_the_password_although_there_is_a_session(
    service: Service, visitor: Visitor, client_id: str
) -> None:
    """SEC-45: the address of the session is filled in."""
    person = await service.register()
    await visitor.sign_in(person)
    page = await asked(visitor, client_id, prompt="login")
    assert heading(page) == "Sign in"
    assert form_of(page).fields["email"] == person.email


async def test_login_hint_and_ui_locales_of_the_request_count(visitor: Visitor, client_id: str) -> None:
    """SEC-46: the hint is text."""
    page = await asked(visitor, client_id, login_hint='"><script>x', ui_locales="fr de")
    assert "<script>x" not in page.text
    assert form_of(page).fields["email"] == '"><script>x'
    assert heading(page) == "Anmelden"
    assert page.headers["Content-Language"] == "de"


# --- /consent --------------------------------------------------------------------------------------------------------


async def test_consent_says_who_asks_for_what_in_words(service: Service, visitor: Visitor) -> None:
    """SEC-45, SEC-46: links of the client open without a referrer; a script is no link."""
    client_id = await new_client(
        service,
        name='<img src=x onerror="alert(1)"> & Söhne',
        client_uri="https://app.example.com/about?a=1&b=2",
        policy_uri="javascript:alert(1)",
        tos_uri="https://app.example.com/tos",
        scopes=["openid", "email", "offline_access", "billing:read"],
    )
    page = await asked(visitor, client_id, scope="openid email offline_access billing:read")
    assert "<img src=x" not in page.text
    page = await visitor.send(page, email=(await service.register()).email, password=PASSWORD)
    assert heading(page) == 'Allow <img src=x onerror="alert(1)"> & Söhne to access your account?'
    assert "<img src=x" not in page.text
    for text in ("know who you are", "read your e-mail address", "while you are away", "<code>billing:read</code>"):
        assert text in page.text
    assert page.text.count('target="_blank" rel="noopener noreferrer"') == 2
    assert "javascript:" not in page.text
    assert "<strong>app.example.com</strong>" in page.text


async def test_denying_returns_the_error_to_the_app(service: Service, visitor: Visitor, client_id: str) -> None:
    page = await asked(visitor, client_id)
    consent = await visitor.send(page, email=(await service.register()).email, password=PASSWORD)
    done = returned(await visitor.send(consent, decision="deny"))
    assert done["error"] == "access_denied"
    assert done["state"] == "state-1"


async def test_a_form_without_a_decision_decides_nothing(service: Service, visitor: Visitor, client_id: str) -> None:
    page = await asked(visitor, client_id)
    consent = await visitor.send(page, email=(await service.register()).email, password=PASSWORD)
    for decision in ("", "ALLOW", "x" * 100_000):
        assert (await visitor.send(consent, decision=decision)).status_code == 400
    assert returned(await visitor.send(consent, decision="allow"))["code"]


async def test_consent_without_a_session_leads_to_the_sign_in(
    service: Service, visitor: Visitor, client_id: str
) -> None:
    page = await asked(visitor, client_id)
    consent = await visitor.send(page, email=(await service.register()).email, password=PASSWORD)
    visitor.client.cookies.delete("idp_session")
    assert heading(await visitor.open(str(consent.url))) == "Sign in"
    assert heading(await visitor.send(consent, decision="allow")) == "Sign in"


async def test_an_app_that_is_deleted_meanwhile_ends_the_sign_in(
    service: Service, visitor: Visitor, client_id: str
) -> None:
    page = await asked(visitor, client_id)
    consent = await visitor.send(page, email=(await service.register()).email, password=PASSWORD)
    await service.sql("DELETE FROM idp.oauth_clients WHERE client_id = $1", client_id)
    for answer in (await visitor.send(consent, decision="allow"), await visitor.open(str(consent.url))):
        assert (answer.status_code, heading(answer)) == (410, EXPIRED)


# --- errors ----------------------------------------------------------------------------------------------------------


async def test_a_foreign_redirect_uri_is_a_page_with_both_sides(visitor: Visitor, client_id: str) -> None:
    """SEC-34, SEC-46: what was received and what is registered, as text."""
    foreign = "https://evil.example/cb?<script>"
    answer = await visitor.open("/oauth2/authorize", **authorization(client_id, redirect_uri=foreign))
    assert answer.status_code == 400
    assert heading(answer) == "This sign-in cannot continue"
    assert "https://evil.example/cb?&lt;script&gt;" in answer.text
    assert CALLBACK in answer.text
    assert answer.headers["X-Request-Id"] in answer.text
    assert 'href="https://evil' not in answer.text


# --- every page ------------------------------------------------------------------------------------------------------


async def test_every_page_is_private_and_only_where_the_app_is_does_its_form_lead(
    service: Service, visitor: Visitor, client_id: str
) -> None:
    """SEC-43 SEC-47: no frame, no cache, no script but ours; `form-action` names the app's origin (Chromium)."""
    login = await asked(visitor, client_id)
    consent = await visitor.send(login, email=(await service.register()).email, password=PASSWORD)
    plain = [await visitor.open(path) for path in ("/login?other=1", "/login", "/register")]
    for page in (login, consent, *plain):
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["Referrer-Policy"] == "same-origin"
        assert page.headers["X-Frame-Options"] == "DENY"
        assert page.headers["Content-Language"] == "en"
        assert "Accept-Language" in page.headers["Vary"]
        policy = page.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert ("https://app.example.com" in policy) == (page not in plain)
        assert re.findall(r"<script(?! src)|style=|\son\w+=", page.text) == []
        assert re.findall(r'(?:src|action)="(?!/)', page.text) == []


# --- /register -------------------------------------------------------------------------------------------------------


async def test_a_new_user_comes_back_to_the_app(service: Service, visitor: Visitor, client_id: str) -> None:
    page = await asked(visitor, client_id)
    page = await visitor.open(re.findall(r'href="(/register[^"]*)"', page.text)[0])
    assert "to continue to <strong>Notes</strong>" in page.text
    assert 'autocomplete="new-password"' in page.text
    email = service.new_email()
    consent = await visitor.send(page, name="Ada Lovelace", email=email, password=PASSWORD)
    assert "Ada Lovelace" in consent.text
    assert returned(await visitor.send(consent, decision="allow"))["code"]


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"email": "nobody"}, "Please enter a valid e-mail address"),
        ({"email": "x" * 100_000}, "Please enter a valid e-mail address"),
        ({"name": "a\nb"}, "Please enter your name in one line"),
        ({"name": "x" * 100_000}, "Please enter your name in one line"),
        ({"name": "a\u202eb"}, "Please enter your name in one line"),
        ({"password": "short"}, "The password has 5 characters; choose 8 to 128."),
        ({"password": "x" * 100_000}, "choose 8 to 128."),
    ],
)
async def test_what_is_wrong_is_shown_in_place(
    service: Service, visitor: Visitor, values: dict[str, str], error: str
) -> None:
    """C-07."""
    form = {"name": "Ada", "email": service.new_email(), "password": PASSWORD} | values
    answer = await visitor.send(await visitor.open("/register"), **form)
    assert answer.status_code == 422
    assert error in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert form["password"] not in answer.text
    assert len(answer.text) < 10_000


async def test_the_policy_is_explained_in_german_too(service: Service) -> None:
    async with Visitor(service, **{"Accept-Language": "de"}) as visitor:
        page = await visitor.open("/register")
        answer = await visitor.send(page, email=service.new_email(), password="kurz")
        assert "Das Passwort hat 4 Zeichen; erlaubt sind 8 bis 128." in answer.text


async def test_an_address_that_has_an_account_is_told_so_where_the_api_tells_it_too(
    service: Service, visitor: Visitor
) -> None:
    """S3-24: without verification, POST /auth/register says 409."""
    person = await service.register()
    answer = await visitor.send(await visitor.open("/register"), email=person.email, password=PASSWORD)
    assert answer.status_code == 422
    assert "There is already an account with this address" in answer.text


async def test_with_verification_nobody_learns_who_has_an_account(verifying: Service) -> None:
    """C-30 C-11: the same answer, and no session before the address is verified."""
    emails = [verifying.new_email(), verifying.new_email()]
    async with Visitor(verifying) as visitor:
        page = await visitor.open("/register")
        answers = [
            await visitor.send(page, name="Ada", email=email, password=PASSWORD) for email in (emails[0], *emails)
        ]
        assert {(answer.status_code, heading(answer), answer.text) for answer in answers} == {
            (200, "Check your mail", answers[0].text)
        }
        assert "idp_session" not in visitor.client.cookies
        refused = await visitor.send(await visitor.open("/login"), email=emails[1], password=PASSWORD)
        assert refused.status_code == 422
        assert WRONG in refused.text
        assert 'href="/verify-email"' in refused.text
        (mail,) = await mails_about(verifying, emails[1], VERIFY)
        done = await visitor.send(await visitor.open(mail["links"][0]))
        assert heading(done) == "Your address is confirmed"
        assert 'href="/login?resume=1"' in done.text
        page = await visitor.open("/login")
        assert (await visitor.post(page, email=emails[1], password=PASSWORD)).status_code == 303
        me = await visitor.client.get("/auth/me")
        assert me.json()["name"] == "Ada"


async def test_a_new_user_comes_back_to_the_app_after_the_mail(verifying: Service) -> None:
    """The link opens in the browser that waits; in another one, the sign-in leads home."""
    client_id, email = await new_client(verifying, skip_consent=True), verifying.new_email()
    async with Visitor(verifying) as visitor, Visitor(verifying) as other:
        page = await asked(visitor, client_id)
        page = await visitor.open(re.findall(r'href="(/register[^"]*)"', page.text)[0])
        assert heading(await visitor.send(page, email=email, password=PASSWORD)) == "Check your mail"
        (mail,) = await mails_about(verifying, email, VERIFY)
        done = await visitor.send(await visitor.open(mail["links"][0]))
        (link,) = re.findall(r'href="(/login[^"]*)"', done.text)
        page = await visitor.open(link)
        assert "to continue to <strong>Notes</strong>" in page.text
        assert returned(await visitor.send(page, email=email, password=PASSWORD))["code"]
        elsewhere = await other.post(await other.open(link), email=email, password=PASSWORD)
        assert elsewhere.headers["Location"] == "/"
        for value in ("nothing", "01990c7e-7f3b-7c1e-8a54-0f6f1d5a9a10", "<script>"):
            page = await verifying.client.get(link, headers={"Cookie": f"idp_waiting={value}"})
            assert (page.status_code, heading(page)) == (200, "Sign in")


async def test_many_at_once_make_one_account(service: Service) -> None:
    email = service.new_email()
    visitors = [Visitor(service) for _ in range(6)]
    pages = await asyncio.gather(*(each.open("/register") for each in visitors))
    pairs = zip(visitors, pages, strict=True)
    answers = await asyncio.gather(*(each.post(page, email=email, password=PASSWORD) for each, page in pairs))
    for each in visitors:
        await each.client.aclose()
    assert sorted(answer.status_code for answer in answers) == [303] + [422] * 5


async def test_a_password_reset_keeps_the_sign_in(service: Service, visitor: Visitor, client_id: str) -> None:
    page = await asked(visitor, client_id)
    (link,) = re.findall(r'href="(/reset-password[^"]*)"', page.text)
    assert "request=" in link
    ask = await visitor.open(link)
    assert heading(ask) == "Forgot your password?"
    sent = await visitor.send(ask, email=(await service.register()).email)
    assert heading(sent) == "Check your mail"
    (back,) = re.findall(r'href="(/login[^"]*)"', sent.text)
    assert "to continue to <strong>Notes</strong>" in (await visitor.open(back)).text
