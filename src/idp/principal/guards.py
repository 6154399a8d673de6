"""Policies that a route declares: who may call it (`guards`), with which credentials (`opt=accepts(…)`), or anyone.

A route without a policy does not start (`check_policies`), so that nothing is open by forgetting (rule 6).
"""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from uuid import UUID

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler

from idp import clock
from idp.errors import (
    AdminRequired,
    CredentialNotAccepted,
    FreshLoginRequired,
    IntrospectScopeRequired,
    NotAUser,
    SharedSecretToken,
    TeamAdminRequired,
)
from idp.principal.model import AuthMethod, Principal
from idp.principal.permissions import ADMIN, IDP_INTROSPECT, IDP_MANAGE

Connection = ASGIConnection[Any, Any, Any, Any]
# Asynchronous, because the framework sends synchronous guards through a thread.
Guard = Callable[[Connection, BaseRouteHandler], Awaitable[None]]

# What a person signs in with; a route accepts these unless it says otherwise (C-29).
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
_CONFIRMED = "is_confirmed"  # in a handler's `opt`, worked out once
MACHINES = frozenset({AuthMethod.API_KEY, AuthMethod.SERVICE_TOKEN})


def public() -> dict[str, Any]:
    """Declare, in a handler's `opt`, that anyone may call it: no credential is looked at."""
    return {"public": True}


def decided_by_handler(policy: str) -> dict[str, Any]:
    """Declare, in a handler's `opt`, that the handler looks at the caller itself, with what the body holds.

    Args:
        policy: who may call it, for `idp routes`.
    """
    return {"decided_by_handler": policy}


def decides_only() -> dict[str, Any]:
    """Declare, in a handler's `opt`, that a route changes nothing although its method is POST (S2-38)."""
    return {"decides_only": True}


def accepts_shared_secret() -> dict[str, Any]:
    """Declare, in a handler's `opt`, that a shared-secret token may do this for its owner while its session lives.

    Elsewhere such a token changes nothing: whoever holds the secret can make one for every session they have seen, so
    nothing may come of it that outlives the session (C-06b).
    """
    return {"accepts_shared_secret": True}


def read_by_shared_secret_admins() -> dict[str, Any]:
    """Declare, in a handler's `opt`, that an administrator may read this with a shared-secret token, right after login.

    The old service's administrators have no other token. Whoever holds the secret can make one for every session they
    have seen, so only reading is open, only while the session's password was typed a moment ago, and never what tells
    of other sessions (decision 0032).
    """
    return {"read_by_shared_secret_admins": True}


def accepts(*methods: AuthMethod) -> dict[str, Any]:
    """Declare, in a handler's `opt`, further kinds of credential beside those of a person."""
    return {"accepts": INTERACTIVE | set(methods)}


def accepted_by(handler: BaseRouteHandler) -> frozenset[AuthMethod]:
    """Return the kinds of credential that a route accepts."""
    return frozenset(handler.opt.get("accepts", INTERACTIVE))


def is_public(handler: BaseRouteHandler) -> bool:
    """Whether nobody is authenticated before the handler runs."""
    return handler.opt.get("public") is True or "decided_by_handler" in handler.opt


def _policy(name: str, *, manages: bool = False) -> Callable[[Guard], Guard]:
    def mark(guard: Guard) -> Guard:
        guard.policy = name  # type: ignore[attr-defined]
        guard.manages = manages  # type: ignore[attr-defined]
        return guard

    return mark


def check_accepted(principal: Principal, handler: BaseRouteHandler) -> None:
    """Refuse a credential of a kind that this route does not accept.

    Raises:
        CredentialNotAccepted: with the kind in the text.
    """
    method = principal.credential.method
    if method not in accepted_by(handler):
        raise CredentialNotAccepted(f"This route does not accept a credential of the kind {method}.")


def check_change(principal: Principal, handler: BaseRouteHandler) -> None:
    """Refuse a shared-secret token where something is changed, unless the route accepts it with its session (C-06b).

    Raises:
        SharedSecretToken: the route is no mere reading.
    """
    credential = principal.credential
    if not credential.shared_secret or not _may_change(handler):
        return
    if credential.session_id is None or not handler.opt.get("accepts_shared_secret"):
        raise SharedSecretToken


def changes_or_manages(handler: BaseRouteHandler) -> bool:
    """Whether a route changes something, or shows what only who manages may see."""
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
    """Allow any authenticated caller, person or service."""
    check_accepted(connection.user, handler)
    check_change(connection.user, handler)


@_policy("user")
async def requires_user(connection: Connection, handler: BaseRouteHandler) -> None:
    """Allow any person."""
    if connection.user.user is None:
        raise NotAUser
    check_accepted(connection.user, handler)
    check_change(connection.user, handler)


