"""The JWKS cache: rotation, unknown keys, floods, outages, and invalid documents."""

import asyncio
import threading
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import ECKey, OctKey, RSAKey

from client.client_support import Issuer, Reply
from factories import running
from idp.dev.embedded import EmbeddedPostgres
from idp_client import AuthUnavailable, JwksCache, OfflineVerifier, TokenRejected, jwks
from idp_client.keys import UnusableKey, from_jwk
from signing.forgery import b64url, json_bytes

pytestmark = pytest.mark.alone


async def test_a_new_key_of_the_real_service_is_found_without_a_restart(postgres: EmbeddedPostgres) -> None:
    """SEC-31: `idp keys rotate --now`, then tokens of the new key are good, and those of the ended key soon not."""
    async with running(postgres.create_database("rotation"), profile="production") as service:
        keys = JwksCache(f"{service.base_url}/.well-known/jwks.json", refresh_after=0.3, cool_down=0.1)
        verifier = OfflineVerifier(service.base_url, keys=keys)
        before = await service.register()
        await verifier.verify(before.token)
        await service.app.core.keyring.rotate(at_once=True)
        after = await service.register()
        await asyncio.sleep(0.11)
        await verifier.verify(after.token)
        with pytest.raises(TokenRejected):
            await verifier.verify(before.token)


async def test_a_staged_rotation_refuses_no_token(issuer: Issuer) -> None:
    """SEC-31: the new key is published before use, the old one kept: no fetch is waited for, no token is refused."""
    verifier = issuer.verifier(issuer.cache(refresh_after=0.1, cool_down=0.05))
    old = issuer.token()
    await verifier.verify(old)
    new_key = ECKey.generate_key("P-256", private=True)
    issuer.publish(new_key)
    await asyncio.sleep(0.15)
    await verifier.verify(old)  # starts a fetch in the background
    for _ in range(50):
        if issuer.fetches == 2:
            break
        await asyncio.sleep(0.02)
    await verifier.verify(issuer.token(key=new_key))
    await verifier.verify(old)
    assert issuer.fetches == 2


async def test_an_ended_key_ends_remembered_tokens_too(issuer: Issuer) -> None:
    """SEC-31: a key that left the JWKS is no key, whatever was verified with it before."""
    verifier = issuer.verifier(issuer.cache(refresh_after=0.05, cool_down=0.01))
    token = issuer.token()
    await verifier.verify(token)
    issuer.keys.clear()
    issuer.publish(ECKey.generate_key("P-256", private=True))
    await asyncio.sleep(0.06)
    for _ in range(50):
        await asyncio.sleep(0.02)
        try:
            await verifier.verify(token)
        except TokenRejected:
            return
    pytest.fail("the ended key still verifies")


async def test_a_flood_of_unknown_keys_makes_one_fetch_per_cool_down(issuer: Issuer) -> None:
    """SEC-22: single flight, at most one fetch a cool-down, and good tokens go on meanwhile."""
    cool_down = 0.5
    verifier = issuer.verifier(issuer.cache(cool_down=cool_down))
    await verifier.verify(issuer.token())
    assert issuer.fetches == 1
    strangers = [issuer.token(header={"kid": f"stranger-{n}"}) for n in range(200)]
    await asyncio.sleep(cool_down)

    async def refused(token: str) -> bool:
        try:
            await verifier.verify(token)
        except TokenRejected:
            return True
        return False

    started = time.monotonic()
    assert all(await asyncio.gather(*(refused(token) for token in strangers)))
    assert all([await refused(token) for token in strangers])
    assert 2 <= issuer.fetches <= 2 + (time.monotonic() - started) / cool_down
    await verifier.verify(issuer.token())


