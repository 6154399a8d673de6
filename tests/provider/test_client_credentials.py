"""Clients and their tokens: registration, client_credentials, and the end of both (RFC 6749, SEC-48, SEC-51)."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote_plus

import httpx2
import pytest

from factories import Person, Service, running
from idp.dev.embedded import EmbeddedPostgres
from idp.signing.compact import parse

CLIENTS, TOKEN = "/api/auth/admin/clients", "/oauth2/token"


@pytest.fixture(scope="module")
async def service(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("client_credentials")) as service:
        yield service


@pytest.fixture(scope="module")
async def admin(service: Service) -> Person:
    return await service.register_admin()


async def create(service: Service, admin: Person, scope: str = "read write", **more: Any) -> dict[str, Any]:
    body = {"client_name": "Nightly export", "scope": scope, **more}
    answer = await service.client.post(CLIENTS, headers=admin.bearer, json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def basic(client_id: str, secret: str) -> dict[str, str]:
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


async def ask(service: Service, client: dict[str, Any], **form: str) -> httpx2.Response:
    headers = basic(client["client_id"], client["client_secret"])
    return await service.client.post(TOKEN, headers=headers, data={"grant_type": "client_credentials", **form})


async def token_of(service: Service, client: dict[str, Any], **form: str) -> str:
    answer = await ask(service, client, **form)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


# --- the token -------------------------------------------------------------------------------------------------------


async def test_a_client_gets_a_token_that_services_validate(service: Service, admin: Person) -> None:
    """RFC 6749 section 4.4, RFC 9068, SEC-51: no user, no refresh token, no ID token."""
    client = await create(service, admin)
    answer = await ask(service, client)
    body = answer.json()
    assert set(body) == {"access_token", "token_type", "expires_in", "scope"}
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 1800, "read write")
    assert (answer.headers["Cache-Control"], answer.headers["Pragma"]) == ("no-store", "no-cache")
    claims = parse(body["access_token"]).claims
    assert claims["sub"] == claims["client_id"] == client["client_id"]
    assert {"uid", "email", "roles", "sid"} & set(claims) == set()
    verdict = await service.validate(body["access_token"], required_scopes=["write"])
    assert (verdict["valid"], verdict["kind"], verdict["user"]) == (True, "service_token", None)
    assert (verdict["token_id"], verdict["name"]) == (client["client_id"], "Nightly export")


async def test_scopes_can_be_fewer_and_never_more(service: Service, admin: Person) -> None:
    client = await create(service, admin)
    assert (await ask(service, client, scope="write")).json()["scope"] == "write"
    answer = await ask(service, client, scope="write delete")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
    assert "'delete'" in answer.json()["error_description"]


async def test_a_client_is_no_user_and_manages_nothing(service: Service, admin: Person) -> None:
    """C-09 C-29."""
    token = await token_of(service, await create(service, admin, "admin idp"))
    bearer = {"Authorization": f"Bearer {token}"}
    for path in ("/auth/me", "/v1/me"):
        answer = await service.client.get(path, headers=bearer)
        assert (answer.status_code, answer.json()["code"]) == (403, "not_a_user")
    for path in (CLIENTS, "/api/auth/admin/users", "/auth/tokens"):
        assert (await service.client.get(path, headers=bearer)).status_code == 403, path
    assert (await service.client.get("/teams", headers=bearer)).status_code == 200
    introspected = await service.client.post("/oauth2/introspect", headers=bearer, data={"token": token})
    assert introspected.status_code == 403


@pytest.mark.parametrize("scope", ["idp:manage", "read idp:introspect"])
async def test_reserved_scopes_are_for_service_tokens(service: Service, admin: Person, scope: str) -> None:
    """C-09."""
    body = {"client_name": "Greedy", "scope": scope}
    answer = await service.client.post(CLIENTS, headers=admin.bearer, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")


async def test_a_deleted_client_loses_its_tokens_at_once(service: Service, admin: Person) -> None:
    """SEC-59."""
    client = await create(service, admin)
    token = await token_of(service, client)
    assert (await service.validate(token))["valid"]
    deleted = await service.client.delete(f"{CLIENTS}/{client['client_id']}", headers=admin.bearer)
    assert deleted.json() == {"success": True, "client_id": client["client_id"]}
    verdict = await service.validate(token)
    assert (verdict["valid"], verdict["error"]) == (False, "token_revoked")
    assert (await ask(service, client)).json()["error"] == "invalid_client"


async def test_tokens_lose_the_scopes_that_their_client_loses(service: Service, admin: Person) -> None:
    client = await create(service, admin)
    token = await token_of(service, client)
    assert (await service.validate(token, required_scopes=["write"]))["valid"]
    body = {"client_name": "Nightly export", "scope": "read"}
    await service.client.put(f"{CLIENTS}/{client['client_id']}", headers=admin.bearer, json=body)
    assert (await service.validate(token))["scopes"] == ["read"]


async def test_both_secrets_work_while_one_replaces_the_other(service: Service, admin: Person) -> None:
    client = await create(service, admin)
    url = f"{CLIENTS}/{client['client_id']}/secret"
    second = (await service.client.post(url, headers=admin.bearer, json={"overlap_seconds": 60})).json()
    assert second["client_secret"] != client["client_secret"]
    for each in (client, second):
        assert (await ask(service, each)).status_code == 200
    third = (await service.client.post(url, headers=admin.bearer, json={})).json()
    assert [(await ask(service, each)).status_code for each in (client, second, third)] == [401, 401, 200]


# --- authentication of the client ------------------------------------------------------------------------------------


async def test_secrets_are_shown_once_and_not_stored(service: Service, admin: Person) -> None:
    """SEC-17."""
    client = await create(service, admin)
    assert client["client_secret"].startswith("idp_cs_")
    found = (await service.client.get(f"{CLIENTS}/{client['client_id']}", headers=admin.bearer)).json()
    listed = (await service.client.get(CLIENTS, headers=admin.bearer)).json()
    assert "client_secret" not in found
    assert found in listed["clients"]
    rows = await service.sql("SELECT oauth_clients::text AS text FROM idp.oauth_clients")
    audit = await service.sql("SELECT details::text AS text FROM idp.audit_logs WHERE action LIKE 'client.%'")
    assert not [row for row in [*rows, *audit] if client["client_secret"] in row["text"]]
    assert audit


async def test_an_unknown_client_looks_like_a_wrong_secret(service: Service, admin: Person) -> None:
    """SEC-48, SEC-56."""
    client = await create(service, admin)
    answers = [
        await ask(service, client | {"client_secret": "wrong"}),
        await ask(service, client | {"client_id": "client_unknown"}),
        await ask(service, client | {"client_id": "\x00"}),
        await ask(service, client | {"client_secret": "ü" * 3000}),
    ]
    bodies = [{**answer.json(), "request_id": ""} for answer in answers]
    assert [answer.status_code for answer in answers] == [401] * 4
    assert all(body == bodies[0] for body in bodies)
    assert answers[0].headers["WWW-Authenticate"] == "Basic"


async def test_the_form_carries_the_secret_too_but_not_both(service: Service, admin: Person) -> None:
    client = await create(service, admin)
    form = {
        "grant_type": "client_credentials",
        "client_id": client["client_id"],
        "client_secret": client["client_secret"],
    }
    assert (await service.client.post(TOKEN, data=form)).status_code == 200
    headers = basic(client["client_id"], client["client_secret"])
    twice = await service.client.post(TOKEN, headers=headers, data=form)
    assert (twice.status_code, twice.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("headers", "form", "expected"),
    [
        ({}, {}, (400, "invalid_request")),
        ({}, {"grant_type": "password"}, (400, "unsupported_grant_type")),
        ({}, {"grant_type": "client_credentials"}, (401, "invalid_client")),
        ({"Authorization": "Basic !"}, {"grant_type": "client_credentials"}, (401, "invalid_client")),
        ({"Authorization": "Basic YQ=="}, {"grant_type": "client_credentials"}, (401, "invalid_client")),
        ({"Authorization": "Bearer x"}, {"grant_type": "client_credentials"}, (401, "invalid_client")),
    ],
)
async def test_bad_requests_get_the_errors_of_rfc_6749(
    service: Service, headers: dict[str, str], form: dict[str, str], expected: tuple[int, str]
) -> None:
    """SEC-39, SEC-55, SEC-56."""
    answer = await service.client.post(TOKEN, headers=headers, data=form or {"scope": "x"})
    assert (answer.status_code, answer.json()["error"]) == expected
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("sent", [b"Basic \xe9", b"Basic YTpi\xa0\xff", b"\xe9", b"Basic /w=="])
@pytest.mark.parametrize("content_type", [b"application/x-www-form-urlencoded", b"application/x-www-form-urlencoded;x"])
async def test_an_unreadable_header_is_no_client(service: Service, sent: bytes, content_type: bytes) -> None:
    """SEC-48, SEC-76: by both paths, with and without the framework."""
    headers = [(b"Authorization", sent), (b"Content-Type", content_type)]
    answer = await service.client.post(TOKEN, headers=headers, content=b"grant_type=client_credentials")
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_repeated_parameters_other_types_and_get_are_refused(service: Service) -> None:
    """SEC-55."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = "grant_type=client_credentials&grant_type=client_credentials"
    assert (await service.client.post(TOKEN, headers=form, content=body)).json()["error"] == "invalid_request"
    assert (await service.client.post(TOKEN, json={"grant_type": "client_credentials"})).status_code in {400, 415}
    assert (await service.client.get(TOKEN)).status_code == 405


