"""Access tokens as other services read them: exact claims, and three foreign libraries that verify with the JWKS."""

import json
import time
import warnings
from base64 import urlsafe_b64decode
from typing import Any
from uuid import UUID

import joserfc.errors
import jwt as pyjwt
import pytest
from joserfc import jwk
from joserfc import jwt as joserfc_jwt

from factories import Service, running
from idp.dev.embedded import EmbeddedPostgres

CLAIMS = {"iss", "aud", "sub", "uid", "exp", "iat", "jti", "client_id", "scope", "email", "email_verified"}
CLAIMS |= {"roles", "sid", "auth_time", "amr", "acr"}


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims, unverified."""
    first, second, _ = token.split(".")
    return tuple(json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in (first, second))  # type: ignore[return-value]


async def test_a_production_token_says_exactly_this(production: Service) -> None:
    """RFC 9068 section 2.2, C-05: no claim is missing, none is there that nobody promised."""
    person = await production.register()
    header, claims = parts(person.token)
    assert header == {"alg": "ES256", "typ": "at+jwt", "kid": header["kid"]}
    assert set(claims) == CLAIMS
    assert claims["iss"] == claims["aud"] == production.base_url
    assert claims["sub"] == claims["uid"] == person.id
    assert claims["email"] == person.email
    assert claims["email_verified"] is False
    assert claims["client_id"] == "idp"
    assert claims["scope"] == "openid profile email"
    assert abs(claims["iat"] - time.time()) < 30
    assert claims["exp"] - claims["iat"] == 30 * 60, "SEC-33: half an hour, as the old services"
    assert UUID(claims["jti"]).version == 7


async def test_a_development_token_says_so_and_nothing_else_differs(service: Service) -> None:
    """Rule 7: production and the client library refuse what carries `idp_env`."""
    person = await service.register()
    _, claims = parts(person.token)
    assert set(claims) == CLAIMS | {"idp_env"}
    assert claims["idp_env"] == "development"


async def test_every_token_has_an_id_of_its_own(service: Service) -> None:
    """SEC-33: two logins in one second are two tokens."""
    person = await service.register()
    body = {"email": person.email, "password": person.password}
    answers = [await service.client.post("/auth/login", json=body) for _ in range(3)]
    ids = {parts(answer.json()["access_token"])[1]["jti"] for answer in answers}
    assert len(ids) == 3
    assert all(answer.json()["expires_in"] == 1800 for answer in answers)


async def test_audience_and_life_follow_the_settings(postgres: EmbeddedPostgres) -> None:
    """SEC-24 SEC-33: a token is good for the audience that is set, and no longer for the issuer."""
    environ = {"IDP_TOKENS__AUDIENCE": "https://api.example.com", "AUTH_JWT_ACCESS_TOKEN_EXPIRE_MINUTES": "5"}
    async with running(postgres.create_database("audience"), environ=environ) as other:
        person = await other.register()
        _, claims = parts(person.token)
        assert claims["aud"] == "https://api.example.com"
        assert claims["exp"] - claims["iat"] == 300
        assert (await other.me(person.bearer)).status_code == 200


# --- the JWKS --------------------------------------------------------------------------------------------------------


async def test_the_jwks_is_public_only(production: Service) -> None:
    """SEC-32: not one private member, for any client, and it may be cached by any page."""
    answer = await production.client.get("/.well-known/jwks.json")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/jwk-set+json"
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    (key,) = (each for each in answer.json()["keys"] if each["alg"] == "ES256")
    assert set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert (key["kty"], key["crv"], key["use"], key["alg"]) == ("EC", "P-256", "sig", "ES256")
    assert key["kid"] == jwk.ECKey.import_key({k: key[k] for k in ("kty", "crv", "x", "y")}).thumbprint()


async def test_an_rsa_key_is_public_only_and_long_enough(postgres: EmbeddedPostgres) -> None:
    """SEC-29 SEC-32: 2048 bits, and of d, p, q, dp, dq and qi nothing."""
    environ = {"AUTH_JWT_ALGORITHM": "RS256"}
    async with running(postgres.create_database("rsa"), profile="production", environ=environ) as other:
        person = await other.register()
        keys = (await other.client.get("/.well-known/jwks.json")).json()["keys"]
        (key,) = (each for each in keys if each["alg"] == "RS256")
        assert set(key) == {"kty", "n", "e", "kid", "use", "alg"}
        assert len(urlsafe_b64decode(key["n"] + "==")) * 8 == 2048
        assert parts(person.token)[0]["alg"] == "RS256"
        assert (await other.me(person.bearer)).status_code == 200
        verified = pyjwt.decode(
            person.token, pyjwt.PyJWK(key).key, algorithms=["RS256"], audience=other.base_url, issuer=other.base_url
        )
        assert verified["uid"] == person.id


# --- libraries of other services -------------------------------------------------------------------------------------


async def keys_of(service: Service) -> dict[str, Any]:
    return (await service.client.get("/.well-known/jwks.json")).json()


async def test_pyjwt_verifies_with_the_jwks(production: Service) -> None:
    """PyJWKSet as PyJWKClient uses it: by kid, with audience and issuer; what is wrong is refused."""
    person = await production.register()
    key_set = pyjwt.PyJWKSet.from_dict(await keys_of(production))
    key = key_set[pyjwt.get_unverified_header(person.token)["kid"]]
    required = {"require": ["exp", "iat", "iss", "aud", "sub", "jti"]}
    check = {"algorithms": ["ES256"], "audience": production.base_url, "issuer": production.base_url}
    assert pyjwt.decode(person.token, key, options=required, **check)["sub"] == person.id
    with pytest.raises(pyjwt.InvalidAudienceError):
        pyjwt.decode(person.token, key, **(check | {"audience": "https://other.example.com"}))
    with pytest.raises(pyjwt.InvalidSignatureError):
        pyjwt.decode(person.token[:-8] + "AAAAAAAA", key, **check)


async def test_pyjwks_own_client_finds_the_key_over_http(production: Service) -> None:
    """PyJWKClient is what most Python services use: given the address, it needs nothing else."""
    import asyncio

    person = await production.register()
    client = pyjwt.PyJWKClient(f"{production.base_url}/.well-known/jwks.json")
    key = await asyncio.to_thread(client.get_signing_key_from_jwt, person.token)
    verified = pyjwt.decode(person.token, key, algorithms=["ES256"], audience=production.base_url)
    assert verified["uid"] == person.id


async def test_joserfc_verifies_with_the_jwks(production: Service) -> None:
    person = await production.register()
    key_set = jwk.KeySet.import_key_set(await keys_of(production))
    token = joserfc_jwt.decode(person.token, key_set, algorithms=["ES256"])
    registry = joserfc_jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": production.base_url}, aud={"essential": True, "value": production.base_url}
    )
    registry.validate(token.claims)
    assert token.header["typ"] == "at+jwt"
    assert token.claims["sub"] == person.id
    with pytest.raises(joserfc.errors.JoseError):
        joserfc_jwt.decode(person.token[:-8] + "AAAAAAAA", key_set, algorithms=["ES256"])


async def test_authlib_verifies_with_the_jwks(production: Service) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # authlib.jose tells its users to move to joserfc; many have not
        from authlib.jose import JsonWebKey, JsonWebToken
        from authlib.jose.errors import JoseError

        person = await production.register()
        key_set = JsonWebKey.import_key_set(await keys_of(production))
        library = JsonWebToken(["ES256"])
        options = {"iss": {"essential": True, "value": production.base_url}}
        claims = library.decode(person.token, key_set, claims_options=options)
        claims.validate()
        assert claims["uid"] == person.id
        with pytest.raises(JoseError):
            library.decode(person.token[:-8] + "AAAAAAAA", key_set)