def test_threads_share_one_fetch(issuer: Issuer) -> None:
    """SEC-22, for synchronous services: twenty threads with nothing in the cache, one fetch."""
    issuer.server.reply, reply = (lambda asked: Reply(body=reply(asked).body, wait=0.2)), issuer.server.reply
    verifier = issuer.verifier()
    names: list[str] = []
    threads = [
        threading.Thread(target=lambda: names.append(verifier.verify_sync(issuer.token()).kind)) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (names, issuer.fetches) == (["user"] * 20, 1)


async def test_in_an_outage_keys_serve_until_their_time_and_then_nothing_is_accepted(issuer: Issuer) -> None:
    """SEC-30: cached keys serve until their TTL, then 503, never accepted; recovery without a restart."""
    verifier = issuer.verifier(issuer.cache(refresh_after=0.1, keys_live=2.5, cool_down=0.1))
    seen = issuer.token()
    await verifier.verify(seen)
    issuer.server.stop()
    await asyncio.sleep(0.3)
    await verifier.verify(seen)
    await verifier.verify(issuer.token())
    with pytest.raises(AuthUnavailable, match="unknown key"):  # it may be a new one: not "invalid"
        await verifier.verify(issuer.token(header={"kid": "new"}))
    await asyncio.sleep(2.3)
    for token in (seen, issuer.token()):
        with pytest.raises(AuthUnavailable) as refusal:
            await verifier.verify(token)
        assert refusal.value.status == 503
        assert refusal.value.headers == {"Retry-After": "1"}
    issuer.server.start()
    await asyncio.sleep(0.15)
    await verifier.verify(seen)


async def test_a_service_that_starts_before_its_issuer_waits_for_it(issuer: Issuer) -> None:
    """SEC-30: nothing is accepted and nothing is called invalid before there are keys."""
    issuer.server.stop()
    verifier = issuer.verifier(issuer.cache(cool_down=0.1))
    with pytest.raises(AuthUnavailable):
        await verifier.verify(issuer.token())
    issuer.server.start()
    await asyncio.sleep(0.15)
    await verifier.verify(issuer.token())


async def test_no_caller_waits_longer_than_the_timeout(issuer: Issuer) -> None:
    """SEC-30: an issuer that hangs is an issuer that is away; with keys at hand nobody waits at all."""
    issuer.server.reply, reply = (lambda asked: Reply(body=reply(asked).body, wait=1.5)), issuer.server.reply
    verifier = issuer.verifier(issuer.cache(timeout=0.3, cool_down=0.0, refresh_after=0.0))
    started = time.perf_counter()
    with pytest.raises(AuthUnavailable):
        await verifier.verify(issuer.token())
    assert time.perf_counter() - started < 1.3
    issuer.server.reply = reply
    await asyncio.sleep(0.4)
    await verifier.verify(issuer.token())
    issuer.server.reply = lambda asked: Reply(body=reply(asked).body, wait=1.5)
    started = time.perf_counter()
    await verifier.verify(issuer.token())
    assert time.perf_counter() - started < 0.8


OTHERS = json_bytes({"keys": [{**ECKey.generate_key("P-256").as_dict(private=False), "kid": "other"}]})


@pytest.mark.parametrize(
    ("name", "answer"),
    {
        "an error": Reply(500, OTHERS),
        "not found": Reply(404, OTHERS),
        "another success": Reply(203, OTHERS),
        "a redirect": Reply(302, OTHERS, {"Location": "http://127.0.0.1:1/keys"}),
        "a web page": Reply(body=b"<html>"),
        "another document": Reply(body=b'{"issuer":"https://id.example.com"}'),
        "no key": Reply(body=b'{"keys":[]}'),
        "a list": Reply(body=b"[]"),
        "a quarter of a megabyte and more": Reply(body=OTHERS + b" " * 300_000),
    }.items(),
)
async def test_an_invalid_jwks_changes_nothing(issuer: Issuer, name: str, answer: Reply) -> None:
    """SEC-30: the keys at hand go on, and without any the answer is 503."""
    verifier = issuer.verifier(issuer.cache(refresh_after=0.0, cool_down=0.0))
    await verifier.verify(issuer.token())
    issuer.server.reply = lambda _: answer
    for _ in range(3):
        await asyncio.sleep(0.05)
        await verifier.verify(issuer.token())
    with pytest.raises(AuthUnavailable):
        await issuer.verifier().verify(issuer.token())


def short_rsa() -> dict[str, object]:
    """Return a real RSA key of 1024 bits, as a JWK."""
    numbers = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
    return {"kty": "RSA", "n": b64url(numbers.n.to_bytes(128, "big")), "e": "AQAB"}


POINT = ECKey.generate_key("P-256").as_dict(private=False)
UNUSABLE = {
    "short": short_rsa(),
    "private": ECKey.generate_key("P-256").as_dict(private=True),
    "symmetric": OctKey.generate_key(256).as_dict(private=True),
    "off the curve": POINT | {"y": POINT["x"]},
    "encryption": POINT | {"use": "enc"},
    "no verify": POINT | {"key_ops": ["sign"]},
    "another curve": ECKey.generate_key("P-384").as_dict(private=False),
    "a curve and another's algorithm": POINT | {"alg": "ES384"},
    "another algorithm": RSAKey.generate_key(2048).as_dict(private=False) | {"alg": "RSA-OAEP"},
    "PSS": RSAKey.generate_key(2048).as_dict(private=False) | {"alg": "PS256"},
    "without n": {"kty": "RSA", "e": "AQAB"},
    "n is a number": {"kty": "RSA", "e": "AQAB", "n": 7},
    "key_ops is a number": POINT | {"key_ops": 7},
    "kty is a list": POINT | {"kty": ["EC"]},
    "not even a type": {"x": 1},
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_key_that_cannot_be_trusted_to_verify_is_not_used(name: str) -> None:
    """SEC-29: RSA of 2048 bits or more, points on the curve, `use` and `key_ops` respected, nothing private."""
    with pytest.raises(UnusableKey):
        from_jwk(dict(UNUSABLE[name]))


def test_a_short_key_is_refused_by_us_whatever_a_library_says() -> None:
    """SEC-29: joserfc only warns."""
    with pytest.raises(UnusableKey, match="1024 bits"):
        from_jwk(dict(UNUSABLE["short"]))


@pytest.mark.parametrize(
    "members", [{}, {"use": "sig"}, {"alg": "ES256"}, {"key_ops": ["verify"]}, {"kid": "1", "x5c": ["whatever"]}]
)
def test_a_key_that_says_less_or_more_is_used(members: dict[str, object]) -> None:
    """RFC 7517 section 4: `alg`, `use` and `key_ops` are optional, and what is not known is ignored."""
    assert from_jwk(POINT | members).algorithm == "ES256"
    assert from_jwk(RSAKey.generate_key(2048).as_dict(private=False)).algorithm == "RS256"


async def test_an_unusable_key_does_not_affect_the_others(issuer: Issuer) -> None:
    issuer.keys = {name: {**jwk, "kid": name} for name, jwk in UNUSABLE.items()} | issuer.keys
    verifier = issuer.verifier(issuer.cache(cool_down=0.0))
    await verifier.verify(issuer.token())
    for name in UNUSABLE:
        with pytest.raises(TokenRejected, match="signed with an unknown key"):
            await verifier.verify(issuer.token(header={"kid": name}))


async def test_another_key_under_the_same_name_ends_remembered_tokens(issuer: Issuer) -> None:
    """SEC-31: a verdict belongs to the key itself, not to its name."""
    verifier = issuer.verifier(issuer.cache(refresh_after=0.05, cool_down=0.01))
    token, kid = issuer.token(), issuer.key.thumbprint()
    await verifier.verify(token)
    other = ECKey.generate_key("P-256", private=True)
    issuer.keys = {kid: {**other.as_dict(private=False), "kid": kid}}
    for _ in range(50):
        await asyncio.sleep(0.02)
        try:
            await verifier.verify(token)
        except TokenRejected as refusal:
            assert refusal.reason == "invalid signature"  # noqa: PT017
            break
    else:
        pytest.fail("the ended key still verifies")
    await verifier.verify(issuer.token(key=other, header={"kid": kid}))


async def test_the_first_of_two_keys_with_one_name_counts(issuer: Issuer) -> None:
    """SEC-20: one `kid`, one key: several keys are not tried."""
    other = ECKey.generate_key("P-256", private=True)
    kid = issuer.key.thumbprint()
    first, second = issuer.keys[kid], {**other.as_dict(private=False), "kid": kid}
    issuer.server.reply = lambda _: Reply(body=json_bytes({"keys": [first, second]}))
    verifier = issuer.verifier()
    await verifier.verify(issuer.token())
    with pytest.raises(TokenRejected):
        await verifier.verify(issuer.token(key=other, header={"kid": kid}))


async def test_a_fetch_that_was_lost_is_made_again(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-30: a process that forked has the flight and not its thread; it must not wait for it for ever."""
    monkeypatch.setattr(jwks, "_FETCH_ABANDONED_AFTER", 0.2)
    keys = issuer.cache(timeout=0.1)
    with monkeypatch.context() as forked:
        forked.setattr(keys, "_run_fetch", lambda _fetch: None)
        with pytest.raises(AuthUnavailable):
            await issuer.verifier(keys).verify(issuer.token())
    await asyncio.sleep(0.25)
    keys._timeout = 2.0
    await issuer.verifier(keys).verify(issuer.token())


async def test_a_cancelled_waiter_cancels_no_other(issuer: Issuer) -> None:
    issuer.server.reply, reply = (lambda asked: Reply(body=reply(asked).body, wait=0.3)), issuer.server.reply
    verifier = issuer.verifier()
    impatient, patient = (asyncio.create_task(verifier.verify(issuer.token())) for _ in range(2))
    await asyncio.sleep(0.1)
    impatient.cancel()
    assert (await patient).kind == "user"
    assert issuer.fetches == 1
