"""RP-initiated logout: an app sends its user's browser to /oauth2/logout (SEC-72)."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import msgspec
import pytest
import time_machine

from factories import Person, Service, running
from idp import clock
from idp.dev.embedded import EmbeddedPostgres
from idp.signing import base64url
from provider_apps import CALLBACK, App, Browser, claims_of, register_app, returned
from webhooks.receiver import receiving

LOGOUT = "/oauth2/logout"
AFTER = "https://app.example.com/bye?lang=en"


@pytest.fixture(scope="module")
async def service(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("rp_logout")) as service:
        yield service


@pytest.fixture(scope="module")
async def admin(service: Service) -> Person:
    return await service.register_admin()


@pytest.fixture(scope="module")
async def app(service: Service, admin: Person) -> App:
    return await register_app(service, admin, post_logout_redirect_uris=[AFTER])


async def is_signed_in(browser: Browser) -> bool:
    return (await browser.client.get("/auth/me")).status_code == 200


def fields_of(page: httpx2.Response) -> dict[str, str]:
    """The fields of a page's form, as a program without JavaScript reads them."""
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page.text)
    return {name: unescape(value) for name, value in found}


async def confirm(browser: Browser, page: httpx2.Response, **changes: str) -> httpx2.Response:
    assert page.status_code == 200, page.text
    (action,) = re.findall(r'<form method="post" action="([^"]+)">', page.text)
    return await browser.client.post(action, data=fields_of(page) | changes)


def assert_left(answer: httpx2.Response, uri: str) -> None:
    assert (answer.status_code, answer.headers["Location"]) == (303, uri)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    cleared = [each for each in answer.headers.get_list("set-cookie") if each.startswith(("idp_session=", "idp_csrf="))]
    assert len(cleared) == 2
    assert all("Max-Age=0" in each for each in cleared)


def assert_page_of_an_error(answer: httpx2.Response, code: str) -> None:
    """A page for people, with details for developers; never a redirect."""
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("text/html")
    assert "Location" not in answer.headers
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert code in answer.text
    assert "Signing out did not work" in answer.text


