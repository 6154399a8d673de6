"""Route policies: guards, accepted credentials (`opt=accepts(…)`), or public.

The start fails for a route without a policy (`check_policies`), so that no route is open by mistake (rule 6).
"""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from uuid import UUID

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler

from idp import clock
from idp.checks import holds
from idp.errors import (
    AdminRequired,
    CredentialNotAccepted,
    EventsScopeRequired,
    FreshLoginRequired,
    IntrospectScopeRequired,
    NotAUser,
    SharedSecretToken,
    SupportSession,
    TeamAdminRequired,
    TokenInvalid,
)
from idp.principal.model import MULTI_FACTOR, TWO_FACTORS, AuthMethod, Principal
from idp.principal.permissions import ADMIN, IDP_EVENTS, IDP_INTROSPECT, IDP_MANAGE

Connection = ASGIConnection[Any, Any, Any, Any]
# Asynchronous, because the framework runs synchronous guards in a thread.
Guard = Callable[[Connection, BaseRouteHandler], Awaitable[None]]

# Credentials of users; accepted by default (C-29).
INTERACTIVE = frozenset(
    {
        AuthMethod.LOCAL_JWT,
        AuthMethod.SESSION_COOKIE,
        AuthMethod.UPSTREAM_OIDC,
        AuthMethod.CLERK_JWT,
        AuthMethod.DEV_HEADERS,
        AuthMethod.PLUGIN,
    }
)
_CONFIRMED = "is_confirmed"  # key in a handler's `opt`, computed once
MACHINES = frozenset({AuthMethod.API_KEY, AuthMethod.SERVICE_TOKEN, AuthMethod.CLIENT})
# Credentials with which others act for a user or for themselves; some routes let them read.
DELEGATED = MACHINES | {AuthMethod.OAUTH_TOKEN}


def public() -> dict[str, Any]:
    """Handler option: anyone may call the route; credentials are ignored."""
    return {"public": True}


def decided_by_handler(policy: str) -> dict[str, Any]:
    """Handler option: the handler authenticates the caller itself, using the body.

    Args:
        policy: description for `idp routes`.
    """
    return {"decided_by_handler": policy}


def from_any_origin() -> dict[str, Any]:
    """Handler option: pages of other origins may send it too; the handler needs no cookie, or checks the origin."""
    return {"form": True}


def decides_only() -> dict[str, Any]:
    """Handler option: the route changes nothing although its method is POST (S2-38)."""
    return {"decides_only": True}


def accepts_shared_secret() -> dict[str, Any]:
    """Handler option: a shared-secret token may call the route while its session is active.

    Other routes refuse changes with such a token: a holder of the secret can forge one for every session id they know,
    so it must have no effect beyond the session (C-06b).
    """
    return {"accepts_shared_secret": True}


def accepts_support() -> dict[str, Any]:
    """Handler option: an administrator who acts as the user for support may call the route, such as signing out."""
    return {"accepts_support": True}


def read_by_shared_secret_admins() -> dict[str, Any]:
    """Handler option: an administrator may read this with a shared-secret token, shortly after login.

    The old service's administrators have no other token. A holder of the secret can forge one for every session id they
    know, so it allows only reading, only shortly after a sign-in with the password, and never data about other sessions
    (decision 0032).
    """
    return {"read_by_shared_secret_admins": True}


def accepts(*methods: AuthMethod) -> dict[str, Any]:
    """Handler option: accept these kinds of credentials in addition to those of users."""
    return {"accepts": INTERACTIVE | set(methods)}


def accepted_by(handler: BaseRouteHandler) -> frozenset[AuthMethod]:
    """Return the credential kinds that a route accepts."""
    return frozenset(handler.opt.get("accepts", INTERACTIVE))


def is_public(handler: BaseRouteHandler) -> bool:
    """Whether the route skips authentication before the handler."""
    return handler.opt.get("public") is True or "decided_by_handler" in handler.opt


def _policy(name: str, *, manages: bool = False) -> Callable[[Guard], Guard]:
    def mark(guard: Guard) -> Guard:
        guard.policy = name  # type: ignore[attr-defined]
        guard.manages = manages  # type: ignore[attr-defined]
        return guard

    return mark


def check_accepted(principal: Principal, handler: BaseRouteHandler) -> None:
    """Refuse a credential kind that this route does not accept.

    Raises:
        CredentialNotAccepted: names the kind.
    """
    method = principal.credential.method
    accepted = accepted_by(handler)
    if not holds(method in accepted, "credential", method, accepted):
        raise CredentialNotAccepted(f"This route does not accept credentials of type {method}.")
    check_audience(principal)


def check_audience(principal: Principal) -> None:
    """Refuse an access token that is for other resources only (SEC-24, SEC-33).

    Raises:
        TokenInvalid: names the resources.
    """
    audience = principal.credential.audience
    if not holds(not audience, "aud", audience or "this service", "this service"):
        raise TokenInvalid(f"This token is for {', '.join(audience)}.")


