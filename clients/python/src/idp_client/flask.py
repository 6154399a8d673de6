"""Flask: `init_app(app, gate)`, and on a view `@requires_scopes("read")` or `@requires_roles("admin")`."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from flask import Flask, Response, current_app, request

from idp_client.caller import Caller
from idp_client.errors import AuthError
from idp_client.problem import headers_of, problem
from idp_client.sync_gate import SyncGate
from idp_client.wsgi import WsgiAuthMiddleware, authentication_of

__all__ = ["current_caller", "init_app", "optional_caller", "requires_roles", "requires_scopes"]

P = ParamSpec("P")
R = TypeVar("R")


def init_app(app: Flask, gate: SyncGate) -> None:
    """Put the middleware in front of an application, and answer its refusals.

    Args:
        app: the application.
        gate: decides; close it where the process ends.
    """
    app.wsgi_app = WsgiAuthMiddleware(app.wsgi_app, gate)  # type: ignore[method-assign]
    app.register_error_handler(AuthError, _answer)


def current_caller() -> Caller:
    """Return who makes the present request.

    Raises:
        AuthError: no credential, or a bad one; the application answers it.
    """
    return authentication_of(request.environ).require()


def optional_caller() -> Caller | None:
    """Return who makes the present request, None where it carries no credential.

    Raises:
        AuthError: it carries a bad one.
    """
    return authentication_of(request.environ).caller()


def requires_scopes(*required_scopes: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let only callers use a view who hold all of these scopes; none means that any caller may."""
    return _requires(required_scopes, ())


def requires_roles(*required_roles: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let only users use a view who have all of these roles, such as `admin`."""
    return _requires((), required_roles)


def _requires(scopes: tuple[str, ...], roles: tuple[str, ...]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            authentication_of(request.environ).require(scopes, required_roles=roles)
            answer: R = current_app.ensure_sync(view)(*args, **kwargs)  # an `async def` view runs as Flask runs it
            return answer

        return guarded

    return decorate


def _answer(error: Any) -> Response:
    body = problem(error)
    return Response(body, error.status, headers_of(error, body))
