"""The session cookie: attributes, CSRF protection, and its position in the chain."""

from http.cookies import SimpleCookie
from typing import Any

import httpx2
import pytest

from factories import PASSWORD, Person, Service, running
from idp.dev.embedded import EmbeddedPostgres

JSON = {"Content-Type": "application/json"}


def cookies_of(answer: httpx2.Response) -> dict[str, Any]:
    jar: SimpleCookie = SimpleCookie()
    for header in answer.headers.get_list("set-cookie"):
        jar.load(header)
    return dict(jar)


async def sign_in(service: Service, person: Person, **more: Any) -> httpx2.Response:
    body = {"email": person.email, "password": PASSWORD, **more}
    answer = await service.client.post("/auth/login?mode=cookie", json=body)
    service.client.cookies.clear()
    assert answer.status_code == 200, answer.text
    return answer


async def browser(service: Service, **more: Any) -> tuple[Person, dict[str, str], str]:
    """Return somebody, the headers that their browser sends by itself, and the CSRF token."""
    person = await service.register()
    answer = await sign_in(service, person, **more)
    cookies = cookies_of(answer)
    header = "; ".join(f"{name}={morsel.value}" for name, morsel in cookies.items())
    return person, {"Cookie": header}, answer.json()["csrf_token"]


async def test_a_cookie_continues_the_session_instead_of_a_refresh_token(service: Service) -> None:
    """SEC-70: HttpOnly, SameSite=Lax, no Max-Age unless remembered; the digest is stored, never the cookie."""
    person = await service.register()
    answer = await sign_in(service, person)
    body, cookies = answer.json(), cookies_of(answer)
    assert body["refresh_token"] is None
    session, csrf = cookies["idp_session"], cookies["idp_csrf"]
    assert (session["httponly"], session["samesite"], session["path"], session["max-age"]) == (True, "lax", "/", "")
    assert (csrf["httponly"], csrf.value) == ("", body["csrf_token"])
    assert len(session.value) >= 43  # 256 bits
    (row,) = await service.sql(
        "SELECT s::text AS whole FROM idp.user_sessions s WHERE id = $1::text::uuid", body["session_id"]
    )
    assert session.value not in row["whole"]
    assert (await service.me({"Authorization": f"Bearer {body['access_token']}"})).status_code == 200


async def test_over_https_no_other_host_can_set_the_cookie(postgres: EmbeddedPostgres) -> None:
    """SEC-70: `__Host-` and Secure where the public address is https."""
    url = postgres.create_database("https_cookies")
    async with running(url, environ={"IDP_PUBLIC_URL": "https://id.example.com"}) as service:
        answer = await sign_in(service, await service.register(), remember_me=True)
        cookies = cookies_of(answer)
        assert cookies.keys() == {"__Host-idp_session", "__Host-idp_csrf", "__Host-idp_device"}
        for morsel in cookies.values():
            assert (morsel["secure"], morsel["path"], morsel["domain"]) == (True, "/", "")
            assert int(morsel["max-age"]) == (400 if "device" in morsel.key else 60) * 86_400


async def test_a_cookie_is_a_credential_of_a_person(service: Service) -> None:
    """S4-20 S4-21: it reads by itself, and the session list knows it as the current one."""
    person, cookie, _ = await browser(service)
    assert (await service.me(cookie)).json()["id"] == person.id
    listed = (await service.client.get("/api/auth/sessions", headers=cookie)).json()["sessions"]
    assert [each["current"] for each in listed] == [True, False]


async def test_every_sign_in_gets_another_cookie(service: Service) -> None:
    """SEC-70: session fixation: what a browser brings along is never adopted."""
    person = await service.register()
    planted = {"Cookie": "idp_session=chosen-by-an-attacker"}
    body = {"email": person.email, "password": PASSWORD}
    answer = await service.client.post("/auth/login?mode=cookie", json=body, headers=planted)
    service.client.cookies.clear()
    first = cookies_of(answer)["idp_session"].value
    second = cookies_of(await sign_in(service, person))["idp_session"].value
    assert len({first, second, "chosen-by-an-attacker"}) == 3
    assert (await service.me(planted)).status_code == 401


@pytest.mark.parametrize("more", [
    {},
    {"X-CSRF-Token": ""},
    {"X-CSRF-Token": "A" * 43},
    {"X-CSRF-Token": "é"},
])  # fmt: skip
async def test_a_cookie_alone_changes_nothing(service: Service, more: dict[str, str]) -> None:
    """SEC-44: a browser sends it for other sites too."""
    _, cookie, _ = await browser(service)
    sent = {name: value.encode("latin-1") for name, value in (cookie | more).items()}
    answer = await service.client.post("/api/auth/logout", headers=sent)
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_rejected")
    assert (await service.me(cookie)).status_code == 200


async def test_another_sessions_csrf_token_does_not_fit(service: Service) -> None:
    """SEC-44: the token is bound to the session, so an attacker's own is worth nothing."""
    _, cookie, _ = await browser(service)
    _, _, theirs = await browser(service)
    answer = await service.client.post("/api/auth/logout", headers=cookie | {"X-CSRF-Token": theirs})
    assert answer.json()["code"] == "csrf_rejected"