def check_change(principal: Principal, handler: BaseRouteHandler) -> None:
    """Refuse a change in a session of support, or with a shared-secret token, unless the route accepts it (C-06b).

    Raises:
        SupportSession: an administrator acts as the user.
        SharedSecretToken: the route changes data.
    """
    credential = principal.credential
    if credential.is_for_support and _may_change(handler) and not handler.opt.get("accepts_support"):
        check_not_for_support(principal)
    if not credential.shared_secret or not _may_change(handler):
        return
    is_accepted = credential.session_id is not None and bool(handler.opt.get("accepts_shared_secret"))
    if not holds(
        is_accepted, "change with a shared-secret token", "accepted" if is_accepted else "refused", "accepted"
    ):
        raise SharedSecretToken


def check_not_for_support(principal: Principal) -> None:
    """Refuse a change, or administration, by an administrator who acts as the user for support.

    Raises:
        SupportSession: the session is one of support.
    """
    if principal.credential.is_for_support:
        holds(False, "acts in this session", "an administrator", "the user")
        raise SupportSession


def changes_or_manages(handler: BaseRouteHandler) -> bool:
    """Whether a route changes data or requires management rights."""
    known = handler.opt.get(_CONFIRMED)
    if known is None:
        managing = any(getattr(guard, "manages", False) for guard in handler.resolve_guards())
        known = handler.opt[_CONFIRMED] = managing or _may_change(handler)
    return bool(known)


def _may_change(handler: BaseRouteHandler) -> bool:
    methods = set(getattr(handler, "http_methods", ()))
    return bool(methods - {"GET", "HEAD", "OPTIONS"}) and not handler.opt.get("decides_only")


@_policy("any principal")
async def requires_principal(connection: Connection, handler: BaseRouteHandler) -> None:
    """Allow any authenticated caller, user or service."""
    check_accepted(connection.user, handler)
    check_change(connection.user, handler)


@_policy("user")
async def requires_user(connection: Connection, handler: BaseRouteHandler) -> None:
    """Allow any user."""
    is_user = connection.user.user is not None
    if not holds(is_user, "caller", "user" if is_user else "service", "user"):
        raise NotAUser
    check_accepted(connection.user, handler)
    check_change(connection.user, handler)


@_policy("fresh login")
async def requires_fresh_login(connection: Connection, _handler: BaseRouteHandler) -> None:
    """Require a recent sign-in, with a second factor if there is one (C-33; RFC 9470). Use after `requires_user`."""
    await _check_fresh(connection)


@_policy("fresh login if required")
async def requires_fresh_login_for_keys(connection: Connection, _handler: BaseRouteHandler) -> None:
    """The same for keys, if configured: off by default, because Clerk's clients cannot step up (C-33)."""
    if connection.app.state.fresh_login_for_keys:
        await _check_fresh(connection)


async def _check_fresh(connection: Connection) -> None:
    state = connection.app.state
    await check_fresh(connection.user, seconds=state.fresh_login_seconds, has_second_factor=state.has_second_factor)


async def check_fresh(
    principal: Principal, *, seconds: int, has_second_factor: Callable[[str], Awaitable[bool]]
) -> None:
    """Refuse a caller whose sign-in is too old, or had one factor although the user has a second (C-33, RFC 9470).

    Args:
        principal: the caller.
        seconds: the maximum age of the sign-in.
        has_second_factor: whether a user has one, by id.

    Raises:
        FreshLoginRequired: its challenge says what is missing.
        SupportSession: an administrator acts as the user.
    """
    check_not_for_support(principal)
    auth_time = principal.credential.auth_time
    is_fresh = auth_time is not None and (clock.now() - auth_time).total_seconds() <= seconds
    challenge = f'Bearer error="insufficient_user_authentication", max_age={seconds}'
    if not holds(is_fresh, "signed in at", auth_time or "unknown", f"at most {seconds} s ago"):
        raise FreshLoginRequired(headers={"WWW-Authenticate": challenge})
    if principal.user is None or is_strong(principal) or not await has_second_factor(principal.user.id):
        return
    holds(False, "acr", principal.credential.acr or "unknown", TWO_FACTORS)
    raise FreshLoginRequired(
        "This action requires a sign-in with your second factor.",
        headers={"WWW-Authenticate": f'{challenge}, acr_values="{TWO_FACTORS}"'},
    )


def is_strong(principal: Principal) -> bool:
    """Whether the sign-in had two factors, here or at the issuer of a foreign token."""
    return principal.credential.acr == TWO_FACTORS or MULTI_FACTOR in principal.credential.amr


@_policy("admin", manages=True)
async def requires_admin(connection: Connection, handler: BaseRouteHandler) -> None:
    """Allow users with the role `admin`, and management credentials (C-09)."""
    check_accepted(connection.user, handler)
    if handler.opt.get("read_by_shared_secret_admins") and await _is_recent_admin_read(connection):
        return
    check_manages(connection.user)


