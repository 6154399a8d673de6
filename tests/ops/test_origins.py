"""Allowed origins, and requests from pages of other sites (SEC-44, SEC-78)."""

import httpx2
import pytest

from factories import PASSWORD, Service, running
from flows.test_bad_input import raw
from idp.dev.embedded import EmbeddedPostgres
from idp.ops.origins import AllowedOrigins, serialize_origin
from idp.principal.guards import policies

FOREIGN = {"Origin": "https://evil.example"}


@pytest.mark.parametrize(
    ("written", "origin"),
    [
        ("https://ID.Example.com", "https://id.example.com"),
        ("HTTPS://id.example.com:443/", "https://id.example.com"),
        ("http://id.example.com:80/idp", "http://id.example.com"),
        ("https://id.example.com:8443", "https://id.example.com:8443"),
        ("http://id.example.com:443", "http://id.example.com:443"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://BÜCHER.example", "https://xn--bcher-kva.example"),
        ("http://[2001:DB8:0:0::1]:8000", "http://[2001:db8::1]:8000"),
        ("http://auth_service:8000", "http://auth_service:8000"),
        ("null", "null"),
        ("https://a:b", "https://a:b"),
    ],
)
def test_an_origin_is_written_as_a_browser_writes_it(written: str, origin: str) -> None:
    assert serialize_origin(written) == origin
    if origin != "null":
        assert AllowedOrigins(written).allows(origin)
        assert AllowedOrigins("https://x.example", [origin]).allows(written)
    assert not AllowedOrigins(written).allows("https://evil.example")


async def test_settings_in_any_spelling_let_the_same_pages_in(postgres: EmbeddedPostgres) -> None:
    """Pages, CORS and cookies under IDP_PUBLIC_URL and origins in capitals with a default port."""
    environ = {
        "IDP_PUBLIC_URL": "https://ID.Example.com:443",
        "AUTH_API_CORS_ORIGINS": "https://App.Example.com:443,https://bücher.example",
    }
    async with running(postgres.create_database("spelling"), environ=environ) as service:
        person = await service.register()
        body = {"email": person.email, "password": PASSWORD}
        for origin in ("https://id.example.com", "https://app.example.com", "https://xn--bcher-kva.example"):
            answer = await service.client.post("/auth/login?mode=cookie", json=body, headers={"Origin": origin})
            assert answer.status_code == 200, origin
        assert answer.headers["access-control-allow-origin"] == "https://xn--bcher-kva.example"
        form = {"email": person.email}
        ours = {"Origin": "https://id.example.com"}
        assert (await service.client.post("/reset-password", data=form, headers=ours)).status_code == 303
        assert (await service.client.post("/reset-password", data=form, headers=FOREIGN)).status_code == 403


async def test_a_foreign_page_uses_up_no_limit(postgres: EmbeddedPostgres) -> None:
    """Whichever way a foreign page sends a public POST, nothing is counted; programs pass."""
    environ = {"IDP_RATE_LIMITS__FAILED_LOGINS_PER_ADDRESS": "3", "AUTH_API_CORS_ORIGINS": "https://app.example.com"}
    async with running(postgres.create_database("foreign"), environ=environ) as service:
        body = {"email": "somebody@example.com", "password": "a wrong guess"}
        for headers in (
            FOREIGN,
            {"Origin": "null"},
            {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "cross-site"},
            FOREIGN | {"Sec-Fetch-Site": "same-site"},
        ):
            for _ in range(4):
                answer = await service.client.post("/auth/login", json=body, headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed"), headers
                assert "AUTH_API_CORS_ORIGINS" in answer.json()["detail"]
        for headers in ({}, {"Origin": "https://app.example.com"}, {"Sec-Fetch-Site": "same-origin", "Origin": "null"}):
            assert (await service.client.post("/auth/login", json=body, headers=headers)).status_code == 401
        assert (await service.client.post("/auth/login", json=body)).status_code == 429


# What pages of every origin may call without a cookie (SEC-78), and what a client's page or server sends on purpose.
OPEN = {
    "/oauth2/authorize",
    "/oauth2/logout",
    "/oauth2/token",
    "/oauth2/revoke",
    "/oauth2/userinfo",
    "/federation/{provider:str}/callback",
    "/federation/{provider:str}/backchannel-logout",
}


async def test_every_public_post_refuses_a_foreign_page(service: Service) -> None:
    """On every public route that takes a POST, but those that other sites and upstream providers may call."""
    walked = 0
    for line in policies(service.app):
        if line.policy != "public" or line.method in {"GET", "HEAD"} or line.path in OPEN:
            continue
        walked += 1
        path = line.path.replace("{token:str}", "x")
        for more in ({}, {"content-type": "text/plain"}, {"content-type": "application/json"}):
            answer = await service.client.request(line.method, path, content=b"{}", headers=FOREIGN | more)
            assert answer.status_code == 403, line
    assert walked >= 12


@pytest.mark.parametrize("path", ["/auth/login", "/auth/validate", "/internal/validate-key", "/auth/register"])
async def test_a_body_needs_its_content_type(service: Service, path: str) -> None:
    """Without one a browser would send it for any page, without asking first (Fetch, CORS-safelisted)."""
    for header in (b"", b"content-type: text/plain\r\n"):
        head = b"POST %b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n%bcontent-length: 2\r\n\r\n{}"
        answer = await raw(service, head % (path.encode(), header))
        assert answer.startswith(b"HTTP/1.1 415 "), answer[:100]


async def test_the_error_for_a_refused_origin_names_the_setting(service: Service, production: Service) -> None:
    """Preflights included, as a problem document."""
    preflight = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST"}
    for each in (service, production):
        for path in ("/auth/login", "/v1/api-keys", "/nowhere"):
            answer = await each.client.options(path, headers=preflight)
            assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
            assert "https://app.example.com" in answer.json()["detail"]
            assert "AUTH_API_CORS_ORIGINS" in answer.json()["detail"]


async def test_a_browser_reads_limits_and_the_scheme_it_must_answer_with(postgres: EmbeddedPostgres) -> None:
    """What CORS exposes; refreshing by cookie takes an empty body."""
    app = {"Origin": "https://app.example.com"}
    environ = {"AUTH_API_CORS_ORIGINS": app["Origin"]}
    async with running(postgres.create_database("exposed"), environ=environ) as service:
        person = await service.register()
        answer = await service.client.post(
            "/auth/login?mode=cookie", json={"email": person.email, "password": PASSWORD}, headers=app
        )
        exposed = {each.strip().lower() for each in answer.headers["access-control-expose-headers"].split(",")}
        assert {"www-authenticate", "ratelimit", "ratelimit-policy", "retry-after", "x-request-id"} <= exposed
        cookie = "; ".join(f"{name}={value}" for name, value in answer.cookies.items())
        headers = app | {"Cookie": cookie, "X-CSRF-Token": answer.json()["csrf_token"]}
        for more in ({}, {"Content-Type": "application/json"}):
            refreshed: httpx2.Response = await service.client.post("/auth/refresh", headers=headers | more)
            assert refreshed.status_code == 200, (more, refreshed.text)
        assert refreshed.json()["access_token"]
        for empty in (b"{}", b"null"):
            json_type = {"Content-Type": "application/json"}
            refreshed = await service.client.post("/auth/refresh", content=empty, headers=headers | json_type)
            assert refreshed.status_code == 200, (empty, refreshed.text)


async def test_pages_on_loopback_may_call_idp_dev_on_any_port_and_no_other_site(service: Service) -> None:
    """`idp dev` prints localhost, so that the cookies of a page on localhost:4321 are same-site."""
    ask = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    for origin in (
        "http://localhost:4321",
        "http://127.0.0.1:9",
        "http://[::1]:3000",
        "https://localhost",
        "http://app.localhost:5173",
    ):
        answer = await service.client.options("/auth/me", headers={"Origin": origin, **ask})
        assert answer.headers["access-control-allow-origin"] == origin
        body = {"email": "nobody@example.com", "password": PASSWORD}
        answer = await service.client.post("/auth/login", json=body, headers={"Origin": origin})
        assert answer.json()["code"] == "invalid_credentials"
    for origin in (
        "http://localhost.evil.example",
        "http://evil.example:80",
        "http://127.0.0.1.evil.example",
        "http://127.0.0.1@evil.example",
        "http://notlocalhost:3000",
        "null",
    ):
        answer = await service.client.options("/auth/me", headers={"Origin": origin, **ask})
        assert "access-control-allow-origin" not in answer.headers
        answer = await service.client.post("/auth/login", json={}, headers={"Origin": origin})
        assert answer.json()["code"] == "origin_not_allowed"
