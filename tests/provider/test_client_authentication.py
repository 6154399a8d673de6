"""Authentication of clients: one method per request, public clients, and what a client may ask for (SEC-48)."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from factories import Person, Service, running
from idp.dev.embedded import EmbeddedPostgres
from idp.errors import InvalidClient
from idp.provider.shapes import TokenRequest
from provider.test_client_credentials import TOKEN, ask, basic, create

PUBLIC, GRANT = "client_public", {"grant_type": "client_credentials"}


@pytest.fixture(scope="module")
async def service(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("client_authentication")) as service:
        await insert_public(service)
        yield service


@pytest.fixture(scope="module")
async def admin(service: Service) -> Person:
    return await service.register_admin()


async def insert_public(service: Service) -> None:
    await service.sql(
        "INSERT INTO idp.oauth_clients (client_id, name, application_type, auth_method, grant_types, scopes,"
        " redirect_uris, post_logout_redirect_uris, resources, serves, id_token_alg, require_pkce, skip_consent,"
        " declared, created_by, created_at, updated_at) VALUES ($1, 'Spa', 'web', 'none', '{authorization_code}',"
        " '{openid}', '{https://app.example/cb}', '{}', '{https://api.example}', '{}', 'ES256', true, false, false,"
        " 'test', now(), now())",
        PUBLIC,
    )


async def post(service: Service, headers: dict[str, str] | None = None, **form: str) -> httpx2.Response:
    return await service.client.post(TOKEN, headers=headers or {}, data=GRANT | form)


async def test_a_public_client_names_itself(service: Service) -> None:
    """RFC 6749 section 2.3.1: an empty secret may be left out; the registration comes with the client."""
    authentication = service.app.core.provider.client_authentication
    for form, header in (
        (TokenRequest(client_id=PUBLIC), None),
        (TokenRequest(client_id=PUBLIC, client_secret=""), None),
        (TokenRequest(), basic(PUBLIC, "")["Authorization"]),
    ):
        for _ in range(2):  # from the database, and from the cache
            client = await authentication.authenticate(header, form, address=None)
            assert (client.client_id, client.is_public, client.id_token_alg) == (PUBLIC, True, "ES256")
            assert (client.grant_types, client.resources) == (("authorization_code",), ("https://api.example",))


async def test_a_grant_that_is_not_registered_is_refused(service: Service) -> None:
    """RFC 6749 section 5.2, SEC-51: a public client gets no token of its own."""
    answer = await post(service, client_id=PUBLIC)
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")


async def test_a_client_has_one_method(service: Service, admin: Person) -> None:
    """SEC-48: each answer is that of a wrong secret, so it does not tell which clients are public."""
    client = await create(service, admin)
    wrong = await ask(service, client | {"client_secret": "wrong"})
    for answer in (
        await post(service, client_id=client["client_id"]),
        await post(service, client_id=PUBLIC, client_secret="guess"),
        await post(service, basic(PUBLIC, "guess")),
        await post(service, client_id="unknown"),
    ):
        assert answer.status_code == 401
        assert answer.json() | {"request_id": ""} == wrong.json() | {"request_id": ""}
        assert answer.headers["WWW-Authenticate"] == "Basic"


async def test_several_methods_in_one_request_are_refused(service: Service, admin: Person) -> None:
    """SEC-48, RFC 6749 section 2.3."""
    client = await create(service, admin)
    identifier, secret = client["client_id"], client["client_secret"]
    header = basic(identifier, secret)
    assert (await post(service, header, client_id=identifier)).status_code == 200
    assert (await post(service, header, client_secret="")).status_code == 200  # as if it were absent (section 3.2)
    for form in ({"client_secret": secret}, {"client_id": "another"}):
        answer = await post(service, header, **form)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), form


async def test_a_verdict_of_another_process_has_the_registration(postgres: EmbeddedPostgres, valkey: Any) -> None:
    """Verdicts shared through Valkey carry it too."""
    url, environ = postgres.create_database("shared_client"), {"IDP_SECRET_KEY": "s" * 43, "IDP_PUBLIC_URL": "http://x"}
    async with (
        running(url, valkey_url=valkey.url, environ=environ) as one,
        running(url, valkey_url=valkey.url, environ=environ, migrate=False) as other,
    ):
        client = await create(one, await one.register_admin())
        form = TokenRequest(client_id=client["client_id"], client_secret=client["client_secret"])
        found = [
            await each.app.core.provider.client_authentication.authenticate(None, form, address=None)
            for each in (one, other, other)
        ]
        assert found[0] == found[1] == found[2]
        assert found[0].grant_types == ("client_credentials",)
        with pytest.raises(InvalidClient):
            await other.app.core.provider.client_authentication.authenticate(
                None, TokenRequest(client_id=client["client_id"]), address=None
            )
