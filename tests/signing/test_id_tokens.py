"""ID tokens and logout tokens: signed by the key ring, read back as hints, and never access tokens (SEC-25, SEC-61)."""

import asyncio
import hashlib
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt as pyjwt
import pytest
import time_machine

from factories import Person, Service, root_secret, running
from idp.dev.embedded import EmbeddedPostgres
from idp.signing.compact import parse
from idp.signing.id_token import IdTokens, at_hash
from idp.signing.keyring import KEEP_AFTER_USE, PUBLISH_BEFORE_USE
from signing.forgery import b64url

JWKS = "/.well-known/jwks.json"
both = pytest.mark.parametrize("algorithm", ["RS256", "ES256"])


@pytest.fixture(scope="module")
async def service(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("id_tokens")) as service:
        yield service


@pytest.fixture(scope="module")
async def person(service: Service) -> Person:
    return await service.register()


def claims_of(person: Person, **more: Any) -> dict[str, Any]:
    return {"sub": person.id, "aud": "client_x", "exp": int(time.time()) + 600, "sid": person.session_id, **more}


def ids(service: Service) -> IdTokens:
    return service.app.core.id_tokens


@both
async def test_a_stranger_verifies_an_id_token_with_the_jwks(service: Service, person: Person, algorithm: Any) -> None:
    """OpenID Connect Core 3.1.3.7, by another library."""
    token = await ids(service).sign(claims_of(person, nonce="n"), algorithm=algorithm)
    header = pyjwt.get_unverified_header(token)
    assert (header["alg"], header["typ"]) == (algorithm, "JWT")
    (key,) = (each for each in (await service.client.get(JWKS)).json()["keys"] if each["kid"] == header["kid"])
    issuer = service.app.core.tokens.issuer
    claims = pyjwt.decode(token, pyjwt.PyJWK(key).key, algorithms=[algorithm], audience="client_x", issuer=issuer)
    assert (claims["sub"], claims["nonce"], claims["idp_env"]) == (person.id, "n", "development")
    assert abs(claims["iat"] - time.time()) < 5


async def test_both_algorithms_are_published_before_anything_is_signed(postgres: EmbeddedPostgres) -> None:
    """SEC-29, SEC-31: RSA keys have 2048 bits; and concurrent first requests make one key of each."""
    url, environ = postgres.create_database("two_algorithms"), {"IDP_SECRET_KEY": root_secret()}
    async with running(url, environ=environ) as one, running(url, environ=environ, migrate=False) as other:
        answers = await asyncio.gather(*(each.client.get(JWKS) for each in (one, other) * 4))
        keys = answers[0].json()["keys"]
        assert all(answer.json()["keys"] == keys for answer in answers)
        assert sorted(key["alg"] for key in keys) == ["ES256", "RS256"]
        (rsa,) = (key for key in keys if key["alg"] == "RS256")
        assert len(rsa["n"]) == len(b64url(bytes(2048 // 8)))
        assert len(await one.sql("SELECT kid FROM idp.signing_keys")) == 2


async def test_keys_exist_soon_after_the_start_without_a_request(postgres: EmbeddedPostgres) -> None:
    async with running(postgres.create_database("prepared_keys")) as service:
        async with asyncio.timeout(10):
            while len(rows := await service.sql("SELECT algorithm FROM idp.signing_keys")) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert {row["algorithm"] for row in rows} == {"ES256", "RS256"}


@both
async def test_neither_kind_is_an_access_token(service: Service, person: Person, algorithm: Any) -> None:
    """SEC-25: with everything in it that an access token of this user has."""
    claims = claims_of(person, aud=service.app.core.tokens.issuer, uid=person.id, jti="1", scope="openid")
    for sign in (ids(service).sign, ids(service).sign_logout_token):
        token = await sign(claims, algorithm=algorithm)
        answer = await service.me({"Authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
        assert not (await service.validate(token))["valid"]


# --- hints -----------------------------------------------------------------------------------------------------------


@both
async def test_a_hint_is_read_even_if_it_has_expired(service: Service, person: Person, algorithm: Any) -> None:
    """SEC-72."""
    token = await ids(service).sign(claims_of(person), algorithm=algorithm)
    for hours in (0, 5):
        with time_machine.travel(datetime.now(UTC) + timedelta(hours=hours), tick=True):
            hint = await ids(service).read_hint(token)
            assert hint is not None
            assert (hint["sub"], hint["aud"]) == (person.id, "client_x")


async def test_a_hint_outlives_a_rotation_but_not_its_key(postgres: EmbeddedPostgres) -> None:
    """SEC-31."""
    async with running(postgres.create_database("hints_of_old_keys")) as service:
        person = await service.register()
        token = await ids(service).sign(claims_of(person), algorithm="RS256")
        await service.app.core.keyring.rotate("RS256")
        for seconds, is_read in ((-60, True), (60, False)):
            later = datetime.now(UTC) + PUBLISH_BEFORE_USE + KEEP_AFTER_USE + timedelta(seconds=seconds)
            with time_machine.travel(later, tick=True):
                assert (await ids(service).read_hint(token) is not None) == is_read


async def test_nothing_else_is_a_hint(service: Service, person: Person) -> None:
    """SEC-24 to SEC-27, SEC-72."""
    good = claims_of(person)
    tokens = ids(service)
    stranger = IdTokens(service.app.core.keyring, issuer="https://elsewhere.example", profile="development")
    token = await tokens.sign(good, algorithm="ES256")
    header, payload, signature = token.split(".")
    unsigned = b64url(b'{"alg":"none","typ":"JWT"}')
    for each in (
        "",
        "x",
        person.token,
        f"{header}.{payload}.",
        f"{header}.{payload}.{b64url(bytes(64))}",
        f"{header}=.{payload}.{signature}",
        f"{unsigned}.{payload}.",
        await stranger.sign(good, algorithm="ES256"),
        await tokens.sign_logout_token(good, algorithm="ES256"),
        await tokens.sign(good | {"events": {}}, algorithm="ES256"),
        await tokens.sign(good | {"sub": 1}, algorithm="ES256"),
        await tokens.sign(good | {"aud": None}, algorithm="ES256"),
        await tokens.sign(good | {"exp": "tomorrow"}, algorithm="ES256"),
    ):
        assert await tokens.read_hint(each) is None
    assert await tokens.read_hint(token) is not None


async def test_production_reads_no_hint_of_development(service: Service, person: Person) -> None:
    """Rule 7."""
    token = await ids(service).sign(claims_of(person), algorithm="RS256")
    production = IdTokens(service.app.core.keyring, issuer=service.app.core.tokens.issuer, profile="production")
    assert await production.read_hint(token) is None
    own = await production.sign(claims_of(person), algorithm="RS256")
    assert "idp_env" not in parse(own).claims
    assert await production.read_hint(own) is not None


def test_at_hash_is_half_of_the_digest() -> None:
    """SEC-61; the example of OpenID Connect Core appendix A.3."""
    assert at_hash("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y") == "77QmUPtjPfzWtF2AnpK9RQ"
    half = hashlib.sha256(b"token").digest()[:16]
    assert at_hash("token") == urlsafe_b64encode(half).rstrip(b"=").decode()
