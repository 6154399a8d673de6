"""Providers that fail or lie: a page that says so and offers the other ways in, a log line, and nothing half-linked."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from authn.issuer_support import http
from factories import Service
from federation.provider_support import (
    Asked,
    FakeProvider,
    Hook,
    answered,
    me,
    running_provider,
    running_with,
    sign_in,
)
from idp.dev.embedded import EmbeddedPostgres
from idp.federation import requests
from idp.federation.oidc import OidcUpstream
from provider_apps import Browser
from table_tests import table


@pytest.fixture(scope="module")
async def provider() -> AsyncIterator[FakeProvider]:
    async with running_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
async def service(postgres: EmbeddedPostgres, provider: FakeProvider) -> AsyncIterator[Service]:
    rules = [{"claim": "groups", "values": ["group-9999"], "domains": ["engineering"], "roles": ["reviewer"]}]
    corp = {"issuer": provider.issuer, "trusted_email_domains": ["corp.example"], "rules": rules}
    async with running_with(postgres, "bad_upstreams", corp=corp) as service:
        yield service


@pytest.fixture(autouse=True)
def _fresh(service: Service, provider: FakeProvider) -> None:
    provider.reset()
    provider.claims = {"sub": "s-bad", "email": "bad@corp.example", "email_verified": True}
    upstream_of(service).metadata._fresh_until = float("-inf")
    upstream_of(service).metadata._next_try = float("-inf")
    upstream_of(service).metadata._known = None
    upstream_of(service).issuer.keys._next_try = float("-inf")


def upstream_of(service: Service) -> OidcUpstream:
    upstream = service.app.core.federation.sign_in.providers.get("corp").upstream
    assert isinstance(upstream, OidcUpstream)
    return upstream


def answering(body: bytes, **more: Any) -> Hook:
    async def answer(provider: FakeProvider, asked: Asked) -> bytes:
        return http(body, **more)

    return answer


def answering_json(document: Any, **more: Any) -> Hook:
    return answering(json.dumps(document).encode(), **more)


async def sleeping(provider: FakeProvider, asked: Asked) -> bytes:
    await asyncio.sleep(30)
    return b""


async def hanging_up(provider: FakeProvider, asked: Asked) -> bytes:
    return b""


def is_page(answer: httpx2.Response, *, unreachable: bool) -> bool:
    """Whether an answer is the page of an error, with the other ways in."""
    status = 503 if unreachable else 400
    assert (answer.status_code, "other=1" in answer.text) == (status, True), (answer.status_code, answer.text[:300])
    assert ("retry-after" in answer.headers) is unreachable
    return True


TOKEN_ANSWERS: dict[str, tuple[Hook, bool]] = {
    "500": (answering(b"oops", status="500 Internal Server Error", kind="text/html"), True),
    "429": (answering(b"", status="429 Too Many Requests"), True),
    "no answer": (hanging_up, True),
    "HTML": (answering(b"<html>Sign in</html>", kind="text/html"), False),
    "HTML with 401": (answering(b"<html>", kind="text/html", status="401 Unauthorized"), False),
    "a redirect": (answering(b"", status="302 Found", more="Location: http://127.0.0.1:1/\r\n"), False),
    "a redirect with tokens": (answering_json({"id_token": "x"}, status="307 Temporary Redirect"), False),
    "a huge body": (answering(b'{"a":"' + b"x" * 3_000_000 + b'"}'), False),
    "a compressed body": (answering(b"\x1f\x8b", more="Content-Encoding: gzip\r\n"), False),
    "a list": (answering_json([1]), False),
    "null": (answering(b"null"), False),
    "deep": (answering(b"[" * 200_000), False),
    "twice the ID token": (answering(b'{"id_token": "a", "id_token": "b", "access_token": "c"}'), False),
    "no ID token": (answering_json({"access_token": "x", "token_type": "Bearer"}), False),
    "an ID token that is a list": (answering_json({"access_token": "x", "id_token": ["x"]}), False),
    "an endless lifetime": (answering_json({"access_token": "x", "expires_in": "1e999"}), False),
    "a lifetime that is a list": (answering_json({"access_token": "x", "expires_in": [1]}), False),
    "an error that is an object": (answering_json({"error": {"a": 1}, "error_description": 5}), False),
    "an error": (answering_json({"error": "invalid_grant"}, status="400 Bad Request"), False),
}


async def test_bad_token_endpoints(service: Service, provider: FakeProvider) -> None:
    """SEC-66 SEC-67."""
    with table() as row:
        for name, (hook, unreachable) in TOKEN_ANSWERS.items():
            with row(name), capture_logs() as lines:
                provider.hooks = {"/token": hook}
                async with Browser(service) as browser:
                    assert is_page(await sign_in(browser), unreachable=unreachable)
                    assert (await browser.client.get("/auth/me")).status_code == 401
                logged = [each for each in lines if each["log_level"] == "warning" and each.get("provider") == "corp"]
                assert logged
                assert logged[0]["reason"]
    assert await service.sql("SELECT 1 FROM idp.identities") == []


async def test_a_slow_token_endpoint_is_bounded(
    service: Service, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One limit for the whole exchange, so that an answer in drops ends too."""

    async def drops(provider: FakeProvider, asked: Asked) -> bytes:
        await asyncio.sleep(30)
        return b""

    monkeypatch.setattr(requests, "SECONDS", 0.5)
    provider.hooks = {"/token": drops}
    async with Browser(service) as browser:
        callback = await answered(browser)
        began = time.monotonic()
        assert is_page(await browser.client.get(callback), unreachable=True)
        assert time.monotonic() - began < 8