@pytest.mark.parametrize("more", [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
])  # fmt: skip
async def test_another_origin_changes_nothing_even_with_the_token(service: Service, more: dict[str, str]) -> None:
    """SEC-44 SEC-78."""
    _, cookie, csrf = await browser(service)
    answer = await service.client.post("/api/auth/logout", headers=cookie | more | {"X-CSRF-Token": csrf})
    assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")


async def test_our_own_page_signs_out_and_the_browser_forgets(service: Service) -> None:
    """S4-17: the cookies are cleared, and dead on our side too."""
    _, cookie, csrf = await browser(service)
    more = {"X-CSRF-Token": csrf, "Origin": service.base_url, "Sec-Fetch-Site": "same-origin"}
    answer = await service.client.post("/api/auth/logout", headers=cookie | more)
    assert answer.status_code == 200
    assert {name: morsel["max-age"] for name, morsel in cookies_of(answer).items()} == {
        "idp_session": "0",
        "idp_csrf": "0",
        "idp_kept_session": "0",  # that of an administrator who acted as the user
    }
    assert (await service.me(cookie)).json()["code"] == "token_revoked"


async def test_a_reloaded_page_asks_for_the_csrf_token(service: Service) -> None:
    person, cookie, csrf = await browser(service)
    assert (await service.client.get("/api/auth/csrf", headers=cookie)).json() == {"csrf_token": csrf}
    assert (await service.client.get("/api/auth/csrf", headers=person.bearer)).status_code == 403


@pytest.mark.parametrize("path", ["/auth/login", "/api/auth/login"])
async def test_another_site_signs_no_browser_in(service: Service, path: str) -> None:
    """SEC-44: login CSRF: a victim would work in the attacker's account."""
    person = await service.register()
    body = {"email": person.email, "password": PASSWORD}
    for more in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = await service.client.post(f"{path}?mode=cookie", json=body, headers=more)
        assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")
        assert "set-cookie" not in answer.headers


async def test_an_origin_of_the_settings_may_use_the_cookie(postgres: EmbeddedPostgres) -> None:
    """C-22: a single-page app on an origin that cors.origins names."""
    environ = {"AUTH_API_CORS_ORIGINS": "https://app.example.com"}
    async with running(postgres.create_database("cookie_origins"), environ=environ) as service:
        _, cookie, csrf = await browser(service)
        more = {"X-CSRF-Token": csrf, "Origin": "https://app.example.com", "Sec-Fetch-Site": "cross-site"}
        assert (await service.client.post("/api/auth/logout", headers=cookie | more)).status_code == 200


@pytest.mark.parametrize("path", ["/auth/refresh", "/api/auth/refresh"])
async def test_a_cookie_gets_new_access_tokens(service: Service, path: str) -> None:
    """For calls of a single-page app to other services: of the same session, only with the CSRF token, with no end."""
    person, cookie, csrf = await browser(service)
    answer = await service.client.post(path, headers=cookie | {"X-CSRF-Token": csrf})
    body = answer.json()
    assert (answer.status_code, body["refresh_token"], body["csrf_token"]) == (200, None, csrf)
    fresh = {"Authorization": f"Bearer {body['access_token']}"}
    assert (await service.me(fresh)).json()["id"] == person.id
    assert (await service.client.post(path, headers=cookie)).json()["code"] == "csrf_rejected"
    for nothing in ({}, person.bearer):
        answer = await service.client.post(path, headers=nothing)
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    answer = await service.client.post(path, headers={"Cookie": "idp_session=" + "A" * 43})
    assert (answer.status_code, answer.json()["code"]) == (401, "refresh_token_invalid")
    assert (await service.client.post("/auth/logout", headers=cookie | {"X-CSRF-Token": csrf})).status_code == 200
    assert (await service.me(fresh)).json()["code"] == "token_revoked"
    answer = await service.client.post(path, headers=cookie | {"X-CSRF-Token": csrf})
    assert answer.json()["code"] == "refresh_token_invalid"


async def test_a_cookie_beside_an_explicit_credential_is_not_looked_at(service: Service) -> None:
    """C-24: and needs no CSRF token, since no browser sends the explicit one by itself."""
    _, cookie, _ = await browser(service)
    other = await service.register()
    assert (await service.me(cookie | other.bearer)).json()["id"] == other.id
    assert (await service.client.post("/auth/logout", headers=cookie | other.bearer)).status_code == 200
    assert (await service.me(cookie)).status_code == 200


async def test_a_bad_cookie_never_becomes_anonymous_or_a_dev_header(service: Service) -> None:
    """SEC-14 C-23: it is refused, and dev headers beside it are not asked."""
    person = await service.register()
    for value in ("A" * 43, "", "x" * 5000):
        bad = {"Cookie": f"idp_session={value}"}
        assert (await service.me(bad)).status_code == 401
        assert (await service.me(bad | {"X-User-Email": person.email})).status_code == 401
    assert (await service.client.get("/health", headers={"Cookie": "idp_session=stale"})).status_code == 200


async def test_an_unknown_mode_is_refused(service: Service) -> None:
    person = await service.register()
    body = {"email": person.email, "password": PASSWORD}
    answer = await service.client.post("/auth/login?mode=both", json=body)
    assert answer.status_code == 422
