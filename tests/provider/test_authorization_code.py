"""Authorization code with PKCE: from the authorization request to tokens that services accept (SEC-34 to SEC-41,
SEC-45, SEC-61)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine

from factories import Person, Service, running
from idp import clock
from idp.dev.embedded import EmbeddedPostgres
from idp.signing.id_token import at_hash
from provider_apps import CALLBACK, EVERY_SCOPE, App, Browser, challenge_of, claims_of, register_app, returned


@pytest.fixture(scope="module")
async def service(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("authorization_code")) as service:
        yield service


@pytest.fixture(scope="module")
async def admin(service: Service) -> Person:
    return await service.register_admin()


@pytest.fixture(scope="module")
async def app(service: Service, admin: Person) -> App:
    return await register_app(service, admin)


# --- the whole way ---------------------------------------------------------------------------------------------------


async def test_a_user_signs_in_to_an_app(service: Service, app: App, browser: Browser, person: Person) -> None:
    """SEC-38 SEC-40 SEC-61; OpenID Connect Core section 3.1."""
    answer = await app.authorize(browser)
    assert answer.headers["Location"].startswith(f"{CALLBACK}?")
    assert answer.headers["Cache-Control"] == "no-store"
    back = returned(answer)
    assert set(back) == {"code", "state", "iss"}
    assert (back["state"], back["iss"]) == ("state-1", service.base_url)
    answer = await app.exchange(back["code"])
    assert (answer.headers["Cache-Control"], answer.headers["Pragma"]) == ("no-store", "no-cache")
    body = answer.json()
    assert set(body) == {"access_token", "token_type", "expires_in", "scope", "refresh_token", "id_token"}
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 1800, EVERY_SCOPE)
    claims = claims_of(body["id_token"])
    assert (claims["iss"], claims["aud"], claims["sub"]) == (service.base_url, app.client_id, person.id)
    assert (claims["nonce"], claims["amr"], claims["acr"]) == ("nonce-1", ["pwd"], "1")
    assert claims["at_hash"] == at_hash(body["access_token"])
    assert abs(claims["auth_time"] - clock.timestamp()) < 30
    assert (claims["email"], claims["name"], claims["roles"]) == (person.email, "Grace Hopper", ["user"])
    assert [team["name"] for team in claims["teams"]] == ["General"]


async def test_one_principal_resolves_from_the_apps_token(
    service: Service, app: App, browser: Browser, person: Person
) -> None:
    tokens = await app.tokens(browser)
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    claims = claims_of(tokens["access_token"])
    assert (claims["client_id"], claims["sub"], claims["aud"]) == (app.client_id, person.id, service.base_url)
    verdict = await service.validate(tokens["access_token"], required_scopes=["openid"])
    ours = await service.validate(person.token)
    assert (verdict["valid"], verdict["kind"], verdict["client_id"]) == (True, "user", app.client_id)
    assert verdict["user"] == ours["user"]
    assert ours["client_id"] is None
    me = await service.me(bearer)
    assert me.json() == (await service.me(person.bearer)).json()
    info = await service.client.get("/oauth2/userinfo", headers=bearer)
    assert info.json()["sub"] == claims_of(tokens["id_token"])["sub"]
    explained = await service.client.post(
        "/auth/explain", headers=person.bearer, json={"token": tokens["access_token"]}
    )
    assert app.client_id in explained.text


async def test_an_app_sees_only_what_its_scopes_cover(service: Service, app: App, browser: Browser) -> None:
    tokens = await app.tokens(browser, scope="openid")
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    info = (await service.client.get("/oauth2/userinfo", headers=bearer)).json()
    assert set(info) == {"sub"}
    me = (await service.me(bearer)).json()
    assert (me["email"], me["name"], me["roles"], me["teams"], me["domains"]) == (None, None, [], [], [])
    assert (await service.client.get("/teams", headers=bearer)).json() == []
    assert {"email", "name", "teams"} & set(claims_of(tokens["id_token"])) == set()
    assert "refresh_token" not in tokens  # no offline_access


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/api-keys"),
        ("GET", "/v1/api-keys"),
        ("PATCH", "/v1/me"),
        ("DELETE", "/v1/me"),
        ("GET", "/v1/me/export"),
        ("GET", "/api/auth/sessions"),
        ("POST", "/api/auth/logout-all"),
        ("POST", "/api/auth/password/change"),
        ("GET", "/api/auth/admin/users"),
        ("GET", "/api/auth/admin/clients"),
        ("GET", "/teams/all"),
        ("POST", "/teams"),
        ("POST", "/auth/tokens"),
    ],
)
async def test_an_app_cannot_act_on_the_account(
    service: Service, app: App, admin: Person, method: str, path: str
) -> None:
    """Not even for an administrator: only reads accept the token of an app."""
    async with Browser(service) as browser:
        await browser.sign_in(admin)
        tokens = await app.tokens(browser)
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    answer = await service.client.request(method, path, headers=bearer, json={"name": "x"})
    assert (answer.status_code, answer.json()["code"]) == (403, "credential_not_accepted")


# --- client and redirect URI -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        "https://app.example.com/callback/",
        "https://app.example.com/callback?x=1",
        "https://app.example.com/Callback",
        "https://app.example.com:8443/callback",
        "https://app.example.com/callback#fragment",
        "https://app.example.com.evil.example/callback",
        "https://app.example.com@evil.example/callback",
        "https://evil.example/callback",
        "http://app.example.com/callback",
        "//app.example.com/callback",
        "javascript:alert(1)",
        "https://app.example.com/callback\r\nSet-Cookie: a=b",
        "https://app.example.com/callback/../evil",
    ],
)
async def test_no_one_is_sent_to_an_unregistered_redirect_uri(app: App, browser: Browser, uri: str) -> None:
    """SEC-34."""
    answer = await app.authorize(browser, redirect_uri=uri)
    assert answer.status_code == 400
    assert "Location" not in answer.headers
    assert answer.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("client_id", ["unknown", "", "x" * 5000, "a\x00b", "<script>alert(1)</script>"])
async def test_an_unknown_client_gets_a_page(app: App, browser: Browser, client_id: str) -> None:
    """SEC-34 SEC-46."""
    answer = await app.authorize(browser, client_id=client_id)
    assert answer.status_code == 400
    assert "Location" not in answer.headers
    assert "<script>alert" not in answer.text


async def test_a_native_app_may_use_any_loopback_port(service: Service, admin: Person, browser: Browser) -> None:
    """SEC-34; RFC 8252 section 7.3."""
    app = await register_app(
        service,
        admin,
        application_type="native",
        token_endpoint_auth_method="none",
        redirect_uris=["http://127.0.0.1/callback"],
    )
    for uri in ("http://127.0.0.1:51004/callback", "http://127.0.0.1/callback"):
        app.redirect_uri = uri
        assert (await app.tokens(browser))["token_type"] == "Bearer"
    for uri in ("http://127.0.0.1:51004/other", "http://localhost:1/callback", "http://127.0.0.1:99999/callback",
                "http://127.0.0.1.evil.example/callback", "https://127.0.0.1:1/callback"):  # fmt: skip
        assert (await app.authorize(browser, redirect_uri=uri)).status_code == 400


async def test_loopback_ports_of_web_apps_are_exact(service: Service, admin: Person, browser: Browser) -> None:
    """SEC-34."""
    app = await register_app(service, admin, redirect_uris=["http://127.0.0.1:5173/callback"])
    assert (await app.authorize(browser, redirect_uri="http://127.0.0.1:5174/callback")).status_code == 400


# --- errors that the client is told ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"response_mode": "web_message"}, "invalid_request"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": "unknown"}, "invalid_scope"),
        ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"prompt": "sometimes"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"max_age": "soon"}, "invalid_request"),
        ({"max_age": "9" * 30}, "invalid_request"),
        ({"nonce": "n" * 3000}, "invalid_request"),
        ({"id_token_hint": "abc"}, "invalid_request"),
        ({"claims": "{"}, "invalid_request"),
        ({"claims": '{"userinfo": 3}'}, "invalid_request"),
        ({"claims": "[" * 5000}, "invalid_request"),
        ({"request": "eyJ"}, "request_not_supported"),
        ({"request_uri": "https://app.example.com/request"}, "request_uri_not_supported"),
        ({"registration": "{}"}, "registration_not_supported"),
        ({"resource": "https://other.example.com"}, "invalid_target"),
        ({"resource": "not a uri"}, "invalid_target"),
    ],
)
async def test_errors_are_sent_to_the_client(
    service: Service, app: App, browser: Browser, changes: dict[str, str | None], error: str
) -> None:
    """RFC 6749 section 4.1.2.1; SEC-35 SEC-38 SEC-39 SEC-40."""
    back = returned(await app.authorize(browser, **changes))
    assert (back["error"], back["state"], back["iss"]) == (error, "state-1", service.base_url)
    assert back["error_description"]
    assert "code" not in back


async def test_a_repeated_parameter_is_refused(app: App, browser: Browser) -> None:
    """RFC 6749 section 3.1. Of client_id, redirect_uri and state, nothing is proven: the error is a page."""
    for name in ("nonce", "scope", "code_challenge"):
        answer = await browser.client.get(
            "/oauth2/authorize", params=[*app.parameters().items(), (name, app.parameters()[name])]
        )
        assert returned(answer)["error"] == "invalid_request"
    for name in ("client_id", "redirect_uri", "state"):
        answer = await browser.client.get("/oauth2/authorize", params=[*app.parameters().items(), (name, "x")])
        assert answer.status_code == 400


@pytest.mark.parametrize("state", ["ü€😀", "a b+c&d=e%20", '"><script>', "x" * 16_000, "%0d%0aSet-Cookie: a=b"])
async def test_state_is_returned_untouched(app: App, browser: Browser, state: str) -> None:
    """SEC-40; also in errors."""
    assert returned(await app.authorize(browser, state=state))["state"] == state
    assert returned(await app.authorize(browser, state=state, scope="unknown"))["state"] == state


async def test_100_kb_of_state_is_a_page(app: App, browser: Browser) -> None:
    """In a form, because no server takes such an address; it cannot be returned in one, either."""
    answer = await browser.client.post("/oauth2/authorize", data=app.parameters(state="s" * 100_000))
    assert answer.status_code == 400


async def test_a_form_is_an_authorization_request_too(app: App, browser: Browser, stranger: Browser) -> None:
    """OpenID Connect Core section 3.1.2.1. A foreign page may send it, and no cookie comes with it."""
    headers = {"Origin": "https://app.example.com", "Sec-Fetch-Site": "cross-site"}
    answer = await stranger.client.post("/oauth2/authorize", data=app.parameters(), headers=headers)
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/oauth2/continue?request=")
    assert "code" in returned(await browser.follow(answer))
    assert (await browser.client.post("/oauth2/authorize", json={})).status_code == 400


async def test_form_post_returns_the_parameters_in_a_form(app: App, browser: Browser) -> None:
    """OAuth 2.0 Form Post Response Mode; SEC-43 SEC-46 SEC-47."""
    answer = await app.authorize(browser, response_mode="form_post", state='"><b>')
    assert answer.status_code == 200
    assert 'action="https://app.example.com/callback"' in answer.text
    assert "&#34;&gt;&lt;b&gt;" in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert "form-action https://app.example.com;" in policy
    assert "unsafe-inline" not in policy
    assert (answer.headers["Cache-Control"], answer.headers["Referrer-Policy"]) == ("no-store", "no-referrer")


# --- prompt, max_age, hints ------------------------------------------------------------------------------------------


async def test_prompt_none_never_shows_a_page(service: Service, admin: Person, app: App, stranger: Browser) -> None:
    """SEC-45; OpenID Connect Core section 3.1.2.6."""
    assert returned(await app.authorize(stranger, prompt="none"))["error"] == "login_required"
    asking = await register_app(service, admin, skip_consent=False)
    async with Browser(service) as browser:
        await browser.sign_in(await service.register())
        assert returned(await asking.authorize(browser, prompt="none"))["error"] == "consent_required"
        assert "code" in returned(await app.authorize(browser, prompt="none"))


async def test_max_age_is_exact(app: App, browser: Browser) -> None:
    """SEC-45. The session is some milliseconds old: younger than an hour, older than nothing."""
    assert "code" in returned(await app.authorize(browser, max_age="3600", prompt="none"))
    assert returned(await app.authorize(browser, max_age="0", prompt="none"))["error"] == "login_required"
    with time_machine.travel(clock.now() + timedelta(seconds=61), tick=True):
        assert returned(await app.authorize(browser, max_age="60", prompt="none"))["error"] == "login_required"
        assert "code" in returned(await app.authorize(browser, max_age="120", prompt="none"))


async def test_prompt_login_asks_a_user_who_is_signed_in(app: App, browser: Browser, person: Person) -> None:
    """SEC-45. A new sign-in continues the request."""
    answer = await browser.client.get("/oauth2/authorize", params=app.parameters(prompt="login"))
    location = answer.headers["Location"]
    assert location.startswith("/login?request=")
    again = await browser.client.get(f"/oauth2/continue?{location.partition('?')[2]}")
    assert again.headers["Location"] == location
    await browser.sign_in(person)
    back = returned(await browser.client.get(f"/oauth2/continue?{location.partition('?')[2]}"))
    claims = claims_of((await app.exchange(back["code"])).json()["id_token"])
    assert abs(claims["auth_time"] - clock.timestamp()) < 10


async def test_the_hint_names_who_may_answer(service: Service, app: App, browser: Browser) -> None:
    hint = (await app.tokens(browser))["id_token"]
    assert "code" in returned(await app.authorize(browser, id_token_hint=hint, prompt="none"))
    async with Browser(service) as other:
        await other.sign_in(await service.register())
        answer = await app.authorize(other, id_token_hint=hint, prompt="none")
        assert returned(answer)["error"] == "login_required"


async def test_claims_are_released_one_by_one(service: Service, app: App, browser: Browser, person: Person) -> None:
    """OpenID Connect Core section 5.5."""
    wanted = '{"userinfo": {"email": {"essential": true}, "name": null}}'
    tokens = await app.tokens(browser, scope="openid", claims=wanted)
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    info = (await service.client.get("/oauth2/userinfo", headers=bearer)).json()
    assert info == {"sub": person.id, "email": person.email, "name": "Grace Hopper"}


async def test_an_essential_acr_that_nobody_has_is_refused(app: App, browser: Browser) -> None:
    """SEC-61; OpenID Connect Core section 5.5.1.1."""
    high = '{"id_token": {"acr": {"essential": true, "values": ["9"]}}}'
    assert returned(await app.authorize(browser, claims=high))["error"] == "unmet_authentication_requirements"
    ours = '{"id_token": {"acr": {"essential": true, "values": ["9", "1"]}}}'
    assert "code" in returned(await app.authorize(browser, claims=ours))


# --- codes -----------------------------------------------------------------------------------------------------------


async def test_one_of_many_exchanges_wins(service: Service, app: App, browser: Browser) -> None:
    """SEC-36 SEC-37: a code is used once, and its replay ends what it gave."""
    code = await app.code(browser)
    answers = await asyncio.gather(*(app.exchange(code) for _ in range(20)))
    winners = [answer for answer in answers if answer.status_code == 200]
    assert len(winners) == 1
    assert {answer.json()["error"] for answer in answers if answer.status_code == 400} == {"invalid_grant"}
    verdict = await service.validate(winners[0].json()["access_token"])
    assert (verdict["valid"], verdict["error"]) == (False, "token_revoked")
    refreshed = await app.refresh(winners[0].json()["refresh_token"])
    assert (refreshed.status_code, refreshed.json()["error"]) == (400, "invalid_grant")


async def test_another_clients_try_changes_nothing(service: Service, admin: Person, app: App, browser: Browser) -> None:
    """SEC-36 SEC-56: every refusal of a code looks the same."""
    other = await register_app(service, admin)
    code = await app.code(browser)
    wrong = await other.exchange(code, code_verifier=app.verifier)
    unknown = await app.exchange("unknown")
    assert wrong.status_code == unknown.status_code == 400
    assert {**wrong.json(), "request_id": ""} == {**unknown.json(), "request_id": ""}
    assert (await app.exchange(code)).status_code == 200


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_verifier": None}, "invalid_grant"),
        ({"code_verifier": "w" * 43}, "invalid_grant"),
        ({"code_verifier": "short"}, "invalid_request"),
        ({"code_verifier": "w" * 129}, "invalid_request"),
        ({"redirect_uri": None}, "invalid_grant"),
        ({"redirect_uri": "https://app.example.com/other"}, "invalid_grant"),
        ({"code": None}, "invalid_request"),
        ({"code": ""}, "invalid_request"),
        ({"code": "ü" * 100}, "invalid_grant"),
        ({"code": "c" * 5000}, "invalid_grant"),
        ({"code": "a\x00b"}, "invalid_grant"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": None}, "invalid_request"),
        ({"resource": "https://other.example.com"}, "invalid_target"),
    ],
)
async def test_an_exchange_must_fit_its_code(
    app: App, browser: Browser, changes: dict[str, str | None], error: str
) -> None:
    """SEC-35 SEC-36 SEC-39 SEC-56."""
    answer = await app.exchange(await app.code(browser), **changes)
    assert (answer.status_code, answer.json()["error"]) == (400, error), answer.text


async def test_a_verifier_without_a_challenge_is_refused(service: Service, admin: Person, browser: Browser) -> None:
    """SEC-35: the PKCE downgrade of RFC 9700 section 4.8."""
    old = await register_app(service, admin, require_pkce=False)
    code = await old.code(browser, code_challenge=None, code_challenge_method=None)
    assert (await old.exchange(code)).json()["error"] == "invalid_grant"
    assert (await old.exchange(code, code_verifier=None)).status_code == 200
    code = await old.code(browser)
    assert (await old.exchange(code, code_verifier=None)).json()["error"] == "invalid_grant"


async def test_a_code_ends_after_a_minute(app: App, browser: Browser) -> None:
    """SEC-36."""
    code, late = await app.code(browser), await app.code(browser)
    with time_machine.travel(clock.now() + timedelta(seconds=55), tick=True):
        assert (await app.exchange(code)).status_code == 200
    with time_machine.travel(clock.now() + timedelta(seconds=61), tick=True):
        assert (await app.exchange(late)).json()["error"] == "invalid_grant"


# --- what changes on the way -----------------------------------------------------------------------------------------


async def test_a_user_who_signs_out_leaves_no_code(app: App, browser: Browser, service: Service) -> None:
    code = await app.code(browser)
    csrf = browser.client.cookies["idp_csrf"]
    out = await browser.client.post("/auth/logout", headers={"X-CSRF-Token": csrf})
    assert out.status_code == 200
    assert (await app.exchange(code)).json()["error"] == "invalid_grant"


async def test_a_disabled_user_gets_no_tokens(app: App, browser: Browser, person: Person, service: Service) -> None:
    code, tokens = await app.code(browser), await app.tokens(browser)
    await service.sql("UPDATE idp.users SET is_active = false WHERE id = $1", person.id)
    assert (await app.exchange(code)).json()["error"] == "invalid_grant"
    assert (await app.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await service.validate(tokens["access_token"]))["error"] == "user_inactive"


async def test_a_client_that_is_deleted_on_the_way(service: Service, admin: Person, browser: Browser) -> None:
    app = await register_app(service, admin)
    tokens, code = await app.tokens(browser), await app.code(browser)
    asked = await browser.client.get("/oauth2/authorize", params=app.parameters(prompt="login"))
    gone = await service.client.delete(f"/api/auth/admin/clients/{app.client_id}", headers=admin.bearer)
    assert gone.status_code == 200
    assert (await app.exchange(code)).json()["error"] == "invalid_client"
    assert (await service.validate(tokens["access_token"]))["error"] == "token_revoked"
    page = await browser.follow(asked)
    assert (page.status_code, "Location" in page.headers) == (410, False)


async def test_a_request_expires_after_an_hour(app: App, stranger: Browser) -> None:
    answer = await stranger.client.get("/oauth2/authorize", params=app.parameters())
    query = answer.headers["Location"].partition("?")[2]
    with time_machine.travel(clock.now() + timedelta(minutes=61), tick=True):
        assert (await stranger.client.get(f"/oauth2/continue?{query}")).status_code == 410
    for odd in ("", "x", "0" * 5000, "00000000-0000-0000-0000-000000000000", "%00", "%ff"):
        assert (await stranger.client.get(f"/oauth2/continue?request={odd}")).status_code in {400, 410}


async def test_a_finished_request_repeats_for_a_minute(app: App, browser: Browser, person: Person) -> None:
    """A reload and a second tab do no harm; later the request is over."""
    answer = await browser.client.get("/oauth2/authorize", params=app.parameters(prompt="login"))
    query = answer.headers["Location"].partition("?")[2]
    await browser.sign_in(person)
    first = returned(await browser.client.get(f"/oauth2/continue?{query}"))["code"]
    second = returned(await browser.client.get(f"/oauth2/continue?{query}"))["code"]
    assert first != second
    assert [(await app.exchange(code)).status_code for code in (first, second)] == [200, 200]
    with time_machine.travel(clock.now() + timedelta(seconds=61), tick=True):
        assert (await browser.client.get(f"/oauth2/continue?{query}")).status_code == 410


# --- refresh ---------------------------------------------------------------------------------------------------------


async def test_refresh_rotates_and_only_narrows(service: Service, admin: Person, app: App, browser: Browser) -> None:
    """SEC-49 SEC-50."""
    tokens = await app.tokens(browser)
    answer = await app.refresh(tokens["refresh_token"], scope="openid email")
    narrowed = answer.json()
    assert (answer.status_code, narrowed["scope"]) == (200, "openid email")
    assert "roles" not in claims_of(narrowed["access_token"])
    assert "nonce" not in claims_of(narrowed["id_token"])
    assert claims_of(narrowed["id_token"])["sid"] == claims_of(tokens["id_token"])["sid"]
    assert (await app.refresh(narrowed["refresh_token"], scope="openid admin")).json()["error"] == "invalid_scope"
    whole = (await app.refresh(narrowed["refresh_token"])).json()  # within the grace window, and with every scope
    assert whole["scope"] == EVERY_SCOPE
    other = await register_app(service, admin)
    assert (await other.refresh(whole["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await app.refresh(whole["refresh_token"])).status_code == 200


async def test_a_reused_refresh_token_ends_the_session_of_the_app(
    service: Service, app: App, browser: Browser, person: Person
) -> None:
    """SEC-49. The browser's session and other apps go on."""
    tokens, others = await app.tokens(browser), await app.tokens(browser)
    second = (await app.refresh(tokens["refresh_token"])).json()
    third = (await app.refresh(second["refresh_token"])).json()
    with time_machine.travel(clock.now() + timedelta(seconds=30), tick=True):
        assert (await app.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
        assert (await service.validate(third["access_token"]))["error"] == "token_revoked"
        assert (await service.validate(others["access_token"]))["valid"]
        assert "code" in returned(await app.authorize(browser))


async def test_our_own_refresh_tokens_are_not_the_apps(
    service: Service, app: App, browser: Browser, person: Person
) -> None:
    """SEC-50: bound to the client, in both directions."""
    tokens = await app.tokens(browser)
    assert (await app.refresh(person.refresh_token)).json()["error"] == "invalid_grant"
    assert (await service.refresh(tokens["refresh_token"])).status_code == 401
    assert (await app.refresh(tokens["refresh_token"])).status_code == 200


# --- resources -------------------------------------------------------------------------------------------------------


async def test_a_token_for_a_resource_is_for_nobody_else(service: Service, admin: Person, browser: Browser) -> None:
    """SEC-24 SEC-33; RFC 8707."""
    notes = "https://notes.example.com/api"
    app = await register_app(service, admin, scope="openid profile read", resources=[notes])
    alone = await app.tokens(browser, scope="read", resource=notes)
    assert claims_of(alone["access_token"])["aud"] == notes
    bearer = {"Authorization": f"Bearer {alone['access_token']}"}
    assert (await service.me(bearer)).status_code == 401
    verdict = await service.validate(alone["access_token"])
    assert (verdict["valid"], verdict["error"]) == (False, "token_invalid")
    both = await app.tokens(browser, scope="openid read", resource=notes)
    assert claims_of(both["access_token"])["aud"] == [notes, service.base_url]
    bearer = {"Authorization": f"Bearer {both['access_token']}"}
    assert (await service.client.get("/oauth2/userinfo", headers=bearer)).status_code == 200


# --- userinfo --------------------------------------------------------------------------------------------------------


async def test_userinfo_takes_the_token_from_header_or_form(service: Service, app: App, browser: Browser) -> None:
    """SEC-60; RFC 6750 section 2."""
    token = (await app.tokens(browser))["access_token"]
    post: Any = service.client.post
    for answer in (
        await post("/oauth2/userinfo", headers={"Authorization": f"Bearer {token}"}),
        await post("/oauth2/userinfo", data={"access_token": token}),
    ):
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "no-store"
    twice = await post("/oauth2/userinfo", headers={"Authorization": f"Bearer {token}"}, data={"access_token": token})
    assert (twice.status_code, twice.json()["error"]) == (400, "invalid_request")


async def test_userinfo_says_what_is_missing(service: Service, app: App, browser: Browser) -> None:
    """SEC-51 SEC-60."""
    token = (await app.tokens(browser))["access_token"]
    get = service.client.get
    for answer in (await get("/oauth2/userinfo"), await get("/oauth2/userinfo", params={"access_token": token})):
        assert (answer.status_code, answer.headers["WWW-Authenticate"].split()[0]) == (401, "Bearer")
    bad = await get("/oauth2/userinfo", headers={"Authorization": "Bearer x.y.z"})
    assert (bad.status_code, bad.json()["error"]) == (401, "invalid_token")
    assert 'error="invalid_token"' in bad.headers["WWW-Authenticate"]
    narrow = (await app.tokens(browser, scope="profile"))["access_token"]
    answer = await get("/oauth2/userinfo", headers={"Authorization": f"Bearer {narrow}"})
    assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")
    assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]