DISCOVERY: dict[str, Hook] = {
    "down": hanging_up,
    "HTML": answering(b"<html>", kind="text/html"),
    "a redirect": answering(b"", status="302 Found", more="Location: http://127.0.0.1:1/\r\n"),
    "another issuer": answering_json({"issuer": "https://evil.example"}),
    "a list": answering_json([]),
    "huge": answering(b'{"a":"' + b"x" * 3_000_000 + b'"}'),
}
PRIVATE = [
    "http://10.0.0.1/token",
    "http://169.254.169.254/latest",
    "ftp://corp.example/",
    "javascript:alert(1)",
    "https://user:pw@corp.example/",
    "//corp.example",
    "",
]


async def test_bad_discovery(service: Service, provider: FakeProvider) -> None:
    """SEC-66 SEC-68: nothing is sent anywhere, and the page offers the other ways in."""
    path = "/.well-known/openid-configuration"
    metadata = upstream_of(service).metadata
    with table() as row:
        for name, hook in DISCOVERY.items():
            with row(name), capture_logs() as lines:
                metadata._next_try, provider.hooks = float("-inf"), {path: hook}
                async with Browser(service) as browser:
                    assert is_page(await browser.client.get("/federation/corp/start"), unreachable=True)
                assert any("metadata of a provider" in each["event"] and each["reason"] for each in lines)
        for endpoint in ("authorization_endpoint", "token_endpoint"):
            for url in PRIVATE:
                with row(f"{endpoint} {url}"):
                    metadata._next_try, provider.hooks, provider.metadata = float("-inf"), {}, {endpoint: url}
                    async with Browser(service) as browser:
                        assert is_page(await browser.client.get("/federation/corp/start"), unreachable=True)


async def test_endpoints_in_the_private_network(service: Service, provider: FakeProvider) -> None:
    """SEC-66: https does not help; the address is checked after DNS."""
    for url in ("https://10.0.0.1/token", "https://169.254.169.254/token", "https://[fd00::1]/token"):
        upstream_of(service).metadata._fresh_until = float("-inf")
        provider.metadata = {"token_endpoint": url}
        async with Browser(service) as browser:
            assert is_page(await sign_in(browser), unreachable=True)


async def test_userinfo_that_fails_or_belongs_to_another(service: Service, provider: FakeProvider) -> None:
    """OpenID Connect Core 5.3.2: then the login has no address."""
    hooks = {
        "other": answering_json({"sub": "other", "email": "root@corp.example", "email_verified": True}),
        "html": answering(b"<html>", kind="text/html"),
        "down": hanging_up,
    }
    for name, hook in hooks.items():
        provider.claims = {"sub": f"userinfo-{name}"}
        provider.userinfo, provider.hooks = {}, {"/userinfo": hook}
        upstream_of(service).metadata._fresh_until = float("-inf")
        async with Browser(service) as browser:
            assert (await sign_in(browser)).status_code == 303
            assert (await me(browser))["email"] is None


