"""The cache of verified tokens: fast, bounded, and never longer than a token is valid."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from client.client_support import Issuer
from idp_client import TokenExpired, TokenRejected, verifier
from idp_client.compact import Parser

pytestmark = pytest.mark.alone

ROOT = Path(__file__).resolve().parents[2]


async def test_a_remembered_token_ends_when_it_expires(issuer: Issuer) -> None:
    """SEC-23: expiry is checked at every use."""
    offline = issuer.verifier(leeway=0)
    token = issuer.token(exp=time.time() + 1.5, iat=int(time.time()) - 1)
    first = await offline.verify(token)
    assert await offline.verify(token) is first, "remembered"
    await asyncio.sleep(1.6)
    with pytest.raises(TokenExpired):
        await offline.verify(token)


async def test_only_the_very_same_token_is_remembered(issuer: Issuer) -> None:
    offline = issuer.verifier()
    token = issuer.token()
    await offline.verify(token)
    for other in (token[:-1], token + "A", token.replace(".", "..", 1), token.swapcase()):
        with pytest.raises(TokenRejected):
            await offline.verify(other)


async def test_memory_is_bounded_and_holds_no_token(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-28: a flood of good tokens pushes the oldest out, and what is kept is their digests."""
    monkeypatch.setattr(verifier, "REMEMBERED_TOKENS", 10)
    offline = issuer.verifier()
    tokens = [issuer.token() for _ in range(25)]
    callers = [await offline.verify(token) for token in tokens]
    assert len(offline._verified) == 10
    assert not {token.encode() for token in tokens} & offline._verified.keys()
    assert await offline.verify(tokens[-1]) is callers[-1]
    assert await offline.verify(tokens[0]) is not callers[0]


async def test_refused_tokens_and_their_headers_are_not_remembered(issuer: Issuer) -> None:
    """SEC-28: a flood of rubbish pushes out nothing."""
    offline = issuer.verifier()
    await offline.verify(issuer.token())
    for number in range(100):
        with pytest.raises(TokenRejected):
            await offline.verify(issuer.token(header={"number": number}, aud="https://other.example.com"))
    assert len(offline._verified) == 1
    assert len(offline._parser._headers) == 1


async def test_what_a_caller_does_with_the_claims_stays_with_them(issuer: Issuer) -> None:
    """Two requests with one token share the caller; what one does to the claims must not reach the other."""
    offline = issuer.verifier()
    token = issuer.token()
    (await offline.verify(token)).claims["scope"] = "admin"
    assert (await offline.verify(token)).claims["scope"] == "openid read"


async def test_verification_is_about_as_fast_as_the_signature_alone(issuer: Issuer) -> None:
    """The target is 1.2 times the raw verification, and 5 µs for a cached token; `bench/` measures it.

    Other tests make a machine busy, so this catches only what is wrong by much.
    """
    offline, parser = issuer.verifier(), Parser()
    tokens = [issuer.token() for _ in range(300)]
    await offline.verify(issuer.token())
    raw, unseen, seen = [], [], []
    for token in tokens:
        parsed = parser.parse(token.encode())
        r, s = (int.from_bytes(half, "big") for half in (parsed.signature[:32], parsed.signature[32:]))
        der = encode_dss_signature(r, s)
        marks = [time.perf_counter()]
        issuer.key.public_key.verify(der, parsed.signing_input, ec.ECDSA(hashes.SHA256()))  # type: ignore[call-arg]
        marks.append(time.perf_counter())
        await offline.verify(token)
        marks.append(time.perf_counter())
        await offline.verify(token)
        marks.append(time.perf_counter())
        for column, begin, end in zip((raw, unseen, seen), marks, marks[1:], strict=False):
            column.append(end - begin)
    assert median(unseen) < 2 * median(raw)
    assert median(seen) < 0.25 * median(raw)


@pytest.mark.slow
def test_the_benchmark_prints_both_ratios() -> None:
    said = subprocess.check_output([sys.executable, ROOT / "bench/client_verify.py"], text=True, cwd=ROOT)
    assert [line.split("  ")[0] for line in said.splitlines()] == [
        "raw ECDSA verification",
        "an uncached token",
        "a cached token",
    ]
