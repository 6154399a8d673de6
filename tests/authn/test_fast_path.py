"""The fast path (`authn/fast_path.py`) and the ordinary handlers return the same response."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from apikeys.key_support import ADMIN_TOKEN, KEYS, bearer, make_key, make_token
from factories import Person, Service, root_secret, running
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey

Headers = dict[str, str]
METRICS_TOKEN = root_secret()
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}
ME = ("/auth/me", "/v1/me", "/api/auth/me")
PUBLIC = ("/.well-known/jwks.json", "/health", "/", "/healthz", "/api/auth/healthz")


class Site:
    """A deployment in production, with a count of the requests that reach the framework."""

    def __init__(self, service: Service, person: Person, secrets: dict[str, str]) -> None:
        self.service = service
        self.person = person
        self.secrets = secrets
        self.long_ways = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        envelope = self.service.app._envelope
        inner = envelope._app

        async def counting(scope: Any, receive: Any, send: Any) -> None:
            self.long_ways += scope["type"] == "http"
            await inner(scope, receive, send)

        envelope._app = counting
        yield
        envelope._app = inner

    async def send(self, method: str, path: str, headers: Headers, content: Any) -> tuple[httpx2.Response, bool]:
        """Send a request; return the answer, and whether it went the long way."""
        before = self.long_ways
        headers = {"X-Request-Id": "the-same-id", **headers}
        answer = await self.service.client.request(method, path, headers=headers, content=content)
        return answer, self.long_ways > before


@pytest.fixture(scope="module")
async def site(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> AsyncIterator[Site]:
    url = postgres.create_database("fast_path")
    environ = {"ADMIN_TOKEN": ADMIN_TOKEN, "METRICS_TOKEN": METRICS_TOKEN}
    async with running(url, valkey_url=valkey.url, profile="production", environ=environ) as service:
        await service.app.core.keyring.signing_keys()  # so that the key set stays as it is
        person = await service.register()
        revoked = await make_key(service, person)
        await service.client.delete(f"{KEYS}/{revoked['key_id']}", headers=person.bearer)
        secrets = {
            "key": (await make_key(service, person))["secret"],
            "revoked key": revoked["secret"],
            "service token": (await make_token(service))["token"],
            "asker": (await make_token(service, scopes=["idp:introspect"]))["token"],
            "access token": person.token,
            "forged": person.token + "x",
            "unknown": "sk_live_nothing",
            "rubbish": "rubbish",
            "ADMIN_TOKEN": ADMIN_TOKEN,
        }
        it = Site(service, person, secrets)
        with it.counted():
            yield it


async def chunks(content: bytes) -> AsyncIterator[bytes]:
    """Return the body in two pieces, so that it is sent in chunks."""
    yield content[:3]
    yield content[3:]


def comparable(answer: httpx2.Response) -> tuple[int, bytes, Headers]:
    headers = dict(answer.headers)
    del headers["date"]
    return answer.status_code, answer.content, headers


async def same(site: Site, method: str, path: str, headers: Headers, content: bytes | None) -> httpx2.Response:
    """Send a request as it is, and in every way that goes the long way; all answers must be equal."""
    plain, _ = await site.send(method, path, headers, content)
    long_ways: list[tuple[Headers, Any]] = [(headers | {"Origin": site.service.base_url}, content)]
    if content is not None:
        long_ways.append((headers, chunks(content)))
    if path in ME or path == "/oauth2/introspect":
        with_cookie, _ = await site.send(method, path, headers | {"Cookie": "idp_session=x"}, content)
        assert comparable(with_cookie) == comparable(plain), "beside a credential, cookies are not looked at"
        if headers.get("Authorization", "").startswith("Bearer "):
            long_ways.append((headers | {"X-API-Key": headers["Authorization"][7:]}, content))
    else:
        long_ways.append((headers | {"Content-Type": "Application/JSON; Charset=UTF-8"}, content))
    for other_headers, other_content in long_ways:
        other, long_way = await site.send(method, path, other_headers, other_content)
        assert long_way or other.status_code == 401, "a caller who is refused is refused before the body"
        assert comparable(other) == comparable(plain), other_headers.keys()
    return plain


def check_envelope(answer: httpx2.Response) -> None:
    for name, value in SECURITY.items():
        assert answer.headers[name] == value, name
    assert answer.headers["x-request-id"] == "the-same-id"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert "server" not in answer.headers


# --- the usual request -----------------------------------------------------------------------------------------------


async def test_the_usual_request_is_short(site: Site) -> None:
    """What this file compares with the long way must really go the short one."""
    before = site.long_ways
    key, asker = site.secrets["key"], bearer(site.secrets["asker"])
    for method, path, headers, content in (
        ("POST", "/auth/validate", JSON, f'{{"token":"{key}"}}'.encode()),
        ("POST", "/auth/validate", JSON, b'{"token":"rubbish","required_scopes":["a"],"x":1}'),
        ("POST", "/internal/validate-key", JSON, f'{{"key":"{key}"}}'.encode()),
        ("POST", "/oauth2/introspect", asker | FORM, f"token={key}".encode()),
        ("POST", "/oauth2/introspect", asker | FORM, f"token={key}&token_type_hint=access_token".encode()),
        *(("GET", path, bearer(key), None) for path in ME),
        *(("GET", path, {"X-API-Key": key}, None) for path in ME),
        ("GET", "/auth/me?x=1", site.person.bearer, None),
    ):
        answer, _ = await site.send(method, path, headers, content)
        assert answer.status_code == 200, answer.text
        check_envelope(answer)
    assert site.long_ways == before


@pytest.mark.parametrize("name", ["key", "revoked key", "service token", "access token", "forged", "rubbish"])
async def test_a_verdict_is_the_same_either_way(site: Site, name: str) -> None:
    """C-01 S2-15: validate and validate-key; byte for byte, header for header."""
    token = site.secrets[name].encode()
    for path, content in (
        ("/auth/validate", b'{"token":"' + token + b'"}'),
        ("/auth/validate", b'{ "token" : "' + token + b'", "required_scopes": ["none"], "service_name": null }'),
        ("/internal/validate-key", b'{"key":"' + token + b'","more":{"a":[1]}}'),
    ):
        check_envelope(await same(site, "POST", path, JSON, content))


@pytest.mark.parametrize("name", ["key", "revoked key", "service token", "access token", "forged", "rubbish"])
async def test_an_introspection_is_the_same_either_way(site: Site, name: str) -> None:
    """RFC 7662 section 2.2."""
    asker = bearer(site.secrets["asker"]) | FORM
    for content in (f"token={site.secrets[name]}", f"token_type_hint=x&token={site.secrets[name]}&more="):
        check_envelope(await same(site, "POST", "/oauth2/introspect", asker, content.encode()))


@pytest.mark.parametrize("caller", ["key", "service token", "unknown", "rubbish", "ADMIN_TOKEN", "revoked key"])
async def test_a_refused_asker_is_refused_the_same_either_way(site: Site, caller: str) -> None:
    """SEC-57."""
    answer = await same(site, "POST", "/oauth2/introspect", bearer(site.secrets[caller]) | FORM, b"token=x")
    assert answer.status_code in {401, 403}
    check_envelope(answer)


@pytest.mark.parametrize("path", ME)
@pytest.mark.parametrize(
    "name", ["key", "access token", "service token", "revoked key", "forged", "unknown", "rubbish", "ADMIN_TOKEN"]
)
async def test_me_is_the_same_either_way(site: Site, path: str, name: str) -> None:
    """C-18: a user, an absent credential, and refused ones."""
    answer = await same(site, "GET", path, bearer(site.secrets[name]), None)
    assert answer.status_code == {"key": 200, "access token": 200}.get(name, answer.status_code)
    check_envelope(answer)


@pytest.mark.parametrize("path", PUBLIC)
async def test_a_public_answer_is_short_and_the_same_either_way(site: Site, path: str) -> None:
    """S2-40 S4-41: byte for byte, header for header; no credential is looked at, bad or doubled as it may be."""
    doubled = bearer(site.secrets["forged"]) | {"X-API-Key": site.secrets["revoked key"], "Cookie": "idp_session=x"}
    for headers in ({}, bearer("rubbish"), doubled):
        plain, long_way = await site.send("GET", path, headers, None)
        assert (plain.status_code, long_way) == (200, False)
        other, long_way = await site.send("GET", path, headers | {"Origin": site.service.base_url}, None)
        assert long_way
        exposed = other.headers.pop("access-control-expose-headers", None)  # only pages need to know
        assert bool(exposed) == (path == "/.well-known/jwks.json")
        assert comparable(other) == comparable(plain)
    for name, value in SECURITY.items():
        assert name == "cache-control" or plain.headers[name] == value, name
    if path in PUBLIC[:1]:
        assert plain.headers["cache-control"] == "public, max-age=300"
        assert plain.headers["access-control-allow-origin"] == "*"
        assert plain.headers["content-type"] == "application/jwk-set+json"
    assert (await site.send("GET", f"{path}?x=1", {}, None))[0].content == plain.content


@pytest.mark.parametrize("path", PUBLIC)
async def test_other_methods_of_a_public_route_are_the_framework_s(site: Site, path: str) -> None:
    """RFC 9110: OPTIONS names the methods, 405 too, and an answer to HEAD has no body."""
    head, long_way = await site.send("HEAD", path, {}, None)
    assert (head.status_code, head.content, long_way) == (200, b"", False)
    for method, status in (("OPTIONS", 204), ("POST", 405), ("DELETE", 405)):
        answer, long_way = await site.send(method, path, {}, None)
        assert (answer.status_code, answer.headers["allow"], long_way) == (status, "GET, HEAD, OPTIONS", True)
        assert bool(answer.content) == (method in {"POST", "DELETE"})


# --- the unusual one -------------------------------------------------------------------------------------------------

BODIES = {
    "nothing": b"",
    "not JSON": b"token=a",
    "cut off": b'{"token":"a"',
    "not UTF-8": b'{"token":"\xff","key":"\xff"}',
    "half a sign": b'{"token":"\\ud800","key":"\\ud800"}',
    "an array": b"[]",
    "null": b"null",
    "neither": b"{}",
    "numbers": b'{"token":1,"key":1}',
    "deep": b'{"token":"a","key":"a","x":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "members twice": b'{"token":"a","token":"b","key":"a","key":"b"}',
    "a byte order mark": b'\xef\xbb\xbf{"token":"a","key":"a"}',
    "NUL": b'{"token":"\\u0000","key":"\\u0000"}',
    "70 kB": b'{"token":"' + b"t" * 70_000 + b'","key":"' + b"t" * 70_000 + b'"}',
    "too long": b'{"token":"' + b"t" * 100_001 + b'","key":"' + b"t" * 100_001 + b'"}',
    "scopes that are none": b'{"token":"a","key":"a","required_scopes":[1]}',
    "more than is read": b'{"token":"a","key":"a","x":"' + b"x" * 1_000_001 + b'"}',
}


@pytest.mark.parametrize("path", ["/auth/validate", "/internal/validate-key"])
@pytest.mark.parametrize("name", BODIES)
async def test_a_bad_body_is_the_same_either_way(site: Site, path: str, name: str) -> None:
    """C-16 SEC-76: nothing is lost of a body that was looked at and left to the framework."""
    answer = await same(site, "POST", path, JSON, BODIES[name])
    assert answer.status_code in {200, 413, 422}
    check_envelope(answer)


@pytest.mark.parametrize(
    "content", [b"", b"x=1", b"token=a&token=b", b"token=%FF", b"token=", b"&&", b"token=a;b", b"token=+a+"]
)
async def test_a_bad_form_is_the_same_either_way(site: Site, content: bytes) -> None:
    """RFC 6749 section 3.1."""
    answer = await same(site, "POST", "/oauth2/introspect", bearer(site.secrets["asker"]) | FORM, content)
    assert answer.status_code in {200, 400}
    check_envelope(answer)


async def test_headers_that_are_ambiguous_are_refused_on_every_hot_route(site: Site) -> None:
    """C-24: two explicit credentials that differ, whichever comes first; two that agree are one."""
    key, token = site.secrets["key"], site.secrets["access token"]
    for path in ME:
        answer, _ = await site.send("GET", path, bearer(key) | {"X-API-Key": token}, None)
        assert (answer.status_code, answer.json()["code"]) == (400, "ambiguous_credentials")
        answer, _ = await site.send("GET", path, bearer(key) | {"X-API-Key": key}, None)
        assert answer.status_code == 200
    asker = bearer(site.secrets["asker"])
    answer, _ = await site.send("POST", "/oauth2/introspect", asker | FORM | {"X-API-Key": key}, b"token=a")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "value", ["Basic YTpi", "Bearer", "bearer {}", "BEARER   {}", "Token {}", "{}", "Bearer {} {}", "Bearer,{}"]
)
async def test_spellings_of_the_header_mean_the_same_either_way(site: Site, value: str) -> None:
    """RFC 6750 section 2.1, RFC 9110 section 11.1: the scheme's case does not matter, everything else does."""
    authorization = {"Authorization": value.replace("{}", site.secrets["key"])}
    for path in ME:
        answer = await same(site, "GET", path, authorization, None)
        assert answer.status_code == (200 if value in {"bearer {}", "BEARER   {}"} else 401)


