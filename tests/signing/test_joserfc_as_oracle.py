"""Whole tokens before our own reader and before joserfc: what we refuse less than it would be a defect.

joserfc is the more lenient of the two: it takes base64url in several spellings, and members that stand twice. So a good
token is good for both, a forged one is bad for us, and for joserfc too wherever its signature or algorithm is at fault.
"""

import random
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from factories import Service, running
from idp.dev.embedded import EmbeddedPostgres
from idp.errors import IdpError
from idp.signing.compact import Malformed, parse
from idp.signing.jwt import TokenService, TokenUser
from idp.signing.signing_key import SigningKey
from signing.forgery import Forge, b64url, json_bytes
from signing.test_attacks import ACCEPTED, SEC_20
from table_tests import table

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256
FLIPS = 400
USER = TokenUser(id="01990c7e-0000-7000-8000-000000000001", email="pat@example.com", email_verified=True)


async def ours(tokens: TokenService, token: str) -> bool:
    """Whether we take a token; anything but a refusal is a defect."""
    try:
        unverified = parse(token)
        await tokens.verify(unverified)
    except (Malformed, IdpError):
        return False
    return tokens.owns(unverified)


def theirs(key: SigningKey, issuer: str, token: str) -> bool:
    """Whether joserfc takes it, with the one algorithm of the key, and our issuer and audience."""
    registry = jwt.JWTClaimsRegistry(
        leeway=5,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": issuer},
        exp={"essential": True},
    )
    try:
        registry.validate(jwt.decode(token, key.key, algorithms=[key.algorithm]).claims)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False
    return True


@pytest.fixture(scope="session")
async def forge(production: Service) -> Forge:
    return await Forge.of(production, await production.register(name="Otto Oracle"))


@pytest.fixture
def both(forge: Forge) -> Callable[[str], Any]:
    """Return what both say: us, then joserfc."""
    tokens = forge.service.app.core.tokens

    async def ask(token: str) -> tuple[bool, bool]:
        return await ours(tokens, token), theirs(forge.key, forge.issuer, token)

    return ask


# --- what we sign ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
async def test_joserfc_takes_every_token_that_we_sign(postgres: EmbeddedPostgres, algorithm: str) -> None:
    """As many as it needs for numbers that begin with zeros, and of people whose names need every spelling."""
    environ = {"AUTH_JWT_ALGORITHM": algorithm}
    async with running(
        postgres.create_database("oracle-" + algorithm.lower()), profile="production", environ=environ
    ) as other:
        tokens, key = other.app.core.tokens, await other.app.core.keyring.signing_key()
        assert key.algorithm == algorithm
        for number in range(600 if algorithm == "ES256" else 20):
            email = f'"a\\b{chr(0x20 + number * 7)}\U0001f600"@example.com'
            user = TokenUser(id=f"user-{number}", email=email, email_verified=False)
            token = (await tokens.issue_asymmetric(user)).token
            assert theirs(key, tokens.issuer, token)
            assert await ours(tokens, token)
            read = jwt.decode(token, key.key, algorithms=[algorithm])
            assert read.header == {"alg": algorithm, "kid": key.kid, "typ": "at+jwt"}
            assert (read.claims["uid"], read.claims["email"]) == (user.id, email)


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
async def test_we_take_what_joserfc_signs(postgres: EmbeddedPostgres, algorithm: str) -> None:
    environ = {"AUTH_JWT_ALGORITHM": algorithm}
    async with running(
        postgres.create_database("oracle-too-" + algorithm.lower()), profile="production", environ=environ
    ) as other:
        tokens, key = other.app.core.tokens, await other.app.core.keyring.signing_key()
        claims = parse((await tokens.issue_asymmetric(USER)).token).claims
        header = {"alg": algorithm, "kid": key.kid, "typ": "at+jwt"}
        for number in range(50):
            token = jwt.encode(header, claims | {"jti": f"jti-{number}"}, key.key, algorithms=[algorithm])
            assert await ours(tokens, token)
        stranger: Any = ECKey.generate_key("P-256") if algorithm == "ES256" else RSAKey.generate_key(2048)
        assert not await ours(tokens, jwt.encode(header, claims, stranger, algorithms=[algorithm]))


