"""The keys of other issuers: fetched with limits and cached (SEC-22, SEC-66, SEC-68)."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from joserfc.errors import SecurityWarning
from joserfc.jwk import RSAKey

from authn.issuer_support import Issuer, http, key_of, running_issuer, well
from idp.errors import DependencyUnavailable
from idp.signing import fetch, remote_jwks
from idp.signing.fetch import Fetcher, FetchFailed
from idp.signing.remote_jwks import RemoteJwks


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with running_issuer() as issuer:
        yield issuer


def keys_of(issuer: Issuer, **options: Any) -> RemoteJwks:
    return RemoteJwks(issuer.url, Fetcher(allow_loopback=True), **options)


async def test_keys_are_found_by_discovery_and_kept(issuer: Issuer) -> None:
    keys = keys_of(issuer)
    assert [(await keys.find("rsa-1")) is not None for _ in range(3)] == [True] * 3
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]


async def test_a_configured_address_needs_no_discovery(issuer: Issuer) -> None:
    keys = keys_of(issuer, jwks_url=f"{issuer.url}/keys")
    assert await keys.find("rsa-1") is not None
    assert issuer.asked == ["/keys"]


async def test_an_unknown_key_is_asked_for_once_in_a_cool_down(issuer: Issuer) -> None:
    """SEC-22: fifty requests at once, and fifty later ones, cause one more fetch together."""
    keys = keys_of(issuer, jwks_url=f"{issuer.url}/keys")
    await keys.find("rsa-1")
    keys._next_try = float("-inf")
    found = await asyncio.gather(*(keys.find(f"unknown-{number}") for number in range(50)))
    found += [await keys.find(f"unknown-{number}") for number in range(50)]
    assert found == [None] * 100
    assert issuer.asked == ["/keys", "/keys"]


async def test_a_new_key_is_found_when_a_token_names_it(issuer: Issuer) -> None:
    keys = keys_of(issuer)
    await keys.find("rsa-1")
    issuer.kids.append("rsa-2")
    keys._next_try = float("-inf")
    assert await keys.find("rsa-2") is not None


async def test_a_withdrawn_key_is_gone_and_told(issuer: Issuer) -> None:
    told: list[str] = []
    keys = keys_of(issuer, removed=lambda: told.append("removed"))
    issuer.kids.append("rsa-2")
    await keys.find("rsa-1")
    issuer.kids.remove("rsa-1")
    await keys.fetch()
    keys._next_try = float("inf")
    assert (await keys.find("rsa-1"), told) == (None, ["removed"])


async def test_another_key_with_the_id_of_an_old_one_is_told(issuer: Issuer) -> None:
    """SEC-31: some providers name every key "default"."""
    told: list[str] = []
    keys = keys_of(issuer, jwks_url=f"{issuer.url}/keys", removed=lambda: told.append("removed"))
    issuer.kids, issuer.further_keys = [], [key_of("rsa-1").as_dict(private=False) | {"kid": "default"}]
    await keys.fetch()
    await keys.fetch()
    assert told == []
    issuer.further_keys = [key_of("rsa-2").as_dict(private=False) | {"kid": "default"}]
    await keys.fetch()
    assert told == ["removed"]


async def test_a_signature_that_fails_asks_for_a_newer_key_of_the_same_id(issuer: Issuer) -> None:
    """Some issuers rotate without a new id. At most one fetch per cool-down, whatever the number of bad signatures."""
    keys = keys_of(issuer)
    known = await keys.find("rsa-1")
    assert known is not None
    assert await keys.find_newer("rsa-1", known) is None, "within the cool-down of the first fetch"
    keys._next_try = float("-inf")
    before = len(issuer.asked)
    for _ in range(50):
        assert await keys.find_newer("rsa-1", known) is None
    assert len(issuer.asked) - before <= 2, "discovery and keys, once"
    replaced = key_of("rsa-2").as_dict(private=False) | {"kid": "rsa-1"}
    issuer.kids, issuer.further_keys = [], [replaced]
    keys._next_try = float("-inf")
    newer = await keys.find_newer("rsa-1", known)
    assert newer is not None
    assert newer != known


async def test_an_id_that_two_keys_have_names_neither(issuer: Issuer) -> None:
    """RFC 7517 section 4.5: which of them signed is not to be guessed."""
    issuer.kids = ["rsa-1"]
    issuer.further_keys = [key_of(kid).as_dict(private=False) | {"kid": "twice"} for kid in ("rsa-2", "rsa-9")]
    keys = keys_of(issuer)
    assert (await keys.find("twice"), await keys.find("rsa-1") is not None) == (None, True)


async def test_known_keys_outlive_an_outage_and_unknown_ones_are_unavailable(issuer: Issuer) -> None:
    """A dead issuer is 503 and never "invalid"; what is known goes on (stale-if-error)."""
    keys = keys_of(issuer)
    await keys.find("rsa-1")
    issuer.answer = broken
    keys._fresh_until = keys._next_try = float("-inf")
    assert await keys.find("rsa-1") is not None, "nobody waits for the issuer"
    with pytest.raises(DependencyUnavailable):
        await keys.find("rsa-2")
    keys._stale_until = float("-inf")
    with pytest.raises(DependencyUnavailable):
        await keys.find("rsa-1")


async def broken(_issuer: Issuer, _path: str) -> bytes:
    return b""


async def test_only_keys_for_signatures_are_taken(issuer: Issuer) -> None:
    """SEC-20, SEC-29: encryption keys, short, private and symmetric ones, and other algorithms are left out."""
    with pytest.warns(SecurityWarning):
        short = RSAKey.generate_key(1024, {"kid": "short"})
    usual = key_of("rsa-1").as_dict(private=False)
    issuer.further_keys = [
        usual | {"kid": "enc", "use": "enc"},
        usual | {"kid": "ops", "key_ops": ["encrypt"]},
        usual | {"kid": "other", "alg": "RS512"},
        short.as_dict(private=False),
        key_of("rsa-9").as_dict(private=True) | {"kid": "private"},
        {"kty": "oct", "kid": "oct", "k": "c2VjcmV0"},
        {"kty": "RSA", "kid": "nonsense", "n": "!", "e": 1},
        usual | {"kid": "ops-5", "key_ops": 5},
        usual | {"kid": "ops-verifying", "key_ops": "verifying"},
        usual | {"kid": "alg-list", "alg": ["RS256"]},
        usual | {"kid": "use-list", "use": ["sig"]},
        {"kty": ["RSA"], "kid": "kty-list"},
        usual | {"kid": "number", "n": 5},
        {"kid": 5},
        "text",  # type: ignore[list-item]
    ]
    keys = keys_of(issuer)
    assert await keys.find("rsa-1") is not None
    assert set(keys._keys) == {"rsa-1"}


async def test_another_issuer_in_the_discovery_document_is_refused(issuer: Issuer) -> None:
    """SEC-68."""
    issuer.named = "https://elsewhere.example.com"
    with pytest.raises(FetchFailed, match="names another issuer"):
        await keys_of(issuer).fetch()
    with pytest.raises(DependencyUnavailable):
        await keys_of(issuer).find("rsa-1")


# --- what an issuer may answer instead -------------------------------------------------------------------------------


async def bomb(_issuer: Issuer, _path: str) -> bytes:
    return http(gzip.compress(b" " * 10_000_000 + b"{}"), more="Content-Encoding: gzip\r\n")


async def html(_issuer: Issuer, _path: str) -> bytes:
    return http(b"<html>sign in</html>", kind="text/html")


async def redirect(issuer: Issuer, _path: str) -> bytes:
    return http(b"", status="302 Found", more=f"Location: {issuer.url}/keys\r\n")


async def endless(_issuer: Issuer, _path: str) -> bytes:
    return http(b'{"keys": [' + b" " * 50_000_000 + b"]}")


async def hang(_issuer: Issuer, _path: str) -> bytes:
    await asyncio.sleep(60)
    return b""


async def twice(_issuer: Issuer, _path: str) -> bytes:
    return http(b'{"keys": [], "keys": []}')


async def error(_issuer: Issuer, _path: str) -> bytes:
    return http(b"{}", status="500 Internal Server Error")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (html, "did not answer a JSON object"),
        (redirect, "answered 302 instead of 200"),
        (endless, "answered more than"),
        (hang, "did not answer within"),
        (broken, "cannot be reached"),
        (twice, "did not answer a JSON object"),
        (error, "answered 500 instead of 200"),
        (bomb, "is compressed"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_what_is_no_jwks_is_a_reason(
    issuer: Issuer, answer: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SEC-66: bounded in size and time, and no redirect is followed."""
    monkeypatch.setattr(fetch, "_SECONDS", 1.0 if answer is hang else 20.0)  # machines may stand still for a second
    issuer.answer = answer
    with pytest.raises(FetchFailed, match=reason):
        await keys_of(issuer, jwks_url=f"{issuer.url}/keys").fetch()
    assert len(issuer.asked) == 1