async def test_a_request_id_is_made_where_none_is_given(site: Site) -> None:
    """And one that is not safe to repeat is not repeated."""
    content = b'{"token":"a"}'
    for odd in ("", "a" * 65, "<script>", "a b"):
        answer, _ = await site.send("POST", "/auth/validate", JSON | {"X-Request-Id": odd}, content)
        assert len(answer.headers["x-request-id"]) == 36
    answer, _ = await site.send("POST", "/auth/validate", JSON | {"X-Request-Id": "a.b_c-1"}, content)
    assert answer.headers["x-request-id"] == "a.b_c-1"


async def test_answers_are_counted_once_either_way(site: Site) -> None:
    """S3-65: by route template and status; a verdict and an attempt each, refusals included."""

    async def counts() -> dict[str, float]:
        text = (await site.service.client.get("/metrics", headers=bearer(METRICS_TOKEN))).text
        pairs = [line.rsplit(" ", 1) for line in text.splitlines() if line and line[0] != "#"]
        return {name: float(value) for name, value in pairs if name.split("{")[0].endswith("_total")}

    def grown(name: str) -> float:
        return after.get(name, 0.0) - before.get(name, 0.0)

    for origin in ({}, {"Origin": site.service.base_url}):
        before = await counts()
        await site.send("POST", "/auth/validate", JSON | origin, b'{"token":"rubbish"}')
        await site.send("GET", "/auth/me", bearer("rubbish") | origin, None)
        await site.send("GET", "/auth/me", bearer(site.secrets["key"]) | origin, None)
        for path in ("/.well-known/jwks.json", "/health", "/healthz"):
            await site.send("GET", path, bearer("rubbish") | origin, None)
        after = await counts()
        assert grown('auth_request_total{endpoint="/auth/validate",http_status="200",method="POST"}') == 1
        assert grown('auth_request_total{endpoint="/auth/me",http_status="401",method="GET"}') == 1
        assert grown('auth_request_total{endpoint="/auth/me",http_status="200",method="GET"}') == 1
        assert grown('auth_request_total{endpoint="/.well-known/jwks.json",http_status="200",method="GET"}') == 1
        assert grown('auth_request_total{endpoint="/health",http_status="200",method="GET"}') == 1
        assert grown('auth_request_total{endpoint="/healthz",http_status="200",method="GET"}') == 1
        assert grown('idp_token_validations_total{kind="none",result="token_not_found"}') == 1
        assert grown('idp_auth_attempts_total{method="unknown",outcome="credential_unrecognised"}') == 2
        assert grown('idp_auth_attempts_total{method="api_key",outcome="authenticated"}') == 1


async def test_pipelined_requests_are_answered_in_order(site: Site) -> None:
    """RFC 9112 section 9.3.2: a short answer must not overtake a long one on the same connection."""
    from flows.test_bad_input import raw

    host = site.service.base_url.removeprefix("http://")

    def request(path: str, number: int, more: str = "") -> bytes:
        head = f"GET {path} HTTP/1.1\r\nhost: {host}\r\nx-request-id: n{number}\r\n{more}"
        return f"{head}authorization: Bearer {site.secrets['key']}\r\n\r\n".encode()

    paths = ("/auth/me", "/teams", "/v1/me", "/domains", "/api/auth/me")
    sent = b"".join(request(path, number) for number, path in enumerate(paths))
    answer = await raw(site.service, sent + request("/auth/me", 9, "connection: close\r\n"))
    order = [line.split(b": ")[1] for line in answer.split(b"\r\n") if line.lower().startswith(b"x-request-id")]
    assert order == [b"n0", b"n1", b"n2", b"n3", b"n4", b"n9"]
    assert answer.count(b"HTTP/1.1 200 ") == 6
