"""Rules for every path: HEAD, one spelling, no-store, joined cookies, and the methods in 405."""

import httpx2
import pytest

from factories import PASSWORD, Service
from flows.test_bad_input import raw
from idp.ops.paths import is_served
from idp.principal.guards import policies

MAY_BE_KEPT = (
    "/docs",
    "/api/auth/docs",
    "/openapi.json",
    "/api/auth/openapi.json",
    "/errors",
    "/.well-known/jwks.json",
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
    "/brand/theme.css",
)


def paths(service: Service, method: str) -> list[str]:
    example = {"uuid": "01990c7e-0000-7000-8000-000000000001", "str": "x", "int": "1", "path": "x"}
    found = []
    for line in policies(service.app):
        if line.method == method and "assets" not in line.path:
            parts = [
                example[part[1:-1].split(":")[1]] if part.startswith("{") else part for part in line.path.split("/")
            ]
            found.append("/".join(parts))
    return found


async def test_head_is_wherever_get_is(service: Service) -> None:
    """RFC 9110 section 9.3.2: the same status and headers, and no body; hot routes too."""
    person = await service.register()
    walked = [*paths(service, "GET"), "/docs/assets/docs.css"]
    assert len(walked) > 30
    for path in walked:
        get = await service.client.get(path, headers=person.bearer)
        head = await service.client.head(path, headers=person.bearer)
        assert head.status_code == get.status_code, path
        assert head.content == b""
        if path != "/metrics":
            same = ("content-type", "content-length", "cache-control", "content-security-policy")
            assert [head.headers.get(name) for name in same] == [get.headers.get(name) for name in same], path
    assert (await service.client.head("/auth/login")).status_code == 405


async def test_a_connection_goes_on_after_head(service: Service) -> None:
    """A body where none belongs would be read as the next answer."""
    request = b"HEAD %b HTTP/1.1\r\nhost: localhost\r\n%b\r\n"
    answer = await raw(
        service,
        request % (b"/health", b"")
        + request % (b"/.well-known/jwks.json", b"")
        + request % (b"/healthz", b"connection: close\r\n"),
    )
    assert answer.count(b"HTTP/1.1 200 ") == 3
    assert b"{" not in answer


async def test_405_names_the_methods(service: Service) -> None:
    """In Allow and in the text, HEAD among them."""
    for method, path, allow in (
        ("DELETE", "/health", {"GET", "HEAD", "OPTIONS"}),
        ("GET", "/auth/login", {"POST", "OPTIONS"}),
        ("HEAD", "/auth/login", {"POST", "OPTIONS"}),
        ("PUT", "/v1/api-keys", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("PATCH", "/reset-password", {"GET", "HEAD", "POST", "OPTIONS"}),
    ):
        answer = await service.client.request(method, path)
        assert answer.status_code == 405, path
        assert set(answer.headers["allow"].split(", ")) == allow
        if method != "HEAD":
            assert all(each in answer.json()["detail"] for each in allow)
    options = await service.client.options("/health")
    assert set(options.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


@pytest.mark.parametrize(
    "path",
    [
        "//metrics",
        "/%6detrics",
        "/metric%73",
        "/./metrics",
        "/x/../metrics",
        "/%2e/metrics",
        "/x/%2E%2e/metrics",
        "/metrics/",
        "//health",
        "/%68ealth",
        "/health/",
        "/auth//me",
        "/auth/me/",
        "/auth%2Fme",
        "/auth/%6de",
        "/.well-known//jwks.json",
        "/.well-known/jwks%2Ejson",
        "/docs//assets/docs.css",
        "/docs/",
        "/internal//validate-key",
        "/auth/login/",
        "/metrics#",
        "/metrics#x",
        "/health#/x",
        "/auth/me#?x",
    ],
)
async def test_one_spelling_of_a_path_is_served(service: Service, path: str) -> None:
    """Others are 404 for every caller, because a proxy's rule for the first does not match them."""
    person = await service.register()
    head = (
        f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {person.token}\r\n\r\n"
    )
    answer = await raw(service, head.encode())
    assert answer.startswith(b"HTTP/1.1 404 "), answer[:60]
    post = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    assert (await raw(service, post.encode())).startswith(b"HTTP/1.1 404 ")


def test_characters_that_need_encoding_are_served() -> None:
    """A client may encode what is not unreserved, in either case."""
    for path, raw_path in (
        ("/users/a@b.c", b"/users/a%40b.c"),
        ("/x/é", b"/x/%c3%a9"),
        ("/x/a b", b"/x/a%20b"),
        ("/", b"/"),
    ):
        assert is_served(path, raw_path)


async def test_nothing_is_stored_unless_a_public_route_says_so(service: Service) -> None:
    """Every answer, refusals and problem documents too."""
    person = await service.register_admin()
    walked = 0
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        for path in paths(service, method):
            if "logout" in path or (method == "DELETE" and path.endswith("/me")):
                continue
            for headers in ({}, person.bearer):
                answer = await service.client.request(method, path, headers=headers)
                walked += 1
                if answer.status_code == 200 and path.startswith(MAY_BE_KEPT):
                    assert answer.headers["cache-control"], path
                else:
                    assert answer.headers["cache-control"] == "no-store", (method, path)
    assert walked > 100
    assert (await service.client.get("/nowhere")).headers["cache-control"] == "no-store"
    assert b"cache-control: no-store" in await raw(service, b"\x00\r\n\r\n")
    assert (await service.client.get("/docs/assets/docs.css")).headers["cache-control"] == "no-cache"


async def test_lines_of_cookies_are_joined(service: Service) -> None:
    """RFC 9113 section 8.2.3: the session's cookie in any of them."""
    person = await service.register()
    body = {"email": person.email, "password": PASSWORD}
    signed_in: httpx2.Response = await service.client.post("/auth/login?mode=cookie", json=body)
    session = f"idp_session={signed_in.cookies['idp_session']}"
    for lines in ([session, "theme=dark"], ["theme=dark", session], ["a=b", session, "c=d"], [session]):
        answer = await service.client.get("/auth/me", headers=[("Cookie", line) for line in lines])
        assert answer.status_code == 200, lines
        # Public routes read cookies as well: the device is known, whichever line names it.
        device = f"idp_device={signed_in.cookies['idp_device']}"
        again = await service.client.post(
            "/auth/login", json=body, headers=[("Cookie", line) for line in ["x=y", device, "z=1"]]
        )
        assert again.cookies["idp_device"].split(".")[0] == signed_in.cookies["idp_device"].split(".")[0]