@_policy("fresh login")
async def requires_fresh_login(connection: Connection, _handler: BaseRouteHandler) -> None:
    """Allow only who proved a moment ago who they are (C-33; RFC 9470). Stands after `requires_user`."""
    _check_fresh(connection)


@_policy("fresh login if required")
async def requires_fresh_login_for_keys(connection: Connection, _handler: BaseRouteHandler) -> None:
    """The same for keys, where the setting asks for it: off by default, since Clerk's clients cannot step up (C-33)."""
    if connection.app.state.fresh_login_for_keys:
        _check_fresh(connection)


def _check_fresh(connection: Connection) -> None:
    limit = connection.app.state.fresh_login_seconds
    auth_time = connection.user.credential.auth_time
    if auth_time is None or (clock.now() - auth_time).total_seconds() > limit:
        challenge = f'Bearer error="insufficient_user_authentication", max_age={limit}'
        raise FreshLoginRequired(headers={"WWW-Authenticate": challenge})


@_policy("admin", manages=True)
async def requires_admin(connection: Connection, handler: BaseRouteHandler) -> None:
    """Allow users with the role `admin`, and management credentials (C-09)."""
    check_accepted(connection.user, handler)
    if handler.opt.get("read_by_shared_secret_admins") and _reads_after_login(connection):
        return
    if not _manages(connection.user):
        raise AdminRequired


@_policy("team admin", manages=True)
async def requires_team_admin(connection: Connection, handler: BaseRouteHandler) -> None:
    """Allow whoever `requires_admin` allows, and the admins of the team that the path names."""
    check_accepted(connection.user, handler)
    principal: Principal = connection.user
    if _manages(principal):
        return
    team = connection.path_params.get("team_id")
    user = principal.user
    if user is None or not isinstance(team, UUID) or not user.administers(team):
        raise TeamAdminRequired


@_policy("scope idp:introspect", manages=True)
async def requires_introspect_scope(connection: Connection, handler: BaseRouteHandler) -> None:
    """Allow service tokens with the scope `idp:introspect` (SEC-57)."""
    check_accepted(connection.user, handler)
    principal: Principal = connection.user
    if principal.user is not None or IDP_INTROSPECT not in principal.credential.scopes:
        raise IntrospectScopeRequired


def _reads_after_login(connection: Connection) -> bool:
    """Whether an administrator reads with a shared-secret token of a session that a password has just begun.

    Raises:
        FreshLoginRequired: the password was typed too long ago.
    """
    user, credential = connection.user.user, connection.user.credential
    is_admin = user is not None and ADMIN in user.roles  # as the database says, whatever the token does
    if not credential.shared_secret or not is_admin or connection.scope.get("method") not in {"GET", "HEAD"}:
        return False
    if credential.session_id is None or "pwd" not in credential.amr:
        return False
    _check_fresh(connection)
    return True


def _manages(principal: Principal) -> bool:
    user = principal.user
    if user is None:
        return IDP_MANAGE in principal.credential.scopes
    if principal.credential.shared_secret and (ADMIN in user.roles or any(t.role == ADMIN for t in user.teams)):
        raise SharedSecretToken  # says why an admin is refused; nobody else learns anything
    return ADMIN in user.roles


class RoutePolicy(NamedTuple):
    """One line of `idp routes`."""

    method: str
    path: str
    policy: str | None
    accepts: frozenset[AuthMethod]
    operation: str


def policies(app: Litestar) -> list[RoutePolicy]:
    """Return every route with its policy, None where it declares none."""
    lines = []
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            methods = sorted(handler.http_methods) if isinstance(handler, HTTPRouteHandler) else ["*"]
            lines += [_line(method, route.path, handler) for method in methods if method != "OPTIONS"]
    return sorted(lines, key=lambda line: (line.path, line.method))


def _line(method: str, path: str, handler: BaseRouteHandler) -> RoutePolicy:
    names = [name for guard in handler.resolve_guards() if (name := getattr(guard, "policy", None))]
    by_handler = handler.opt.get("decided_by_handler")
    policy = by_handler or ("public" if is_public(handler) else ", ".join(names) or None)
    methods = frozenset() if is_public(handler) and not by_handler else accepted_by(handler)
    if "user" in names:  # a service is answered 403 `not_a_user` there, whichever credential it has
        methods -= {AuthMethod.SERVICE_TOKEN, AuthMethod.ADMIN_TOKEN}
    return RoutePolicy(method, path, policy, methods, handler.handler_name)


def check_policies(app: Litestar) -> None:
    """Refuse to start with a route that says nothing about who may call it.

    Raises:
        RuntimeError: naming the routes.
    """
    open_routes = [f"{line.method} {line.path}" for line in policies(app) if line.policy is None]
    if open_routes:
        raise RuntimeError(f"routes without a policy: {', '.join(open_routes)}; give each a guard or opt=public()")
