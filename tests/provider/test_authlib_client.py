"""Authlib's OAuth 2.0 client against a running service: code with PKCE, refresh, introspection, revocation,
client_credentials with a secret and with a signed assertion."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import RSAKey

from factories import Person, Service, running
from idp.dev.embedded import EmbeddedPostgres
from provider_apps import CALLBACK, Browser, register_app

SCOPE = "openid profile email offline_access"


@pytest.fixture(scope="module")
async def service(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("authlib_client")) as service:
        yield service


@pytest.fixture(scope="module")
async def admin(service: Service) -> Person:
    return await service.register_admin()


@pytest.fixture(scope="module")
async def discovered(service: Service) -> dict[str, Any]:
    return dict((await service.client.get("/.well-known/openid-configuration")).json())


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
async def test_authlib_signs_a_user_in(
    service: Service, admin: Person, discovered: dict[str, Any], method: str
) -> None:
    app = await register_app(service, admin, token_endpoint_auth_method=method, scope=SCOPE)
    person = await service.register(name="Grace Hopper")
    session = OAuth2Session(
        app.client_id,
        app.secret,
        token_endpoint_auth_method=method,
        scope=SCOPE,
        redirect_uri=CALLBACK,
        code_challenge_method="S256",
    )
    verifier = "v" * 50
    url, state = session.create_authorization_url(
        discovered["authorization_endpoint"], code_verifier=verifier, nonce="n-1"
    )
    async with Browser(service) as browser:
        await browser.sign_in(person)
        returned = (await browser.follow(await browser.client.get(url))).headers["Location"]

    def use() -> None:
        endpoint = discovered["token_endpoint"]
        tokens = session.fetch_token(endpoint, authorization_response=returned, state=state, code_verifier=verifier)
        assert tokens["id_token"]
        assert session.get(discovered["userinfo_endpoint"]).json()["sub"] == person.id
        refreshed = session.refresh_token(endpoint)
        assert refreshed["refresh_token"] != tokens["refresh_token"]
        if method != "none":
            seen = session.introspect_token(discovered["introspection_endpoint"], token=refreshed["access_token"])
            assert seen.json()["active"] is True
        revoked = session.revoke_token(discovered["revocation_endpoint"], token=refreshed["refresh_token"])
        assert revoked.status_code == 200
        with pytest.raises(OAuthError, match="invalid_grant"):
            session.refresh_token(endpoint, refresh_token=refreshed["refresh_token"])

    await asyncio.to_thread(use)


async def test_authlib_gets_tokens_for_a_service(service: Service, admin: Person, discovered: dict[str, Any]) -> None:
    """SEC-51 SEC-54."""
    key = RSAKey.generate_key(2048, {"kid": "key-1", "use": "sig", "alg": "RS256"})
    usual = {"grant_types": ["client_credentials"], "redirect_uris": [CALLBACK], "scope": "reports"}
    by_secret = await register_app(service, admin, **usual, token_endpoint_auth_method="client_secret_basic")
    by_key = await register_app(
        service,
        admin,
        **usual,
        token_endpoint_auth_method="private_key_jwt",
        jwks={"keys": [key.as_dict(private=False)]},
    )
    endpoint = discovered["token_endpoint"]

    def use() -> list[dict[str, Any]]:
        first = OAuth2Session(by_secret.client_id, by_secret.secret, scope="reports")
        second = OAuth2Session(
            by_key.client_id, key.as_dict(private=True), token_endpoint_auth_method="private_key_jwt"
        )
        claims = {"exp": int(time.time()) + 60}  # an hour by default, which is too long here (SEC-54)
        second.register_client_auth_method(
            PrivateKeyJWT(endpoint, claims=claims, headers={"kid": "key-1"}, alg="RS256")
        )
        return [
            each.fetch_token(endpoint, grant_type="client_credentials", scope="reports") for each in (first, second)
        ]

    for tokens in await asyncio.to_thread(use):
        assert tokens["token_type"].lower() == "bearer"
        assert "refresh_token" not in tokens
        assert "id_token" not in tokens
        assert (await service.validate(tokens["access_token"]))["valid"] is True
