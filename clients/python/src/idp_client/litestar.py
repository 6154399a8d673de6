"""Litestar: `plugins=[IdpPlugin(gate)]`, and on a route `guards=[requires_scopes("read")]`."""

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request, Response
from litestar.config.app import AppConfig
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.handlers import BaseRouteHandler
from litestar.middleware import DefineMiddleware
from litestar.plugins import InitPlugin

from idp_client.asgi import AuthMiddleware, authentication_of
from idp_client.caller import Caller
from idp_client.errors import AuthError
from idp_client.gate import Gate
from idp_client.problem import MEDIA_TYPE, problem

__all__ = ["IdpPlugin", "requires_roles", "requires_scopes"]

Connection = ASGIConnection[Any, Any, Any, Any]


class IdpPlugin(InitPlugin):
    """Adds the middleware, the exception handler, and the dependency `caller: NamedDependency[Caller]`.

    Args:
        gate: verifies credentials; closed with the application.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        app_config.middleware = [DefineMiddleware(AuthMiddleware, gate=self._gate), *app_config.middleware]
        app_config.exception_handlers = {AuthError: _answer, **app_config.exception_handlers}
        app_config.dependencies = {"caller": Provide(_caller), **app_config.dependencies}
        app_config.on_shutdown = [*app_config.on_shutdown, self._gate.close]
        return app_config


def requires_scopes(*required_scopes: str) -> Callable[[Connection, BaseRouteHandler], Awaitable[None]]:
    """Return a guard that requires all of these scopes.

    Args:
        required_scopes: empty for any authenticated caller.
    """

    async def guard(connection: Connection, _handler: BaseRouteHandler) -> None:
        await authentication_of(connection.scope).require(required_scopes)

    return guard


def requires_roles(*required_roles: str) -> Callable[[Connection, BaseRouteHandler], Awaitable[None]]:
    """Return a guard that requires a user with all of these roles, such as `admin`."""

    async def guard(connection: Connection, _handler: BaseRouteHandler) -> None:
        await authentication_of(connection.scope).require(required_roles=required_roles)

    return guard


async def _caller(request: Request[Any, Any, Any]) -> Caller:
    """Provide the caller; without a guard on the route, any authenticated caller is allowed."""
    return await authentication_of(request.scope).require()


def _answer(_request: Request[Any, Any, Any], error: AuthError) -> Response[bytes]:
    headers = {"Cache-Control": "no-store", **error.headers}
    return Response(problem(error), status_code=error.status, headers=headers, media_type=MEDIA_TYPE)
