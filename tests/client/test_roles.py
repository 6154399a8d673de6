"""Roles and scopes: offline if the token names them, introspected if not, and never assumed."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from client.client_support import bearer
from client.machines import api_key, service_token
from factories import Person, Service, running
from idp.dev.embedded import EmbeddedPostgres
from idp_client import AuthClient, AuthError, Gate, OfflineVerifier, SyncAuthClient, SyncGate
from idp_client.errors import AuthUnavailable, InsufficientRoles, InsufficientScopes, NoCredential, TokenRejected
from idp_client.gate import Authentication
from idp_client.sync_gate import SyncAuthentication
from idp_client.wsgi import WsgiAuthMiddleware, authentication_of

DEAD = "http://127.0.0.1:9"
Headers = list[tuple[bytes, bytes]]


def presented(token: str) -> Headers:
    return [(name.lower().encode(), value.encode()) for name, value in bearer(token).items()]


@pytest.fixture(scope="module")
async def without_roles(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    """A service whose tokens name no roles."""
    url = postgres.create_database("tokens_without_roles")
    async with running(url, profile="production", environ={"IDP_TOKENS__MAX_ROLES": "0"}) as service:
        yield service


async def admin_of(service: Service) -> Person:
    return await service.sign_in(await service.register_admin())


def offline(service: Service) -> OfflineVerifier:
    return OfflineVerifier(service.base_url)


async def test_roles_are_known_offline(production: Service) -> None:
    admin, person = await admin_of(production), await production.register()
    gate = Gate(offline=offline(production))
    caller = await Authentication(gate, presented(admin.token)).require(required_roles=["admin"])
    assert caller.user is not None
    assert caller.source == "offline"
    assert set(caller.user.roles or ()) == {"admin", "user"}
    await Authentication(gate, presented(person.token)).require(required_roles=["user"])
    for roles in (["admin"], ["user", "admin"], ["ADMIN"], ["use"]):
        with pytest.raises(InsufficientRoles) as refused:
            await Authentication(gate, presented(person.token)).require(required_roles=roles)
        assert refused.value.status == 403


async def test_a_token_without_roles_is_asked_about_or_refused(without_roles: Service) -> None:
    admin = await admin_of(without_roles)
    online = AuthClient(without_roles.base_url, timeout=20)
    both = Authentication(Gate(offline=offline(without_roles), online=online), presented(admin.token))
    assert (await both.require()).roles_are_unknown
    caller = await both.require(required_roles=["admin"])
    assert caller.source == "online"
    assert not (await both.require()).roles_are_unknown, "it is asked about once"
    await online.close()
    alone = Authentication(Gate(offline=offline(without_roles)), presented(admin.token))
    with pytest.raises(InsufficientRoles, match="contains no roles"):
        await alone.require(required_roles=["admin"])
    dead = AuthClient(DEAD)
    away = Authentication(Gate(offline=offline(without_roles), online=dead), presented(admin.token))
    with pytest.raises(AuthUnavailable):
        await away.require(required_roles=["admin"])
    await dead.close()


async def test_a_service_has_no_roles_and_a_scope_is_none(idp: Service) -> None:
    """S2-19: the scope `admin` is another service's business."""
    made = await service_token(idp, "admin")
    async with AuthClient(idp.base_url) as online:
        with pytest.raises(InsufficientRoles, match="a service has no roles"):
            await Authentication(Gate(online=online), presented(made["token"])).require(required_roles=["admin"])


async def test_more_roles_than_the_token_may_name_are_left_out_of_it(production: Service) -> None:
    person = await production.register()
    limit = production.loaded.settings.tokens.max_roles
    for number in range(limit):
        role = f"role-{number}"
        await production.sql("INSERT INTO idp.roles (name, description) VALUES ($1, '') ON CONFLICT DO NOTHING", role)
        await production.sql("INSERT INTO idp.user_roles (user_id, role) VALUES ($1, $2)", person.id, role)
    caller = await offline(production).verify((await production.sign_in(person)).token)
    assert caller.user is not None
    assert caller.user.roles is None
    assert len((await production.validate(person.token))["user"]["roles"]) == limit + 1


# --- threads ---------------------------------------------------------------------------------------------------------


async def require(gate: SyncGate, headers: Headers, *scopes: str, roles: tuple[str, ...] = ()) -> Any:
    return await asyncio.to_thread(SyncAuthentication(gate, headers).require, scopes, required_roles=roles)


async def test_a_gate_for_threads_decides_alike(production: Service) -> None:
    admin, key = await admin_of(production), await api_key(production, await production.register(), "read")
    gate = SyncGate.at(production.base_url)
    assert (await require(gate, presented(admin.token), roles=("admin",))).source == "offline"
    assert (await require(gate, presented(key["secret"]), "read")).kind == "api_key"
    with pytest.raises(InsufficientScopes):
        await require(gate, presented(key["secret"]), "write")
    for headers, error in (
        ([], NoCredential),
        (presented("rubbish"), TokenRejected),
        ([(b"authorization", b"Basic abc")], TokenRejected),
        (presented(admin.token[:-4] + "AAAA"), TokenRejected),
    ):
        with pytest.raises(error):
            await require(gate, headers)
    gate.close()
    gate = SyncGate(online=SyncAuthClient(DEAD))
    with pytest.raises(AuthUnavailable):
        await require(gate, presented(key["secret"]))
    gate.close()
    with pytest.raises(ValueError, match="requires offline"):
        SyncGate()


async def test_the_wsgi_middleware_answers_refusals_and_closes_a_whole_application(production: Service) -> None:
    key = await api_key(production, await production.register(), "read")
    gate = SyncGate.at(production.base_url)

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] != "/public":
            authentication_of(environ).require(["read"])
        start_response("200 OK", [])
        return [b"ok"]

    async def call(wsgi: Any, path: str, **headers: str) -> tuple[str, bytes]:
        statuses: list[str] = []
        environ = {"PATH_INFO": path, **{f"HTTP_{name}": value for name, value in headers.items()}}
        body = await asyncio.to_thread(wsgi, environ, lambda status, _headers: statuses.append(status))
        return statuses[-1], b"".join(body)

    wsgi = WsgiAuthMiddleware(app, gate)
    assert await call(wsgi, "/public", AUTHORIZATION="Bearer rubbish") == ("200 OK", b"ok")
    assert await call(wsgi, "/echo", X_API_KEY=key["secret"]) == ("200 OK", b"ok")
    status, body = await call(wsgi, "/echo")
    assert status == "401 Unauthorized"
    assert b'"code":"unauthenticated"' in body
    assert (await call(wsgi, "/echo", X_API_KEY="a", AUTHORIZATION="Bearer b"))[0] == "400 Bad Request"
    closed = WsgiAuthMiddleware(app, gate, required_scopes=["write"])
    assert (await call(closed, "/public", X_API_KEY=key["secret"]))[0] == "403 Forbidden"
    with pytest.raises(RuntimeError, match="WsgiAuthMiddleware"):
        authentication_of({})
    gate.close()


def test_refusals_are_errors_of_one_family() -> None:
    assert issubclass(InsufficientRoles, AuthError)