async def test_every_challenge_is_of_its_verifier() -> None:
    """RFC 7636 appendix B."""
    assert challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


async def test_a_client_that_is_deleted_beside_its_requests(service: Service, admin: Person, browser: Browser) -> None:
    """Each request ends with a code, a page or an error of RFC 6749, and the deletion succeeds."""
    app = await register_app(service, admin)
    url = f"/api/auth/admin/clients/{app.client_id}"
    asking = [browser.client.get("/oauth2/authorize", params=app.parameters()) for _ in range(20)]
    gone, *answers = await asyncio.gather(service.client.delete(url, headers=admin.bearer), *asking)
    assert gone.status_code == 200
    assert {answer.status_code for answer in answers} <= {303, 400, 410}


async def test_long_lists_become_a_reference(service: Service, app: App, browser: Browser, person: Person) -> None:
    """OpenID Connect Core section 5.6.2: no header grows past the limit of a proxy; userinfo has the whole list."""
    await service.sql(
        "WITH made AS (INSERT INTO idp.teams (id, name, is_active, created_at, updated_at)"
        " SELECT gen_random_uuid(), 'Team ' || n, true, now(), now() FROM generate_series(1, 40) n RETURNING id)"
        " INSERT INTO idp.team_memberships (id, user_id, team_id, created_at, updated_at)"
        " SELECT gen_random_uuid(), $1, id, now(), now() FROM made",
        person.id,
    )
    tokens = await app.tokens(browser)
    claims = claims_of(tokens["id_token"])
    assert "teams" not in claims
    assert claims["_claim_names"] == {"teams": "userinfo"}
    assert claims["_claim_sources"] == {"userinfo": {"endpoint": f"{service.base_url}/oauth2/userinfo"}}
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    info = (await service.client.get("/oauth2/userinfo", headers=bearer)).json()
    assert len(info["teams"]) == 41
    assert claims["roles"] == ["user"]