async def test_no_compression_is_asked_for(issuer: Issuer) -> None:
    """SEC-66: a kilobyte of gzip is a megabyte, so the bound on size would come too late."""
    await keys_of(issuer).fetch()
    assert all("\naccept-encoding: identity\r" in head.lower() for head in issuer.heads)


@pytest.mark.parametrize(
    "url",
    ["https://a..example.com/keys", f"https://{'a' * 64}.example.com/keys", "https://\u2024.example/keys",
     "https://id.example.com:99999/keys", "https://[::1%25lo]/keys",
     "https://\ud800.example/keys", "https://a\u0000.example/keys", "https://0x7f.1/keys", "https://2130706433/keys"],
)  # fmt: skip
async def test_what_is_no_address_is_a_reason(url: str) -> None:
    """SEC-76: an issuer's discovery document may name anything."""
    with pytest.raises(FetchFailed):
        await Fetcher().get(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://id.example.com/keys",
        "ftp://id.example.com/keys",
        "https://user:secret@id.example.com/keys",
        "https:///keys",
        "https://[::1/keys",
        "file:///etc/passwd",
    ],
)
async def test_only_https_without_credentials_is_fetched(url: str) -> None:
    for allow_loopback in (False, True):
        with pytest.raises(FetchFailed, match="is not fetched"):
            await Fetcher(allow_loopback=allow_loopback).get(url)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "100.64.0.1", "::1", "fd00::1", "fe80::1",
     "::ffff:10.0.0.1", "0.0.0.0", "224.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2002:a00:1::", "::a00:1",
     "::ffff:0:a00:1", "fec0::1", "2001:0:a00:1::", "240.0.0.1", "ff0e::1", "192.0.0.192", "192.88.99.1",
     "::ffff:192.0.0.192", "168.63.129.16", "64:ff9b::a83f:8110", "3fff::1"],
)  # fmt: skip
async def test_no_name_leads_to_an_address_that_is_not_public(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-66: whatever the name server answers, also as the second of several addresses."""

    async def resolve(*_: Any, **__: Any) -> list[Any]:
        public = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 443))
        return [public, (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    with pytest.raises(FetchFailed, match="which is not public"):
        await Fetcher().get("https://id.example.com/keys")


async def test_plain_http_to_loopback_is_for_development_alone(issuer: Issuer) -> None:
    with pytest.raises(FetchFailed, match="it is not https"):
        await Fetcher().get(f"{issuer.url}/keys")
    assert (await Fetcher(allow_loopback=True).get(f"{issuer.url}/keys")).document["keys"]


async def test_how_long_keys_are_used_is_the_issuers_to_say_within_bounds(issuer: Issuer) -> None:
    for header, seconds in (
        ("max-age=5", 600),
        ("public, max-age=7200", 7200),
        ("max-age=9999999", 86_400),
        ("", 3600),
    ):
        issuer.headers = f"Cache-Control: {header}\r\n" if header else ""
        assert remote_jwks._life_of((await Fetcher(allow_loopback=True).get(f"{issuer.url}/keys")).headers) == seconds
    assert issuer.answer is well