async def test_guessing_is_limited(postgres: EmbeddedPostgres) -> None:
    environ = {"IDP_RATE_LIMITS__BAD_CREDENTIALS_PER_ADDRESS_PER_MINUTE": "5"}
    async with running(postgres.create_database("client_guesses"), environ=environ) as service:
        client = {"client_id": "client_x", "client_secret": "guess"}
        codes = [(await ask(service, client)).status_code for _ in range(8)]
        assert codes == [401] * 5 + [429] * 3


# --- administration --------------------------------------------------------------------------------------------------


async def test_only_management_administers_clients(service: Service, admin: Person) -> None:
    person = await service.register()
    client = await create(service, admin)
    one = f"{CLIENTS}/{client['client_id']}"
    body = {"client_name": "x"}
    for method, path in (("POST", CLIENTS), ("GET", CLIENTS), ("GET", one), ("PUT", one), ("DELETE", one)):
        answer = await service.client.request(method, path, headers=person.bearer, json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "admin_required"), f"{method} {path}"
    missing = await service.client.get(f"{CLIENTS}/nothing", headers=admin.bearer)
    assert (missing.status_code, missing.json()["code"]) == (404, "client_not_found")


async def test_a_hundred_requests_at_once(service: Service, admin: Person) -> None:
    client = await create(service, admin)
    tokens = await asyncio.gather(*(token_of(service, client) for _ in range(100)))
    assert len({parse(token).claims["jti"] for token in tokens}) == 100


async def test_a_secret_that_was_right_is_refused_once_it_is_replaced(service: Service, admin: Person) -> None:
    """SEC-59: the check of a secret is cached like a verdict, and ends with the secret."""
    client = await create(service, admin)
    for _ in range(3):
        assert (await ask(service, client)).status_code == 200
    await service.client.post(f"{CLIENTS}/{client['client_id']}/secret", headers=admin.bearer, json={})
    assert (await ask(service, client)).status_code == 401
    pair = f"{client['client_id']}\x00{client['client_secret']}"
    assert not (await service.validate(pair))["valid"], "the name of a cached client is not that of a token"