# --- what others change ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("segment", [0, 1, 2], ids=["header", "payload", "signature"])
async def test_a_flipped_bit_anywhere_is_refused_by_both(
    forge: Forge, both: Callable[[str], Any], segment: int
) -> None:
    """SEC-20: of the bytes, encoded anew, so that nothing but the signature can notice."""
    chance = random.Random(segment)
    unverified = parse(forge.token())
    first, second = unverified.signed.decode().split(".")
    raw = (json_bytes(forge.header()), json_bytes(forge.claims()), unverified.signature)[segment]
    for _ in range(FLIPS):
        at, flipped = chance.randrange(len(raw) * 8), bytearray(raw)
        flipped[at // 8] ^= 1 << at % 8
        segments = [first, second, b64url(unverified.signature)]
        segments[segment] = b64url(bytes(flipped))
        assert await both(".".join(segments)) == (False, False), at


async def test_a_flipped_bit_of_the_text_is_refused(forge: Forge, both: Callable[[str], Any]) -> None:
    """SEC-27: joserfc takes the last sign of a part in several spellings; we take none but the one."""
    chance, token = random.Random(27), forge.token()
    for _ in range(3 * FLIPS):
        at = chance.randrange(len(token))
        changed = token[:at] + chr(ord(token[at]) ^ 1 << chance.randrange(8)) + token[at + 1 :]
        assert not (await both(changed))[0], changed


async def test_every_other_spelling_of_the_signature_is_refused(forge: Forge, both: Callable[[str], Any]) -> None:
    """SEC-27: 64 bytes leave four bits of the last sign unused."""
    token = forge.token()
    signs = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    taken = [sign for sign in signs if (await both(token[:-1] + sign))[0]]
    assert taken == [token[-1]]
    for more in ("=", "==", "A", "AA", "AAAA", " ", "\n", "\0", "."):
        assert not (await both(token + more))[0]


async def test_numbers_outside_the_curves_order_are_refused_by_both(forge: Forge, both: Callable[[str], Any]) -> None:
    """SEC-20: zero (CVE-2022-21449), the order, the highest bits; as r, as s and as both."""
    numbers = [0, 1, ORDER - 1, ORDER, ORDER + 1, 2**255, 2**256 - 1]
    with table() as row:
        for place, number in product(("r", "s", "both"), numbers):
            with row(f"{number:x} as {place}"):

                def sign(message: bytes, place: str = place, number: int = number) -> bytes:
                    good, edge = forge.sign(message), number.to_bytes(32, "big")
                    return (good[:32] if place == "s" else edge) + (good[32:] if place == "r" else edge)

                assert await both(forge.token(sign=sign)) == (False, False)


@pytest.mark.parametrize("cut", [0, 1, 31, 32, 33, 63, 65, 66, 70, 71, 72, 96, 128])
async def test_a_signature_of_another_length_is_refused_by_both(
    forge: Forge, both: Callable[[str], Any], cut: int
) -> None:
    """RFC 7518 section 3.4: 64 bytes; with zeros before or after, cut, or as long as DER would be."""
    for pad in (lambda raw: raw.ljust(cut, b"\0")[:cut], lambda raw: raw.rjust(cut, b"\0")[-cut:] if cut else b""):
        token = forge.token(sign=lambda message, pad=pad: pad(forge.sign(message)))
        assert await both(token) == (False, False)


async def test_both_refuse_unsupported_algorithms_and_keys(forge: Forge, both: Callable[[str], Any]) -> None:
    """SEC-20: `none`, HS256 with our public key, another key's signature."""
    with table() as row:
        for attack in SEC_20:
            with row(attack.name):
                assert await both(attack.make(forge)) == (False, False)


async def test_both_take_a_token_with_nothing_wrong(forge: Forge, both: Callable[[str], Any]) -> None:
    """What is refused above is not refused for the wrong reason."""
    with table() as row:
        for name, make in ACCEPTED.items():
            with row(name):
                assert await both(make(forge)) == (True, True)
