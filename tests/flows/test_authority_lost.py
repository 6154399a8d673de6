"""Authority that is lost while a request waits for a lock is lost for that request, on every route.

Each route that changes something is called while the test holds a lock that it needs, and the caller's authority is
taken away before the lock is given back. A route that is in neither of the two tables below fails the test.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from app_sessions import create_client
from factories import PASSWORD, Person, Service, running
from factors.phone import Phone, begin
from factors.software_authenticator import Authenticator
from flows.mail_support import CONFIRM_NEW, mails_about, token_in
from idp.dev.embedded import EmbeddedPostgres
from idp.principal.guards import policies

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
NO_CALLER = "no signed-in caller: the credential is in the body, and the transaction checks its row"
# Forms call the functions that the routes of the API call; tests/pages/test_admin_authority_lost.py walks some.
PAGES = ("/account", "/admin", "/second-factor", "/support")
OPTED_OUT = {
    ("POST", "/auth/register"): NO_CALLER,
    ("POST", "/auth/login"): NO_CALLER,
    ("POST", "/api/auth/login"): NO_CALLER,
    ("POST", "/auth/refresh"): NO_CALLER,
    ("POST", "/api/auth/refresh"): NO_CALLER,
    ("POST", "/api/auth/email/register"): NO_CALLER,
    ("POST", "/api/auth/email/verify"): NO_CALLER,
    ("GET", "/api/auth/email/verify"): NO_CALLER,
    ("POST", "/api/auth/email/verify/resend"): NO_CALLER,
    ("POST", "/api/auth/password/reset/request"): NO_CALLER,
    ("POST", "/api/auth/password/reset/confirm"): NO_CALLER,
    ("POST", "/verify-email"): NO_CALLER,
    ("POST", "/reset-password"): NO_CALLER,
    ("POST", "/change-email"): NO_CALLER,
    ("POST", "/login"): NO_CALLER,
    ("POST", "/login/passkey"): NO_CALLER,
    ("POST", "/api/auth/login/passkey"): NO_CALLER,
    ("POST", "/api/auth/login/passkey/options"): NO_CALLER,
    ("POST", "/api/auth/passkeys/options"): "it returns a challenge, and changes nothing",
    ("POST", "/api/auth/second-factor"): NO_CALLER,
    ("POST", "/api/auth/second-factor/passkey-options"): NO_CALLER,
    ("POST", "/api/auth/step-up/passkey-options"): "it returns a challenge, and changes nothing",
    ("POST", "/api/auth/factors/totp"): "it returns a secret, and changes nothing",
    ("POST", "/register"): NO_CALLER,
    ("POST", "/consent"): "a consent gives nothing by itself: the code is issued only to a live session",
    ("POST", "/auth/validate"): "it returns a verdict, and changes nothing",
    ("POST", "/internal/validate-key"): "it returns a verdict, and changes nothing",
    ("POST", "/oauth2/introspect"): "it returns a verdict, and changes nothing",
    ("POST", "/oauth2/token"): "the client's secret is in the request, and it changes nothing",
    ("POST", "/oauth2/revoke"): "the client's secret is in the request, and it ends what is the client's own",
    ("POST", "/oauth2/authorize"): "it saves a request, which the next GET answers",
    ("POST", "/oauth2/userinfo"): "it reads",
    ("POST", "/link-account"): NO_CALLER,
    ("POST", "/auth/federation/exchange"): NO_CALLER,
    ("POST", "/federation/{provider:str}/callback"): "it repeats the answer by GET, and changes nothing",
    ("POST", "/federation/{provider:str}/backchannel-logout"): "the provider's signature is in the request",
    (
        "POST",
        "/api/auth/identities/{provider:str}",
    ): "it saves a login; the answer of the browser links",
    ("POST", "/oauth2/logout"): "it ends only the session that sends it; one that has ended changes nothing",
    ("POST", "/oauth2/logout/confirm"): "it ends only the session that sends it; one that has ended changes nothing",
    ("POST", "/webhooks/clerk"): "the signature is in the request; the transaction begins with the keys' lock",
}


@dataclass
class World:
    """A caller with every authority there is, and what they could change."""

    service: Service
    caller: Person
    other: Person
    team: str
    domain: str
    token: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """A route that changes something: where, and with which body."""

    method: str
    route: str
    body: Callable[[World], Awaitable[Any]] | None = None
    names: Callable[[World], Awaitable[dict[str, str]]] | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.route}"


def fixed(**body: Any) -> Callable[[World], Awaitable[Any]]:
    async def make(_: World) -> Any:
        return body

    return make


async def named(_: World) -> Any:
    return {"name": secrets.token_hex(6), "scopes": ["read"]}


async def new_team(_: World) -> Any:
    return {"name": secrets.token_hex(6)}


async def new_domain(_: World) -> Any:
    return {"key": secrets.token_hex(6), "name": "Any"}


async def invitation(world: World) -> Any:
    return {"email": world.service.new_email()}


async def token_of_another(world: World) -> Any:
    return {"token": world.other.token}


async def own_address(world: World) -> Any:
    return {"confirm": world.caller.email}


async def other_address(world: World) -> Any:
    return {"new_email": world.service.new_email(), "current_password": PASSWORD}


async def change_link(world: World) -> Any:
    email = world.service.new_email()
    body = {"new_email": email, "current_password": PASSWORD}
    asked = await world.service.client.post("/api/auth/email/change", json=body, headers=world.caller.bearer)
    assert asked.status_code == 200, asked.text
    return {"token": token_in((await mails_about(world.service, email, CONFIRM_NEW))[0])}


async def new_webhook(_: World) -> Any:
    return {"url": "https://consumer.example.com/hook"}


async def own_webhook(world: World) -> dict[str, str]:
    admin = await world.service.register_admin()
    made = await world.service.client.post("/v1/webhooks", json=await new_webhook(world), headers=admin.bearer)
    return {"{webhook_id:uuid}": made.json()["id"]}


async def own_identity(world: World) -> dict[str, str]:
    identity = uuid4()
    await world.service.sql(
        "INSERT INTO idp.identities (id, user_id, provider, subject, created_at)"
        " VALUES ($1, $2, 'https://corp.example', $3, now())",
        identity,
        world.caller.id,
        secrets.token_hex(6),
    )
    return {"{identity_id:uuid}": str(identity)}


async def new_client(_: World) -> Any:
    return {"client_name": "Any"}


async def oauth_client(world: World) -> dict[str, str]:
    admin = await world.service.register_admin()
    body = await new_client(world)
    made = await world.service.client.post("/api/auth/admin/clients", json=body, headers=admin.bearer)
    return {"{client_id:str}": made.json()["client_id"]}


async def own_consent(world: World) -> dict[str, str]:
    client_id = await create_client(world.service)
    await world.service.sql(
        "INSERT INTO idp.consents (user_id, client_id, scopes, created_at, updated_at)"
        " VALUES ($1, $2, '{}', now(), now())",
        world.caller.id,
        client_id,
    )
    return {"{client_id:str}": client_id}


async def own_key(world: World) -> dict[str, str]:
    body = {"name": "mine", "scopes": ["read"]}
    made = await world.service.client.post("/v1/api-keys", json=body, headers=world.caller.bearer)
    return {"{key_id:str}": made.json()["key_id"]}


async def service_token(world: World) -> dict[str, str]:
    admin = await world.service.register_admin()
    body = {"name": secrets.token_hex(6), "scopes": ["read"]}
    made = await world.service.client.post("/auth/tokens", json=body, headers=admin.bearer)
    return {"{token_id:str}": made.json()["token_id"]}


async def new_passkey(world: World) -> Any:
    device, headers = Authenticator(world.service.base_url.replace("127.0.0.1", "localhost")), world.caller.bearer
    options = await world.service.client.post("/api/auth/passkeys/options", headers=headers)
    return {"credential": device.create(options.json()["publicKey"])}


async def own_passkey(world: World) -> dict[str, str]:
    made = await world.service.client.post(
        "/api/auth/passkeys", json=await new_passkey(world), headers=world.caller.bearer
    )
    session = made.json()["session"]  # the stronger one, which replaces the caller's
    world.caller.token, world.caller.session_id = session["access_token"], session["session_id"]
    world.headers = world.caller.bearer
    return {"{passkey_id:uuid}": made.json()["passkey"]["id"]}


async def own_session(world: World) -> dict[str, str]:
    return {"{session_id:str}": (await world.service.sign_in(world.caller)).session_id}


async def enrolment(world: World) -> Any:
    begun = await begin(world.service, world.caller)
    return {"enrolment": begun["enrolment"], "code": Phone(world.service, world.caller, begun["secret"]).code()}


BY_ADMINS = (
    Change("DELETE", "/api/auth/admin/users/{user_id:str}/factors", fixed(reason="lost phone")),
    Change("POST", "/api/auth/admin/users", invitation),
    Change("PATCH", "/api/auth/admin/users/{user_id:str}", fixed(plan="PRO")),
    Change("DELETE", "/api/auth/admin/users/{user_id:str}"),
    Change("DELETE", "/api/auth/admin/users/{user_id:str}/sessions"),
    Change("POST", "/api/auth/admin/clients", new_client),
    Change("PUT", "/api/auth/admin/clients/{client_id:str}", new_client, oauth_client),
    Change("POST", "/api/auth/admin/clients/{client_id:str}/secret", fixed(overlap_seconds=0), oauth_client),
    Change("DELETE", "/api/auth/admin/clients/{client_id:str}", None, oauth_client),
    Change("POST", "/auth/explain", token_of_another),
    Change("POST", "/auth/tokens", named),
    Change("POST", "/auth/tokens/{token_id:str}/extend", fixed(extend_days=3), service_token),
    Change("POST", "/auth/tokens/{token_id:str}/revoke", None, service_token),
    Change("POST", "/domains", new_domain),
    Change("PATCH", "/domains/{domain_id:uuid}", fixed(name="Other")),
    Change("DELETE", "/domains/{domain_id:uuid}"),
    Change("PUT", "/domains/{domain_id:uuid}/users/{user_id:str}"),
    Change("DELETE", "/domains/{domain_id:uuid}/users/{user_id:str}"),
    Change("POST", "/teams", new_team),
    Change("POST", "/v1/webhooks", new_webhook),
    Change("PATCH", "/v1/webhooks/{webhook_id:uuid}", fixed(description="other"), own_webhook),
    Change("DELETE", "/v1/webhooks/{webhook_id:uuid}", None, own_webhook),
    Change("POST", "/v1/webhooks/{webhook_id:uuid}/rotate-secret", fixed(overlap_seconds=0), own_webhook),
    Change("POST", "/v1/webhooks/{webhook_id:uuid}/replay", fixed(after="0-0"), own_webhook),
    Change("POST", "/v1/webhooks/{webhook_id:uuid}/test", None, own_webhook),
)
# Only by people: no service acts for support.
BY_ADMINS_IN_PERSON = (Change("POST", "/api/auth/admin/users/{user_id:str}/act", fixed(reason="because of the test")),)
BY_TEAM_ADMINS = (
    Change("PATCH", "/teams/{team_id:uuid}", fixed(external_ref="other")),
    Change("DELETE", "/teams/{team_id:uuid}"),
    Change("PUT", "/teams/{team_id:uuid}/members/{user_id:str}", fixed(role="admin")),
    Change("DELETE", "/teams/{team_id:uuid}/members/{user_id:str}"),
)
BY_PEOPLE = (
    Change("POST", "/api/auth/email/change", other_address),
    Change("POST", "/api/auth/email/change/confirm", change_link),
    Change("POST", "/api/auth/password/change", fixed(current_password=PASSWORD, new_password="another good one")),
    Change("POST", "/api/auth/factors/totp/confirm", enrolment),
    Change("DELETE", "/api/auth/factors/totp"),
    Change("POST", "/api/auth/factors/recovery-codes"),
    Change("POST", "/api/auth/step-up", fixed(code="123456")),
    Change("POST", "/auth/logout-all"),
    Change("POST", "/api/auth/logout-all"),
    Change("DELETE", "/api/auth/sessions/{session_id:str}", None, own_session),
    Change("DELETE", "/api/auth/identities/{identity_id:uuid}", None, own_identity),
    Change("POST", "/v1/api-keys", named),
    Change("PATCH", "/v1/api-keys/{key_id:str}", fixed(name="renamed"), own_key),
    Change("DELETE", "/v1/api-keys/{key_id:str}", None, own_key),
    Change("POST", "/v1/api-keys/{key_id:str}/rotate", None, own_key),
    Change("PATCH", "/v1/me", fixed(name="Other")),
    Change("DELETE", "/v1/me", own_address),
    Change("DELETE", "/api/auth/consents/{client_id:str}", None, own_consent),
    Change("POST", "/api/auth/passkeys", new_passkey),
    Change("PATCH", "/api/auth/passkeys/{passkey_id:uuid}", fixed(name="Other"), own_passkey),
    Change("DELETE", "/api/auth/passkeys/{passkey_id:uuid}", None, own_passkey),
)
# The session that a request names or comes with may always be ended by who holds a credential of it.
OWN_END = {
    ("POST", "/auth/logout"): "it only ends the session of the credential that comes with it",
    ("POST", "/api/auth/logout"): "it only ends the session of the credential that comes with it",
}


def test_every_route_that_changes_something_is_walked(service: Service) -> None:
    """A new route has to be put into one of the tables, which is where its authority is taken away."""
    walked = {(each.method, each.route) for each in (*BY_ADMINS, *BY_ADMINS_IN_PERSON, *BY_TEAM_ADMINS, *BY_PEOPLE)}
    reads = {("GET", line.path) for line in policies(service.app) if line.method == "GET"}
    reads |= {("HEAD", path) for _, path in reads}
    routes = {(line.method, line.path) for line in policies(service.app)}
    writes = {each for each in routes - reads if not each[1].startswith(("/dev/", *PAGES))}
    assert writes - walked - OPTED_OUT.keys() - OWN_END.keys() == set()
    assert walked | OPTED_OUT.keys() | OWN_END.keys() <= routes


@pytest.fixture(scope="module")
async def own(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    """A service of its own: whole tables are locked here."""
    async with running(postgres.create_database("authority")) as service:
        yield service


@pytest.fixture(scope="module")
async def admin(own: Service) -> Person:
    """An administrator who stays one, so that no caller is the last one."""
    return await own.register_admin()


async def make_world(service: Service, admin: Person) -> World:
    caller, other = await service.register(), await service.register()
    team = await service.client.post("/teams", json={"name": secrets.token_hex(6)}, headers=admin.bearer)
    body = {"key": secrets.token_hex(6), "name": "Any"}
    domain = await service.client.post("/domains", json=body, headers=admin.bearer)
    return World(service, caller, other, team.json()["id"], domain.json()["id"], headers=caller.bearer)


async def call(world: World, change: Change, *, body: Any, names: dict[str, str]) -> httpx2.Response:
    path = change.route
    known = {"{user_id:str}": world.other.id, "{team_id:uuid}": world.team, "{domain_id:uuid}": world.domain}
    for name, value in (known | names).items():
        path = path.replace(name, value)
    given = {"json": body} if body is not None else {}
    return await world.service.client.request(change.method, path, headers=world.headers, **given)


async def lose(
    world: World, change: Change, taking: str, *values: str | Callable[[], str], table: str = "idp.users"
) -> httpx2.Response:
    """Call a route while a table that it needs is locked, run `taking` under the lock, and return the answer.

    A value is a function if it is known only when the world has been prepared for the change.
    """
    names = await change.names(world) if change.names else {}
    body = await change.body(world) if change.body else None
    assert (await world.service.client.get("/teams", headers=world.headers)).status_code == 200  # and it is remembered
    connection = await asyncpg.connect(world.service.database_url)
    try:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        calling = asyncio.create_task(call(world, change, body=body, names=names))
        for _ in range(300):
            if await connection.fetchval(WAITING) or calling.done():
                break
            await asyncio.sleep(0.01)
        assert not calling.done(), f"{change} waited for nothing: {calling.result().text}"
        await connection.execute(taking, *(value() if callable(value) else value for value in values))
        await transaction.commit()
        return await calling
    finally:
        await connection.close()


END_SESSION = "UPDATE idp.user_sessions SET ended_at = now(), ended_reason = 'test' WHERE id = $1::text::uuid"


@pytest.mark.parametrize("change", [*BY_ADMINS, *BY_ADMINS_IN_PERSON, *BY_TEAM_ADMINS], ids=str)
async def test_an_administrator_who_loses_the_role_changes_nothing(own: Service, admin: Person, change: Change) -> None:
    world = await make_world(own, admin)
    await own.sql("INSERT INTO idp.user_roles (user_id, role) VALUES ($1, 'admin')", world.caller.id)
    answer = await lose(world, change, "DELETE FROM idp.user_roles WHERE user_id = $1 AND role = 'admin'",
                        world.caller.id)  # fmt: skip
    assert (answer.status_code, answer.json()["code"]) in {(403, "admin_required"), (403, "team_admin_required")}


@pytest.mark.parametrize("change", BY_TEAM_ADMINS, ids=str)
async def test_a_team_administrator_who_is_removed_changes_nothing(own: Service, admin: Person, change: Change) -> None:
    """Neither for others nor for herself: she does not make herself an administrator again."""
    for whom in ("other", "self"):
        world = await make_world(own, admin)
        await own.sql(
            "INSERT INTO idp.team_memberships (id, user_id, team_id, role, created_at, updated_at)"
            " VALUES (gen_random_uuid(), $1, $2::text::uuid, 'admin', now(), now())",
            world.caller.id,
            world.team,
        )
        if whom == "self":
            world.other = world.caller
        taking = "DELETE FROM idp.team_memberships WHERE user_id = $1 AND team_id = $2::text::uuid"
        table = "idp.team_memberships" if whom == "self" and "members" in change.route else "idp.users"
        answer = await lose(world, change, taking, world.caller.id, world.team, table=table)
        assert (answer.status_code, answer.json()["code"]) == (403, "team_admin_required")
        left = await own.sql("SELECT role FROM idp.team_memberships WHERE user_id = $1 AND team_id = $2::text::uuid",
                             world.caller.id, world.team)  # fmt: skip
        assert left == []


@pytest.mark.parametrize("change", [*BY_PEOPLE, *BY_ADMINS, *BY_ADMINS_IN_PERSON, *BY_TEAM_ADMINS], ids=str)
async def test_a_caller_whose_session_ends_changes_nothing(own: Service, admin: Person, change: Change) -> None:
    world = await make_world(own, admin)
    if change not in BY_PEOPLE:
        await own.sql("INSERT INTO idp.user_roles (user_id, role) VALUES ($1, 'admin')", world.caller.id)
    answer = await lose(world, change, END_SESSION, lambda: world.caller.session_id)
    assert (answer.status_code, answer.json()["code"]) == (401, "token_revoked")


@pytest.mark.parametrize("change", [*BY_ADMINS, *BY_TEAM_ADMINS], ids=str)
@pytest.mark.parametrize(("taking", "code"), [
    ("UPDATE idp.api_keys SET revoked_at = now(), revoked_reason = 'test' WHERE id = $1::text::uuid", "token_revoked"),
    ("UPDATE idp.api_keys SET expires_at = now() WHERE id = $1::text::uuid", "token_expired"),
    ("UPDATE idp.api_keys SET scopes = '{read}' WHERE id = $1::text::uuid", "admin_required"),
])  # fmt: skip
async def test_a_service_that_loses_its_token_changes_nothing(
    own: Service, admin: Person, change: Change, taking: str, code: str
) -> None:
    world = await make_world(own, admin)
    body = {"name": secrets.token_hex(6), "scopes": ["idp:manage"]}
    made = (await own.client.post("/auth/tokens", json=body, headers=admin.bearer)).json()
    world.headers = {"Authorization": f"Bearer {made['token']}"}
    answer = await lose(world, change, taking, made["token_id"], table="idp.api_keys, idp.users")
    assert answer.json()["code"] == code, answer.text


async def test_a_team_administrator_does_not_outrun_her_removal(own: Service, admin: Person) -> None:
    """She repeats her own promotion while an administrator removes her: once she is removed, she stays removed."""
    for _ in range(6):
        world = await make_world(own, admin)
        path = f"/teams/{world.team}/members/{world.caller.id}"
        put = await own.client.put(path, json={"role": "admin"}, headers=admin.bearer)
        assert put.status_code == 200, put.text
        repeating = [own.client.put(path, json={"role": "admin"}, headers=world.caller.bearer) for _ in range(10)]
        *answers, removed = await asyncio.gather(*repeating, own.client.delete(path, headers=admin.bearer))
        assert removed.status_code == 200
        assert {answer.status_code for answer in answers} <= {200, 403}
        assert (await own.client.get(path, headers=admin.bearer)).status_code == 404