@_policy("team admin", manages=True)
async def requires_team_admin(connection: Connection, handler: BaseRouteHandler) -> None:
    """Allow the callers of `requires_admin`, and the admins of the team in the path."""
    check_accepted(connection.user, handler)
    principal: Principal = connection.user
    if _manages(principal):
        return
    team = connection.path_params.get("team_id")
    user = principal.user
    is_admin = user is not None and isinstance(team, UUID) and user.administers(team)
    if not holds(is_admin, "role in this team", "admin" if is_admin else "not admin", ADMIN):
        raise TeamAdminRequired


def check_introspects(principal: Principal) -> None:
    """Refuse a caller other than a service token with the scope `idp:introspect` (SEC-57).

    Raises:
        IntrospectScopeRequired: it has another scope, or is a user.
    """
    may_introspect = principal.user is None and IDP_INTROSPECT in principal.credential.scopes
    if not holds(may_introspect, "scope of a service token", principal.credential.scopes, IDP_INTROSPECT):
        raise IntrospectScopeRequired


@_policy("admin or scope idp:events", manages=True)
async def requires_events_scope(connection: Connection, handler: BaseRouteHandler) -> None:
    """Allow the callers of `requires_admin`, and service tokens with the scope `idp:events`."""
    check_accepted(connection.user, handler)
    check_reads_events(connection.user)


def check_reads_events(principal: Principal) -> None:
    """Refuse a caller who may not read the events of everyone.

    Raises:
        EventsScopeRequired: neither an administrator nor a service token with `idp:events`.
        SharedSecretToken: an administrator's token is signed with a shared secret.
    """
    reads = principal.user is None and IDP_EVENTS in principal.credential.scopes
    if holds(reads, "scope of a service token", principal.credential.scopes, IDP_EVENTS) or _manages(principal):
        return
    raise EventsScopeRequired


async def _is_recent_admin_read(connection: Connection) -> bool:
    """Whether an administrator reads with a shared-secret token shortly after a sign-in with the password.

    Raises:
        FreshLoginRequired: the sign-in is too old.
    """
    user, credential = connection.user.user, connection.user.credential
    is_admin = user is not None and ADMIN in user.roles  # from the database, not from the token
    if not credential.shared_secret or not is_admin or connection.scope.get("method") not in {"GET", "HEAD"}:
        return False
    if credential.session_id is None or "pwd" not in credential.amr:
        return False
    await _check_fresh(connection)
    return True


def check_manages(principal: Principal) -> None:
    """Refuse a caller without management rights (C-09).

    Raises:
        AdminRequired: neither the role `admin` nor the scope `idp:manage`.
        SharedSecretToken: an administrator's token is signed with a shared secret.
    """
    if not _manages(principal):
        raise AdminRequired


def _manages(principal: Principal) -> bool:
    check_not_for_support(principal)
    user = principal.user
    if user is None:
        scopes = principal.credential.scopes
        return holds(IDP_MANAGE in scopes, "scope of a service", scopes, IDP_MANAGE)
    if principal.credential.shared_secret and (ADMIN in user.roles or any(t.role == ADMIN for t in user.teams)):
        holds(False, "signature", "with a shared secret", "with the key ring")
        raise SharedSecretToken  # explains the refusal to administrators only
    return holds(ADMIN in user.roles, "role", user.roles, ADMIN)


class RoutePolicy(NamedTuple):
    """A line of `idp routes`."""

    method: str
    path: str
    policy: str | None
    accepts: frozenset[AuthMethod]
    operation: str


def policies(app: Litestar) -> list[RoutePolicy]:
    """Return every route with its policy, None if it declares none."""
    lines = []
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            methods = sorted(handler.http_methods) if isinstance(handler, HTTPRouteHandler) else ["*"]
            lines += [_line(method, route.path, handler) for method in methods if method != "OPTIONS"]
    return sorted(lines, key=lambda line: (line.path, line.method))


def policy_of(method: str, path: str, handler: BaseRouteHandler) -> RoutePolicy:
    """Return the policy of a route: its method, path template and handler."""
    return _line(method, path, handler)


def _line(method: str, path: str, handler: BaseRouteHandler) -> RoutePolicy:
    names = [name for guard in handler.resolve_guards() if (name := getattr(guard, "policy", None))]
    by_handler = handler.opt.get("decided_by_handler")
    policy = by_handler or ("public" if is_public(handler) else ", ".join(names) or None)
    methods = frozenset() if is_public(handler) and not by_handler else accepted_by(handler)
    if "user" in names:  # services always get 403 `not_a_user` there
        methods -= {AuthMethod.SERVICE_TOKEN, AuthMethod.ADMIN_TOKEN}
    return RoutePolicy(method, path, policy, methods, handler.handler_name)


def check_policies(app: Litestar) -> None:
    """Refuse to start with a route without a policy.

    Raises:
        RuntimeError: naming the routes.
    """
    open_routes = [f"{line.method} {line.path}" for line in policies(app) if line.policy is None]
    if open_routes:
        raise RuntimeError(f"routes without a policy: {', '.join(open_routes)}; give each a guard or opt=public()")