# --- with an ID token of the session ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_app_signs_its_user_out(
    service: Service, app: App, browser: Browser, person: Person, method: str
) -> None:
    """SEC-72: without a question; the session, its apps and their tokens end; `state` comes back untouched."""
    tokens = await app.tokens(browser)
    state = "a b&c=ü/+%22"
    sent = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": AFTER, "state": state}
    if method == "GET":
        answer = await browser.client.get(LOGOUT, params=sent)
    else:
        answer = await browser.client.post(LOGOUT, data=sent)
    where = answer.headers["Location"]
    assert where.startswith(AFTER + "&state=")
    assert parse_qs(urlsplit(where).query) == {"lang": ["en"], "state": [state]}
    assert_left(answer, where)
    assert not await is_signed_in(browser)
    assert (await service.validate(tokens["access_token"]))["valid"] is False
    assert (await app.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    (found,) = await service.sql(
        "SELECT actor, details FROM idp.audit_logs WHERE user_id = $1 AND action = 'session.ended'", person.id
    )
    assert found["actor"] == f"user:{person.id}"


async def test_other_apps_are_told_by_back_channel(service: Service, admin: Person, app: App, browser: Browser) -> None:
    """SEC-73: both, the one that asked for it too."""
    async with receiving() as party:
        party.url = party.url.replace("/hook", "/logout")
        other = await register_app(service, admin, backchannel_logout_uri=party.url)
        tokens, of_other = await app.tokens(browser), await other.tokens(browser)
        await browser.client.get(LOGOUT, params={"id_token_hint": tokens["id_token"]})
        (posted,) = await party.wait_for(1)
        told = claims_of(parse_qs(posted.body.decode())["logout_token"][0])
        expected = claims_of(of_other["id_token"])
        assert (told["sid"], told["sub"], told["aud"]) == (expected["sid"], expected["sub"], other.client_id)
        assert told["iss"] == expected["iss"]


async def test_an_expired_id_token_still_signs_out(app: App, browser: Browser) -> None:
    """RP-Initiated Logout section 2: its expiry does not matter."""
    tokens = await app.tokens(browser)
    with time_machine.travel(clock.now() + timedelta(hours=5), tick=True):
        answer = await browser.client.get(
            LOGOUT, params={"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": AFTER}
        )
        assert_left(answer, AFTER)
        assert not await is_signed_in(browser)


async def test_without_an_address_our_own_page_follows(app: App, browser: Browser) -> None:
    tokens = await app.tokens(browser)
    answer = await browser.client.get(LOGOUT, params={"id_token_hint": tokens["id_token"], "state": "unused"})
    assert_left(answer, "/signed-out")
    page = await browser.client.get("/signed-out")
    assert (page.status_code, "You are signed out" in page.text) == (200, True)
    assert page.headers["Cache-Control"] == "no-store"


async def test_after_signing_in_again_the_older_id_token_still_signs_out(
    app: App, browser: Browser, person: Person
) -> None:
    """`prompt=login` keeps the app's `sid`, because the app moves to the new session."""
    tokens = await app.tokens(browser)
    await browser.sign_in(person)
    answer = await browser.client.get(LOGOUT, params={"id_token_hint": tokens["id_token"]})
    assert_left(answer, "/signed-out")


# --- with a question -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [{}, {"post_logout_redirect_uri": AFTER, "state": "s1", "client_id": "the app's"}])
async def test_without_an_id_token_the_user_is_asked(app: App, browser: Browser, sent: dict[str, str]) -> None:
    """SEC-72 SEC-44: a link on any page must not sign anyone out."""
    sent = sent | ({"client_id": app.client_id} if sent else {})
    page = await browser.client.get(LOGOUT, params=sent)
    assert (page.status_code, "Sign out?" in page.text) == (200, True)
    assert ("Notes" in page.text) == bool(sent)
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["X-Frame-Options"] == "DENY"
    assert await is_signed_in(browser)
    answer = await confirm(browser, page)
    assert_left(answer, AFTER + "&state=s1" if sent else "/signed-out")
    assert not await is_signed_in(browser)


async def test_the_confirmation_needs_the_token_of_the_session(app: App, browser: Browser) -> None:
    """SEC-44: not of another session, nor from another site."""
    page = await browser.client.get(LOGOUT)
    refused = await confirm(browser, page, csrf_token="x" * 43)
    assert refused.status_code == 403
    fields = fields_of(page)
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    refused = await browser.client.post("/oauth2/logout/confirm", data=fields, headers=foreign)
    assert refused.status_code == 403
    assert await is_signed_in(browser)


async def test_an_id_token_of_another_user_or_browser_asks(
    service: Service, app: App, browser: Browser, person: Person
) -> None:
    """SEC-72: `sub` and `sid` must both be the browser's."""
    async with Browser(service) as elsewhere, Browser(service) as of_other:
        await elsewhere.sign_in(person)
        await of_other.sign_in(await service.register())
        for other in (elsewhere, of_other):
            tokens = await app.tokens(other)
            page = await browser.client.get(LOGOUT, params={"id_token_hint": tokens["id_token"]})
            assert "Sign out?" in page.text
            assert await is_signed_in(browser)
            assert await is_signed_in(other)


async def test_the_question_is_in_the_users_language(browser: Browser) -> None:
    page = await browser.client.get(LOGOUT, params={"ui_locales": "de"})
    assert "Abmelden?" in page.text


async def test_who_is_signed_in_is_not_told_otherwise(browser: Browser) -> None:
    answer = await browser.client.get("/signed-out")
    assert (answer.status_code, answer.headers["Location"]) == (303, LOGOUT)


# --- without a session -----------------------------------------------------------------------------------------------


async def test_a_browser_without_a_session_goes_straight_on(app: App, browser: Browser, stranger: Browser) -> None:
    """To the app's address if the app is proven by id or ID token, else to our own page."""
    tokens = await app.tokens(browser)
    for proof in ({"client_id": app.client_id}, {"id_token_hint": tokens["id_token"]}):
        answer = await stranger.client.get(LOGOUT, params={"post_logout_redirect_uri": AFTER, **proof})
        assert_left(answer, AFTER)
    assert_left(await stranger.client.get(LOGOUT), "/signed-out")
    assert await is_signed_in(browser)


async def test_an_app_that_outlives_the_browser_session_signs_out(
    service: Service, app: App, browser: Browser, person: Person, stranger: Browser
) -> None:
    """Its refresh token ends too; but an ID token alone ends no session that still lives in a browser."""
    tokens = await app.tokens(browser)
    await stranger.client.get(LOGOUT, params={"id_token_hint": tokens["id_token"]})
    assert await is_signed_in(browser)
    expire = "UPDATE idp.user_sessions SET idle_expires_at = now() WHERE user_id = $1 AND parent_id IS NULL"
    await service.sql(expire, person.id)
    assert not await is_signed_in(browser)
    renewed = await app.refresh(tokens["refresh_token"])
    assert renewed.status_code == 200
    assert_left(await browser.client.get(LOGOUT, params={"id_token_hint": tokens["id_token"]}), "/signed-out")
    assert (await app.refresh(renewed.json()["refresh_token"])).json()["error"] == "invalid_grant"


async def test_a_form_of_another_site_signs_out(app: App, browser: Browser, stranger: Browser) -> None:
    """Browsers send no Lax cookie with it, so it continues as GET, where they do."""
    tokens = await app.tokens(browser)
    sent = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": AFTER, "state": "s2"}
    foreign = {"Origin": "https://app.example.com", "Sec-Fetch-Site": "cross-site"}
    answer = await stranger.client.post(LOGOUT, data=sent, headers=foreign)
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith(LOGOUT + "?")
    assert_left(await browser.client.get(answer.headers["Location"]), AFTER + "&state=s2")
    assert not await is_signed_in(browser)


async def test_a_native_app_returns_to_any_port_of_its_loopback(
    service: Service, admin: Person, stranger: Browser
) -> None:
    """RFC 8252 section 7.3."""
    native = await register_app(
        service,
        admin,
        application_type="native",
        token_endpoint_auth_method="none",
        redirect_uris=["http://127.0.0.1/cb"],
        post_logout_redirect_uris=["http://127.0.0.1/bye"],
    )
    uri = "http://127.0.0.1:49152/bye"
    sent = {"client_id": native.client_id, "post_logout_redirect_uri": uri}
    assert_left(await stranger.client.get(LOGOUT, params=sent), uri)
    answer = await stranger.client.get(LOGOUT, params=sent | {"post_logout_redirect_uri": uri + "/x"})
    assert_page_of_an_error(answer, "post_logout_redirect_uri_mismatch")


# --- refusals --------------------------------------------------------------------------------------------------------

WRONG_URIS = [
    "https://app.example.com/bye",
    AFTER + "&more=1",
    AFTER + "#fragment",
    AFTER.upper(),
    CALLBACK,
    "https://app.example.com.evil.example/bye?lang=en",
    "https://app.example.com@evil.example/bye?lang=en",
    "//evil.example",
    "/\\evil.example",
    "javascript:alert(1)",
    "x" * 20_000,
]


@pytest.mark.parametrize("uri", WRONG_URIS)
async def test_an_unregistered_address_is_refused_with_a_page(app: App, browser: Browser, uri: str) -> None:
    """SEC-72 SEC-42: with an ID token or without, signed in or not; the user stays signed in."""
    tokens = await app.tokens(browser)
    for proof in ({"client_id": app.client_id}, {"id_token_hint": tokens["id_token"]}):
        answer = await browser.client.get(LOGOUT, params={"post_logout_redirect_uri": uri, **proof})
        assert_page_of_an_error(answer, "post_logout_redirect_uri_mismatch")
        assert "https://app.example.com/bye?lang=en" in unescape(answer.text)
    assert await is_signed_in(browser)


async def test_an_address_without_an_app_is_refused(browser: Browser, stranger: Browser) -> None:
    for each in (browser, stranger):
        answer = await each.client.get(LOGOUT, params={"post_logout_redirect_uri": AFTER})
        assert_page_of_an_error(answer, "logout_request_invalid")


async def test_an_id_token_that_is_none_is_refused(
    service: Service, admin: Person, app: App, browser: Browser, person: Person
) -> None:
    """SEC-25 SEC-26: altered, of another kind, of another client, without a signature."""
    tokens = await app.tokens(browser)
    other = await register_app(service, admin)
    head, body, signature = tokens["id_token"].split(".")
    wrong: list[dict[str, Any]] = [
        {"id_token_hint": f"{head}.{body}.{signature[:-8]}AAAAAAAA"},
        {"id_token_hint": f"{head}.{body}."},
        {"id_token_hint": "eyJhbGciOiJub25lIn0." + body + "."},
        {"id_token_hint": tokens["access_token"]},
        {"id_token_hint": person.token},
        {"id_token_hint": "nonsense"},
        {"id_token_hint": "\x00"},
        {"id_token_hint": "a" * 10_000},
        {"id_token_hint": tokens["id_token"], "client_id": other.client_id},
    ]
    for sent in wrong:
        answer = await browser.client.get(LOGOUT, params={"post_logout_redirect_uri": AFTER, **sent})
        assert_page_of_an_error(answer, "logout_request_invalid")
    assert await is_signed_in(browser)


async def test_an_unknown_app_is_refused(browser: Browser) -> None:
    for client_id in ("client_unknown", "\x00", "ü" * 300):
        answer = await browser.client.get(LOGOUT, params={"client_id": client_id})
        assert_page_of_an_error(answer, "unknown_client")


@pytest.mark.parametrize(
    "query",
    [
        "state=1&state=2",
        "client_id=a&client_id=b",
        "post_logout_redirect_uri=https://a.example&post_logout_redirect_uri=https://b.example",
        "state=%00",
        "state=%ff",
        "&".join(f"x{count}=1" for count in range(60)),
        "state=" + "s" * 17_000,
    ],
)
async def test_bad_parameters_are_refused(stranger: Browser, query: str) -> None:
    """SEC-55: never a redirect, never a 5xx."""
    assert_page_of_an_error(await stranger.client.get(f"{LOGOUT}?{query}"), "logout_request_invalid")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await stranger.client.post(LOGOUT, content=query.encode(), headers=form)
    assert_page_of_an_error(answer, "logout_request_invalid")


async def test_a_body_that_is_no_form_is_refused(stranger: Browser) -> None:
    answer = await stranger.client.post(LOGOUT, json={"client_id": "x"})
    assert answer.status_code in {400, 415}
    assert answer.headers["content-type"].startswith(("text/html", "application/problem+json"))


async def test_names_of_clients_and_states_are_escaped(service: Service, admin: Person, browser: Browser) -> None:
    """SEC-46."""
    bad = "<script>alert(1)</script>"
    app = await register_app(service, admin, client_name=bad, post_logout_redirect_uris=[AFTER])
    sent = {"client_id": app.client_id, "post_logout_redirect_uri": AFTER, "state": '"><script>'}
    page = await browser.client.get(LOGOUT, params=sent)
    assert "<script>alert" not in page.text
    assert fields_of(page)["state"] == '"><script>'
    wrong = await browser.client.get(LOGOUT, params=sent | {"post_logout_redirect_uri": f"https://x.example/{bad}"})
    assert "<script>alert" not in wrong.text


# --- hints that outlive their key -------------------------------------------------------------------------------------


async def test_an_id_token_of_a_retired_key_asks_before_it_signs_out(
    service: Service, app: App, browser: Browser, person: Person
) -> None:
    """SEC-72: an app keeps the ID token of its sign-in for weeks, a rotated key is published for hours. Nothing proves
    such a hint, so it does what `client_id` does: the user is asked, and only a registered address is returned to."""
    tokens = await app.tokens(browser)
    keyring = service.app.core.keyring
    for key in await keyring.list_keys():
        await keyring.retire(key.kid, at_once=True)
    sent = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": AFTER, "state": "s"}
    page = await browser.client.get(LOGOUT, params=sent)
    assert page.status_code == 200, page.text
    assert await is_signed_in(browser)
    wrong = sent | {"post_logout_redirect_uri": "https://evil.example.com"}
    assert (await browser.client.get(LOGOUT, params=wrong)).status_code == 400
    again = await app.authorize(browser, prompt="none", id_token_hint=tokens["id_token"])
    assert "code" in returned(again)
    assert_left(await confirm(browser, page), f"{AFTER}&state=s")
    assert not await is_signed_in(browser)


async def test_a_hint_of_a_retired_key_has_values_that_can_be_saved(
    service: Service, app: App, stranger: Browser
) -> None:
    """SEC-76: nobody signed it, so anything may be in it."""
    claims = {"iss": service.base_url, "aud": app.client_id, "exp": 1, "iat": 1}
    for subject in ("a\x00b", "x" * 5000):
        parts = [{"alg": "RS256", "kid": "gone", "typ": "JWT"}, claims | {"sub": subject}]
        head, body = (base64url.encode(msgspec.json.encode(each)) for each in parts)
        answer = await app.authorize(stranger, id_token_hint=f"{head}.{body}.AAAA")
        assert returned(answer)["error"] == "invalid_request"