async def test_it_sends_no_address(service: Service, provider: FakeProvider) -> None:
    provider.claims = {"sub": "no-mail", "name": "Grace"}
    async with Browser(service) as browser:
        assert (await sign_in(browser)).status_code == 303
        who = await me(browser)
        assert (who["email"], who["name"], who["email_verified"]) == (None, "Grace", False)


async def test_it_sends_ten_thousand_groups(service: Service, provider: FakeProvider) -> None:
    provider.claims |= {"sub": "many", "email": "many@corp.example"}
    provider.claims["groups"] = [f"group-{number}" for number in range(10_000)]
    async with Browser(service) as browser:
        assert (await sign_in(browser)).status_code == 303
        assert "engineering" in str((await me(browser))["domains"])
        provider.claims["groups"] = ["x" * 300_000]
        assert is_page(await sign_in(browser), unreachable=False)


async def test_it_rotates_its_keys(service: Service, provider: FakeProvider) -> None:
    """A new key under a new and under the same id; an ID token of a withdrawn key is refused."""
    keys = upstream_of(service).issuer.keys
    provider.claims = {"sub": "rotating"}
    async with Browser(service) as browser:
        assert (await sign_in(browser)).status_code == 303
        keys._next_try, provider.kids = float("-inf"), ["rsa-2"]
        assert (await sign_in(browser)).status_code == 303
        keys._next_try = float("-inf")
        provider.signs = lambda provider, claims: provider.sign(claims, kid="rsa-1")
        assert is_page(await sign_in(browser), unreachable=False)
        # The same id with another key.
        other = {**_public("rsa-3"), "kid": "rsa-2"}
        provider.hooks = {"/keys": answering_json({"keys": [other]})}
        provider.signs = lambda _, claims: _signed_as("rsa-2", "rsa-3", claims)
        keys._next_try = float("-inf")
        assert (await sign_in(browser)).status_code == 303


async def test_its_keys_cannot_be_fetched(service: Service, provider: FakeProvider) -> None:
    keys = upstream_of(service).issuer.keys
    keys._keys, keys._next_try = {}, float("-inf")
    provider.hooks = {"/keys": answering(b"", status="500 Internal Server Error")}
    async with Browser(service) as browser:
        assert is_page(await sign_in(browser), unreachable=True)
    keys._next_try = float("-inf")


async def test_the_same_answer_twice_at_once_begins_one_session(service: Service, provider: FakeProvider) -> None:
    provider.claims = {"sub": "twice"}
    async with Browser(service) as browser:
        callback = await answered(browser)
        answers = await asyncio.gather(*(browser.client.get(callback) for _ in range(5)))
    assert sorted(each.status_code for each in answers) == [303, 400, 400, 400, 400]


async def test_the_same_new_person_in_several_browsers_at_once(service: Service, provider: FakeProvider) -> None:
    """SEC-69: one account under a race."""
    provider.claims = {"sub": "raced", "email": "raced@corp.example", "email_verified": True}
    browsers = [Browser(service) for _ in range(5)]
    answers = await asyncio.gather(*(sign_in(each) for each in browsers))
    assert {each.status_code for each in answers} == {303}
    users = await service.sql("SELECT DISTINCT user_id FROM idp.identities WHERE subject = 'raced'")
    assert len(users) == 1
    for browser in browsers:
        await browser.client.aclose()


def _public(kid: str) -> dict[str, Any]:
    from authn.issuer_support import key_of

    return dict(key_of(kid).as_dict(private=False))


def _signed_as(kid: str, key: str, claims: dict[str, Any]) -> str:
    from joserfc import jwt

    from authn.issuer_support import key_of

    return jwt.encode({"alg": "RS256", "kid": kid}, claims, key_of(key), algorithms=["RS256"])
