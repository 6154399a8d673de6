"""Revocation by clients (RFC 7009; SEC-58, SEC-59)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
import time_machine

from factories import Person, Service, root_secret, running
from idp.dev.embedded import EmbeddedPostgres
from idp.provider.cleanup import ProviderCleanup
from idp.signing.compact import parse
from provider.test_client_credentials import CLIENTS, basic, token_of
from provider.test_client_metadata import register
from provider_apps import CALLBACK, App, Browser

REVOKE = "/oauth2/revoke"
GRANTS = ["authorization_code", "refresh_token"]


@pytest.fixture(scope="module")
async def service(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("revocation")) as service:
        yield service


@pytest.fixture(scope="module")
async def admin(service: Service) -> Person:
    return await service.register_admin()


async def app_of(service: Service, admin: Person, **metadata: Any) -> App:
    """Register an app that users need not consent to."""
    made = await register(
        service,
        admin,
        **{"client_name": "App", "redirect_uris": [CALLBACK], "grant_types": GRANTS, "skip_consent": True, **metadata},
    )
    return App(service, made["client_id"], made.get("client_secret"))


async def signed_in(service: Service, app: App) -> dict[str, Any]:
    """Sign a new user in to an app, and return its tokens."""
    async with Browser(service) as browser:
        await browser.sign_in(await service.register())
        return await app.tokens(browser, scope="openid offline_access")


async def revoke(service: Service, client: dict[str, Any], token: str, **form: str) -> httpx2.Response:
    headers = basic(client["client_id"], client["client_secret"])
    return await service.client.post(REVOKE, headers=headers, data={"token": token, **form})


@pytest.mark.parametrize("which", ["refresh_token", "access_token"])
@pytest.mark.parametrize("method", ["client_secret_basic", "none"])
async def test_either_token_ends_the_whole_grant(service: Service, admin: Person, which: str, method: str) -> None:
    """SEC-58, RFC 7009 section 2.1: the access token too, at once; also by a public client. The browser stays."""
    app = await app_of(service, admin, token_endpoint_auth_method=method)
    tokens = await signed_in(service, app)
    assert (await service.validate(tokens["access_token"]))["valid"]
    answer = await app.post(REVOKE, token=tokens[which], token_type_hint="anything")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store"), answer.text
    assert (await service.validate(tokens["access_token"]))["error"] == "token_revoked"
    assert (await app.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    again = await app.post(REVOKE, token=tokens[which])
    assert again.status_code == 200
    (row,) = await service.sql(
        "SELECT s.ended_reason, p.ended_at AS parent_ended FROM idp.user_sessions s"
        " JOIN idp.user_sessions p ON p.id = s.parent_id WHERE s.id = $1",
        parse(tokens["access_token"]).claims["sid"],
    )
    assert (row["ended_reason"], row["parent_ended"]) == ("revoked_by_client", None)
    audit = await service.sql("SELECT action FROM idp.audit_logs WHERE actor = $1", f"service:{app.client_id}")
    assert "session.ended" in {row["action"] for row in audit}


async def test_an_earlier_refresh_token_ends_the_grant_too(service: Service, admin: Person) -> None:
    app = await app_of(service, admin)
    tokens = await signed_in(service, app)
    newer = (await app.refresh(tokens["refresh_token"])).json()
    assert (await app.post(REVOKE, token=tokens["refresh_token"])).status_code == 200
    assert not (await service.validate(newer["access_token"]))["valid"]


async def test_another_clients_token_stays(service: Service, admin: Person) -> None:
    """SEC-58: and the answer is the same as for one that does not exist."""
    app, other = await app_of(service, admin), await app_of(service, admin)
    machine = await register(service, admin, client_name="Job")
    tokens = await signed_in(service, app)
    own = await token_of(service, machine)
    person = await service.register()
    for token in (tokens["refresh_token"], tokens["access_token"], own, person.token, person.refresh_token):
        assert (await other.post(REVOKE, token=token)).status_code == 200
    for token in (tokens["access_token"], own, person.token):
        assert (await service.validate(token))["valid"]
    assert (await app.refresh(tokens["refresh_token"])).status_code == 200
    for token in ("x", "a.b.c", "rt_unknown", tokens["id_token"], own + "x", "\u2603"):
        assert (await other.post(REVOKE, token=token)).status_code == 200


async def test_a_clients_own_token_is_revoked_alone_and_everywhere(postgres: EmbeddedPostgres, valkey: Any) -> None:
    """SEC-59: in every process, with the verdict cached in memory and in Valkey."""
    url, environ = postgres.create_database("revoked_everywhere"), {"IDP_SECRET_KEY": root_secret()}
    environ["IDP_PUBLIC_URL"] = "http://two"
    async with (
        running(url, valkey_url=valkey.url, environ=environ) as one,
        running(url, valkey_url=valkey.url, environ=environ, migrate=False) as other,
    ):
        client = await register(one, await one.register_admin(), client_name="Job", scope="read")
        token, second = await token_of(one, client), await token_of(one, client)
        for each in (one, other, one, other):
            assert (await each.validate(token))["valid"]
        assert (await revoke(other, client, token)).status_code == 200
        await asyncio.gather(*(each.app.core.change_listener.catch_up() for each in (one, other)))
        for each in (one, other):
            assert (await each.validate(token))["error"] == "token_revoked"
            assert (await each.validate(second))["valid"]
        assert (await revoke(one, client, token)).status_code == 200, "a repetition is no error"
        audit = await one.sql("SELECT details FROM idp.audit_logs WHERE action = 'client.token_revoked'")
        assert len(audit) == 1


async def test_a_race_of_revocations_is_no_error(service: Service, admin: Person) -> None:
    client = await register(service, admin, client_name="Job")
    token, app = await token_of(service, client), await app_of(service, admin)
    tokens = await signed_in(service, app)
    answers = await asyncio.gather(
        *(revoke(service, client, token) for _ in range(10)),
        *(app.post(REVOKE, token=tokens["refresh_token"]) for _ in range(10)),
    )
    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize("ends", ["DELETE", "PUT"])
async def test_no_session_begins_at_a_client_that_ends(service: Service, admin: Person, ends: str) -> None:
    """SEC-36, SEC-59: codes are exchanged while the client is deleted, or loses the grant, without a deadlock."""
    app = await app_of(service, admin)
    url = f"{CLIENTS}/{app.client_id}"
    body = {"client_name": "App", "scope": "read", "grant_types": ["client_credentials"]}
    async with Browser(service) as browser:
        await browser.sign_in(await service.register())
        codes = [await app.code(browser, scope="openid offline_access") for _ in range(12)]
        exchanges = [asyncio.create_task(app.exchange(code)) for code in codes]
        ended = await service.client.request(ends, url, headers=admin.bearer, json=body if ends == "PUT" else None)
        answers = await asyncio.gather(*exchanges)
    assert ended.status_code == 200, ended.text
    assert {answer.status_code for answer in answers} <= {200, 400, 401}
    for answer in answers:
        if answer.status_code == 200:
            assert not (await service.validate(answer.json()["access_token"]))["valid"]
    (row,) = await service.sql(
        "SELECT count(*) AS live FROM idp.user_sessions WHERE client_id = $1 AND ended_at IS NULL", app.client_id
    )
    assert row["live"] == 0


async def test_the_client_must_authenticate(service: Service, admin: Person) -> None:
    """SEC-48, SEC-55, RFC 7009 section 2.1."""
    client = await register(service, admin, client_name="Job")
    token = await token_of(service, client)
    wrong = await revoke(service, client | {"client_secret": "wrong"}, token)
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")
    nobody = await service.client.post(REVOKE, data={"token": token})
    assert (nobody.status_code, nobody.json()["error"]) == (401, "invalid_client")
    bearer = await service.client.post(REVOKE, headers={"Authorization": f"Bearer {token}"}, data={"token": token})
    assert bearer.status_code == 401
    headers = basic(client["client_id"], client["client_secret"])
    assert (await service.client.post(REVOKE, headers=headers, data={})).json()["error"] == "invalid_request"
    assert (await service.client.get(REVOKE)).status_code == 405
    assert (await service.validate(token))["valid"]


async def test_expired_rows_are_deleted_and_others_stay(service: Service, admin: Person) -> None:
    """They are kept as long as what they refuse could be used."""
    client = await register(service, admin, client_name="Job")
    app = await app_of(service, admin)
    token = await token_of(service, client)
    await revoke(service, client, token)
    async with Browser(service) as browser:
        await app.authorize(browser, prompt="login")
        await browser.sign_in(await service.register())
        await app.code(browser)
    cleanup = ProviderCleanup(service.app.core.database)
    tables = ("revoked_tokens", "authorization_codes", "authorization_requests")

    async def counts() -> list[int]:
        return [(await service.sql(f"SELECT count(*) AS n FROM idp.{table}"))[0]["n"] for table in tables]

    before = await counts()
    assert min(before) >= 1
    await cleanup.clean_up()
    assert await counts() == before
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=20), tick=True):
        await cleanup.clean_up()
        assert not (await service.validate(token))["valid"]
    with time_machine.travel(datetime.now(UTC) + timedelta(days=2), tick=True):
        await cleanup.clean_up()
    assert await counts() == [0, 0, 0]
