"""Default deny (rule 6): every route has a policy, which is enforced over HTTP."""

import re
import secrets
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx2
import jwt
import pytest
from litestar import Litestar, get
from litestar.connection import ASGIConnection

from factories import Person, Service, principal, running, user
from idp.dev.clerk_instance import new_state
from idp.dev.embedded import EmbeddedPostgres
from idp.errors import AdminRequired, CredentialNotAccepted, IdpError, NotAUser, SharedSecretToken, TeamAdminRequired
from idp.pages.signed_in import OF_ADMIN, OF_PERSON
from idp.pages.support import OF_SUPPORT
from idp.principal.guards import (
    DELEGATED,
    INTERACTIVE,
    MACHINES,
    RoutePolicy,
    accepts,
    check_policies,
    policies,
    public,
    requires_admin,
    requires_principal,
    requires_team_admin,
    requires_user,
)
from idp.principal.model import AuthMethod, Principal, Team
from idp.signing.jwt import TokenUser

ADMIN_TOKEN = secrets.token_urlsafe(40)
# Whoever opens a route to everyone writes it here too: it is a decision, and this is where it is seen in a review.
OF_PAGES = {OF_PERSON["decided_by_handler"], OF_ADMIN["decided_by_handler"], OF_SUPPORT["decided_by_handler"]}
PUBLIC = {
    "GET /",
    "GET /health",
    "GET /healthz",
    "GET /api/auth/healthz",
    "GET /readyz",
    "GET /metrics",
    "GET /.well-known/jwks.json",
    "GET /.well-known/oauth-authorization-server",
    "GET /.well-known/openid-configuration",
    "GET /oauth2/authorize",
    "POST /oauth2/authorize",
    "GET /oauth2/continue",
    "POST /oauth2/token",
    "GET /auth/providers",
    "POST /auth/federation/exchange",
    "GET /federation/{provider:str}/start",
    "GET /federation/{provider:str}/callback",
    "POST /federation/{provider:str}/callback",
    "GET /federation/{provider:str}/signed-out",
    "POST /federation/{provider:str}/backchannel-logout",
    "GET /link-account",
    "POST /link-account",
    "GET /oauth2/logout",
    "POST /oauth2/logout",
    "POST /oauth2/logout/confirm",
    "GET /signed-out",
    "POST /oauth2/revoke",
    "POST /auth/validate",
    "POST /internal/validate-key",
    "POST /auth/register",
    "POST /auth/login",
    "POST /api/auth/login",
    "POST /auth/refresh",
    "POST /api/auth/refresh",
    "GET /api/auth/test/public",
    "POST /api/auth/email/register",
    "POST /api/auth/email/verify",
    "GET /api/auth/email/verify",
    "POST /api/auth/email/verify/resend",
    "POST /api/auth/password/reset/request",
    "POST /api/auth/password/reset/confirm",
    "POST /webhooks/clerk",
    "GET /verify-email",
    "POST /verify-email",
    "GET /reset-password",
    "POST /reset-password",
    "GET /change-email",
    "POST /change-email",
    "GET /login",
    "POST /login",
    "POST /login/passkey",
    "POST /api/auth/login/passkey",
    "POST /api/auth/login/passkey/options",
    "POST /api/auth/second-factor",
    "POST /api/auth/second-factor/passkey-options",
    "GET /second-factor",
    "POST /second-factor",
    "GET /second-factor/set-up",
    "POST /second-factor/set-up",
    "GET /register",
    "POST /register",
    "GET /consent",
    "POST /consent",
    "GET /brand/logo",
    "GET /brand/theme.css",
    "GET /docs",
    "GET /docs/openapi.json",
    "GET /docs/{path:str}",
    "GET /api/auth/docs",
    "GET /openapi.json",
    "GET /api/auth/openapi.json",
    "GET /errors",
    "GET /errors/{code:str}",
    "GET /docs/assets/{file_path:path}",
    "HEAD /docs/assets/{file_path:path}",
    "GET /docs/htmx/{file_path:path}",
    "HEAD /docs/htmx/{file_path:path}",
    "GET /api/auth/docs/assets/{file_path:path}",
    "HEAD /api/auth/docs/assets/{file_path:path}",
}


