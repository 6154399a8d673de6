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
    """Add the middleware to an application, and answer its errors.

    Args:
        app: the application.
        gate: verifies credentials; close it at the end of the process.
    """
    app.wsgi_app = WsgiAuthMiddleware(app.wsgi_app, gate)  # type: ignore[method-assign]
    app.register_error_handler(AuthError, _answer)


def current_caller() -> Caller:
    """Return the caller of the current request.

    Raises:
        AuthError: no credential, or an invalid one; the application answers it.
    """
    return authentication_of(request.environ).require()


def optional_caller() -> Caller | None:
    """Return the caller of the current request, None if it has no credential.

    Raises:
        AuthError: the credential is invalid.
    """
    return authentication_of(request.environ).caller()


def requires_scopes(*required_scopes: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Require all of these scopes for a view; without scopes, any authenticated caller is allowed."""
    return _requires(required_scopes, ())


def requires_roles(*required_roles: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Require a user with all of these roles, such as `admin`, for a view."""
    return _requires((), required_roles)


def _requires(scopes: tuple[str, ...], roles: tuple[str, ...]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            authentication_of(request.environ).require(scopes, required_roles=roles)
            answer: R = current_app.ensure_sync(view)(*args, **kwargs)  # for `async def` views
            return answer

        return guarded

    return decorate


def _answer(error: Any) -> Response:
    body = problem(error)
    return Response(body, error.status, headers_of(error, body))