async def test_a_user_lists_and_withdraws_consents(service: Service, admin: Person, person: Person) -> None:
    """SEC-45: the app's tokens end at once, and it must ask again."""
    app = await register_app(service, admin, skip_consent=False, client_name="Diary")
    async with Browser(service) as browser:
        await browser.sign_in(person)
        page = await app.authorize(browser)
        token = page.text.partition('name="csrf_token" value="')[2].partition('"')[0]
        sent = await browser.client.post(str(page.url), data={"csrf_token": token, "decision": "allow"})
        tokens = (await app.exchange(returned(await browser.follow(sent))["code"])).json()
        listed = (await service.client.get("/api/auth/consents", headers=person.bearer)).json()["consents"]
        assert [(each["client_id"], each["client_name"]) for each in listed] == [(app.client_id, "Diary")]
        assert set(listed[0]["scopes"]) == set(EVERY_SCOPE.split())
        assert "code" in returned(await app.authorize(browser, prompt="none"))
        withdrawn = await service.client.delete(f"/api/auth/consents/{app.client_id}", headers=person.bearer)
        assert (withdrawn.status_code, withdrawn.json()["sessions_ended"]) == (200, 1)
        assert (await service.validate(tokens["access_token"]))["error"] == "token_revoked"
        assert returned(await app.authorize(browser, prompt="none"))["error"] == "consent_required"
    again = await service.client.delete(f"/api/auth/consents/{app.client_id}", headers=person.bearer)
    assert (again.status_code, again.json()["code"]) == (404, "consent_not_found")