@pytest.fixture(scope="module")
async def managed(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    """Production with an ADMIN_TOKEN and a shared secret, so that every kind of credential is at hand."""
    environ = {"ADMIN_TOKEN": ADMIN_TOKEN, "AUTH_JWT_SECRET_KEY": secrets.token_urlsafe(40)}
    environ["CLERK_WEBHOOK_SECRET"] = new_state().webhook_secret
    async with running(postgres.create_database("managed"), profile="production", environ=environ) as service:
        yield service


def routes(service: Service) -> list[RoutePolicy]:
    return policies(service.app)


def restricted(service: Service) -> list[RoutePolicy]:
    """Return all but open routes, and pages, which lead to the sign-in page (tests/pages/test_signed_in_pages.py)."""
    return [line for line in routes(service) if line.policy != "public" and line.policy not in OF_PAGES]


def filled(path: str) -> str:
    """Return a path of this template that leads to nothing that exists."""
    path = re.sub(r"\{[a-z_]+:uuid\}", str(uuid4()), path)
    return re.sub(r"\{[a-z_]+:(str|path)\}", "nobody", path)


async def call(service: Service, line: RoutePolicy, **headers: str) -> httpx2.Response:
    return await service.client.request(line.method, filled(line.path), headers=headers)


def code(answer: httpx2.Response) -> tuple[int, str | None]:
    problem = answer.headers["Content-Type"] == "application/problem+json" or "error_description" in answer.text
    return answer.status_code, answer.json()["code"] if problem else None


# --- every route -----------------------------------------------------------------------------------------------------


def test_every_route_has_a_policy(managed: Service, service: Service) -> None:
    """Rule 6: in production and in development."""
    for each in (managed, service):
        lines = routes(each)
        assert len(lines) > 40
        assert [line for line in lines if line.policy is None] == []
        assert [line for line in lines if "{" in filled(line.path)] == [], "teach `filled` this kind of parameter"


def test_the_public_routes_are_these_and_no_others(managed: Service) -> None:
    """Rule 6: opening a route is a decision."""
    assert {f"{line.method} {line.path}" for line in routes(managed) if line.policy == "public"} == PUBLIC


async def test_every_other_route_is_401_without_a_credential(managed: Service, service: Service) -> None:
    """Rule 6, RFC 9110 section 15.5.2: and says how to authenticate; before it looks at path, query or body."""
    for each in (managed, service):
        for line in restricted(each):
            answer = await call(each, line)
            assert code(answer) == (401, "unauthenticated"), f"{line.method} {line.path}: {answer.text}"
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.headers["Cache-Control"] == "no-store"


async def test_every_other_route_is_401_with_a_bad_credential(managed: Service) -> None:
    """SEC-14."""
    for line in restricted(managed):
        answer = await call(managed, line, Authorization="Bearer rubbish")
        assert code(answer) == (401, "credential_unrecognised"), f"{line.method} {line.path}"
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


async def test_no_public_route_asks_for_a_credential(managed: Service) -> None:
    """A public route answers without one, and a bad one does not matter to it (a login with a stale token)."""
    for line in routes(managed):
        if line.policy == "public" and line.path != "/metrics":  # which has a token of its own (decision 0022)
            for headers in ({}, {"Authorization": "Bearer rubbish"}):
                answer = await call(managed, line, **headers)
                assert answer.status_code not in {401, 403, 500, 503}, f"{line.method} {line.path}: {answer.text}"


async def test_an_unknown_path_discloses_only_that_it_does_not_exist(managed: Service) -> None:
    """404 and 405 are the same with and without a credential."""
    for path in ("/nothing", "/auth/me/more", "/teams/not-a-uuid"):
        assert code(await managed.client.get(path)) == (404, "not_found")
    assert (await managed.client.put("/auth/me")).status_code == 405


# --- a route that forgets --------------------------------------------------------------------------------------------


def test_an_application_with_a_route_without_a_policy_does_not_start() -> None:
    """Rule 6: the start fails and names the route."""

    @get("/forgotten", sync_to_thread=False)
    def forgotten() -> None: ...

    @get("/other-guard", guards=[lambda _connection, _handler: None], sync_to_thread=False)
    def other_guard() -> None: ...

    @get("/almost", opt={"public": "yes"}, sync_to_thread=False)
    def almost() -> None: ...

    @get("/open", opt=public(), sync_to_thread=False)
    def opened() -> None: ...

    with pytest.raises(RuntimeError) as refused:
        check_policies(Litestar([forgotten, other_guard, almost, opened], openapi_config=None))
    for path in ("/forgotten", "/other-guard", "/almost"):
        assert path in str(refused.value)
    assert "/open," not in str(refused.value)
    check_policies(Litestar([opened], openapi_config=None))


# --- which credentials a route accepts -------------------------------------------------------------------------------


async def test_admin_token_is_accepted_only_by_routes_that_allow_it(managed: Service) -> None:
    """C-09 C-29: walked over every route; `not_a_user` where a person is needed."""
    taken = refused = 0
    for line in restricted(managed):
        answer = await call(managed, line, Authorization=f"Bearer {ADMIN_TOKEN}")
        if AuthMethod.ADMIN_TOKEN in line.accepts:
            assert answer.status_code not in {401, 403}, f"{line.method} {line.path}: {answer.text}"
            taken += 1
        else:
            assert code(answer) in {(403, "not_a_user"), (403, "credential_not_accepted")}, line.path
            refused += 1
    assert taken > 15
    assert refused >= 3


async def test_the_admin_token_is_no_user_and_can_create_a_team(managed: Service) -> None:
    """C-09 C-18."""
    bearer = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    for path in ("/auth/me", "/v1/me", "/api/auth/me"):
        assert code(await managed.client.get(path, headers=bearer)) == (403, "not_a_user")
    made = await managed.client.post("/teams", headers=bearer, json={"name": "Made by ADMIN_TOKEN"})
    assert made.status_code == 201
    assert (await managed.client.get("/teams", headers=bearer)).json() == []


def test_a_route_that_says_nothing_accepts_what_a_person_signs_in_with() -> None:
    """C-29: keys and service tokens only where `accepts` says so."""
    assert not INTERACTIVE & MACHINES
    assert AuthMethod.ADMIN_TOKEN not in INTERACTIVE
    assert accepts(AuthMethod.API_KEY)["accepts"] == INTERACTIVE | {AuthMethod.API_KEY}
    assert INTERACTIVE | DELEGATED | {AuthMethod.ADMIN_TOKEN} == set(AuthMethod), "each kind has its place"
    assert {AuthMethod.OAUTH_TOKEN} == DELEGATED - MACHINES


def test_only_the_routes_of_c29_accept_machines(managed: Service) -> None:
    """C-29 S0-03 C-09: a user's key reads me, teams and domains only; a service manages by its scope."""
    lines = restricted(managed)
    open_to_keys = {(line.method, line.path) for line in lines if AuthMethod.API_KEY in line.accepts}
    assert open_to_keys == {
        ("GET", path)
        for path in ("/auth/me", "/v1/me", "/api/auth/me", "/teams", "/teams/all", "/domains", "/domains/all")
    }
    for line in lines:
        of_itself = line.path == "/auth/explain"  # about other credentials, it asks for management
        if AuthMethod.SERVICE_TOKEN in line.accepts and (line.method, line.path) not in open_to_keys and not of_itself:
            by_scope = {"scope idp:introspect, or a client", "admin or scope idp:events"}
            assert line.policy in {"admin", "team admin"} | by_scope, line


@get("/plain", guards=[requires_principal], sync_to_thread=False)
def plain() -> None: ...


@get("/machines", guards=[requires_principal], opt=accepts(*MACHINES), sync_to_thread=False)
def machines() -> None: ...


async def outcome(guard: Any, who: Principal, handler: Any = plain, **path: Any) -> type[IdpError] | None:
    """Run a guard and return what it raised."""
    connection: ASGIConnection[Any, Any, Any, Any] = ASGIConnection(
        {"type": "http", "user": who, "path_params": path, "headers": []}  # type: ignore[arg-type]
    )
    try:
        await guard(connection, handler)
    except IdpError as error:
        return type(error)
    return None


@pytest.mark.parametrize("guard", [requires_principal, requires_user, requires_admin, requires_team_admin])
async def test_every_guard_refuses_a_kind_that_the_route_does_not_accept(guard: Any) -> None:
    """C-29: even an admin's, so that the kind is looked at before the rights."""
    admin = user(roles=("user", "admin"))
    for method in AuthMethod:
        expected = None if method in INTERACTIVE else CredentialNotAccepted
        assert await outcome(guard, principal(admin, method=method)) is expected, method
    for method in MACHINES:
        assert await outcome(guard, principal(admin, method=method), machines) is None


async def test_guards_admit_exactly_the_principals_they_name() -> None:
    """C-09 C-15: a person, an admin, an admin of this very team; management credentials."""
    team, other = uuid4(), uuid4()
    leads = user(teams=(Team(id=team, name="T", external_ref=None, is_active=True, role="admin"),))
    member = user(teams=(Team(id=team, name="T", external_ref=None, is_active=True, role="member"),))
    admin = user(roles=("user", "admin"))
    manager = principal(None, method=AuthMethod.PLUGIN, scopes=("idp:manage",))
    robot = principal(None, method=AuthMethod.PLUGIN, scopes=("admin", "idp", "*"))

    assert await outcome(requires_user, principal(member)) is None
    assert await outcome(requires_user, manager) is NotAUser
    assert await outcome(requires_admin, principal(admin)) is None
    assert await outcome(requires_admin, manager) is None
    for nobody in (principal(member), principal(leads), robot):
        assert await outcome(requires_admin, nobody) is AdminRequired
    assert await outcome(requires_team_admin, principal(leads), team_id=team) is None
    assert await outcome(requires_team_admin, principal(leads), team_id=other) is TeamAdminRequired
    assert await outcome(requires_team_admin, principal(leads), team_id=str(team)) is TeamAdminRequired
    assert await outcome(requires_team_admin, principal(leads)) is TeamAdminRequired
    assert await outcome(requires_team_admin, principal(member), team_id=team) is TeamAdminRequired
    assert await outcome(requires_team_admin, manager, team_id=team) is None
    assert await outcome(requires_team_admin, robot, team_id=team) is TeamAdminRequired


async def test_a_users_scopes_never_manage() -> None:
    """C-09: `idp:…` is honoured only on service credentials; a user's rights come from roles."""
    schemer = principal(user(), scopes=("idp:manage",))
    assert await outcome(requires_admin, schemer) is AdminRequired
    assert await outcome(requires_team_admin, schemer, team_id=uuid4()) is TeamAdminRequired


# --- C-06b: a shared-secret token never manages ----------------------------------------------------------------------


@pytest.fixture(scope="module")
async def admin(managed: Service) -> Person:
    person = await managed.register_admin()
    assert jwt.get_unverified_header(person.token)["alg"] == "HS256", "this deployment signs with the shared secret"
    return person


async def asymmetric(service: Service, person: Person) -> dict[str, str]:
    about = TokenUser(id=person.id, email=person.email, email_verified=False)
    return {"Authorization": f"Bearer {(await service.app.core.tokens.issue_asymmetric(about)).token}"}


READ_AFTER_LOGIN = {
    (method, f"/api/auth/admin/{path}")
    for method in ("GET", "HEAD")
    for path in ("users", "users/{user_id:str}", "users/{user_id:str}/api-keys", "audit")
}  # decision 0032


async def test_a_shared_secret_token_of_an_admin_manages_nothing(managed: Service, admin: Person) -> None:
    """C-06b: walked over every route that needs an admin; the same admin with an ES256 token is let through."""
    managing = [line for line in restricted(managed) if line.policy in {"admin", "team admin"}]
    assert len(managing) > 15
    good = await asymmetric(managed, admin)
    for line in managing:
        answer = await call(managed, line, **admin.bearer)
        if (line.method, line.path) in READ_AFTER_LOGIN:
            assert answer.status_code not in {401, 403}, f"{line.method} {line.path}: {answer.text}"
        else:
            assert code(answer) == (403, "shared_secret_token"), f"{line.method} {line.path}: {answer.text}"
        answer = await call(managed, line, **good)
        assert answer.status_code not in {401, 403}, f"{line.method} {line.path}: {answer.text}"


async def test_a_shared_secret_token_reads_what_its_user_may_read(managed: Service, admin: Person) -> None:
    """C-06b: it is refused for managing, not for being what it is."""
    for path in ("/auth/me", "/teams", "/teams/all", "/domains", "/domains/all"):
        assert (await managed.client.get(path, headers=admin.bearer)).status_code == 200
    verdict = await managed.validate(admin.token)
    assert (verdict["valid"], verdict["user"]["roles"]) == (True, ["admin", "user"])


async def test_a_shared_secret_token_of_a_team_admin_does_not_manage_the_team(managed: Service) -> None:
    """C-06b."""
    person = await managed.register()
    (team,) = (await managed.client.get("/teams", headers=person.bearer)).json()
    await managed.sql("UPDATE idp.team_memberships SET role = 'admin' WHERE user_id = $1", person.id)
    path, change = f"/teams/{team['id']}", {"external_ref": "changed"}
    refused = await managed.client.patch(path, headers=person.bearer, json=change)
    assert code(refused) == (403, "shared_secret_token")
    allowed = await managed.client.patch(path, headers=await asymmetric(managed, person), json=change)
    assert allowed.status_code == 200


async def test_a_shared_secret_token_of_anyone_else_learns_nothing_about_secrets(managed: Service) -> None:
    """C-06b: who could not manage anyway is told only that."""
    person = await managed.register()
    refused = await managed.client.post("/teams", headers=person.bearer, json={"name": "Mine"})
    assert code(refused) == (403, "admin_required")
    assert await outcome(requires_admin, principal(user(roles=("admin",)), shared_secret=True)) is SharedSecretToken
