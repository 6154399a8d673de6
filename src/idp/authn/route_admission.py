"""Whether a route would admit a caller: the checks of the middleware and the route's guards, without calling it."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.exceptions import MethodNotAllowedException, NotFoundException
from litestar.handlers import BaseRouteHandler

from idp import checks
from idp.authn.credential import Presented
from idp.authn.middleware import check_csrf, check_sender
from idp.checks import Trace
from idp.errors import IdpError, ValidationFailed
from idp.ops.allow import allowed
from idp.ops.paths import is_served
from idp.ops.problems import invalid
from idp.principal.guards import RoutePolicy, is_public, policy_of
from idp.principal.model import Principal
from idp.sessions.cookie import SessionCookies

_ROUTE = re.compile(r"(GET|POST|PUT|PATCH|DELETE) +(/[^\s?#]*)")


class Route(NamedTuple):
    """A method, a path, and the handler that serves them."""

    method: str
    path: str
    template: str
    handler: BaseRouteHandler
    path_params: Mapping[str, Any]

    @property
    def policy(self) -> RoutePolicy:
        """The route's policy, as `idp routes` lists it."""
        return policy_of(self.method, self.template, self.handler)


def find_route(app: Litestar, text: str) -> Route:
    """Return the route that serves a request such as `POST /teams`.

    Raises:
        ValidationFailed: it is not a method and a path, or nothing is served there.
    """
    match = _ROUTE.fullmatch(text.strip())
    if match is None:
        raise _bad("Send a method and a path, such as `POST /teams`.")
    method, path = match[1], match[2]
    if "{" in path:
        raise _bad(f"Replace {path[path.index('{') :].partition('/')[0]} in the path by a value.")
    try:
        _, handler, _, params, template = app.asgi_router.handle_routing(path, method)
        if is_served(path, path.encode()):
            return Route(method, path, template, handler, params)
    except MethodNotAllowedException as error:
        methods = allowed(each.strip() for each in (error.headers or {}).get("Allow", "").split(",") if each.strip())
        raise _bad(f"{path} does not answer to {method}; it answers to {methods}.") from None
    except NotFoundException:
        pass
    raise _bad(f"No route serves {path}; `idp routes` lists all.")


async def admit(
    route: Route, app: Litestar, cookies: SessionCookies, presented: Presented, principal: Principal
) -> None:
    """Run the checks of a restricted route, as the middleware and the framework do.

    Args:
        route: the route.
        app: the application, which the guards read.
        cookies: check CSRF tokens.
        presented: the request's credential and headers.
        principal: the caller.

    Raises:
        IdpError: the route refuses this caller.
    """
    check_csrf(cookies, principal, presented, route.method)
    scope = {
        "type": "http",
        "app": app,
        "litestar_app": app,
        "method": route.method,
        "path": route.path,
        "path_params": dict(route.path_params),
        "headers": [],
        "query_string": b"",
        "state": {},
        "user": principal,
        "route_handler": route.handler,
    }
    connection: ASGIConnection[Any, Any, Any, Any] = ASGIConnection(scope)  # type: ignore[arg-type]
    await route.handler.authorize_connection(connection)


async def refusal(
    route: Route,
    app: Litestar,
    cookies: SessionCookies,
    presented: Presented,
    principal: Principal | None,
    trace: Trace,
) -> IdpError | None:
    """Return the error with which a route refuses a caller, None if it admits them.

    Args:
        route: the route.
        app: the application.
        cookies: check origins and CSRF tokens.
        presented: the request's credential and headers.
        principal: the caller; None only for public routes.
        trace: records the checks.
    """
    trace.begin("route")
    with checks.recording(trace):
        try:
            if is_public(route.handler):
                check_sender(cookies, route.handler, route.method, presented.headers)
            else:
                assert principal is not None
                await admit(route, app, cookies, presented, principal)
        except IdpError as error:
            return error
    return None


def _bad(reason: str) -> ValidationFailed:
    return invalid(["body", "route"], reason)
