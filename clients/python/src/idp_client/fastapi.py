"""FastAPI: `app.add_middleware(AuthMiddleware, gate=gate)`, and on a route `Depends(requires_scopes("read"))`."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Security
from fastapi.requests import HTTPConnection
from fastapi.security import APIKeyHeader, HTTPBearer

from idp_client.asgi import AuthMiddleware, authentication_of
from idp_client.caller import Caller

__all__ = ["AuthMiddleware", "AuthenticatedCaller", "requires_roles", "requires_scopes"]

# Only for the Authorize button of the documentation; the middleware verifies the credential.
_DESCRIBED = [
    Security(HTTPBearer(auto_error=False, description="An access token, a service token or an API key.")),
    Security(APIKeyHeader(name="X-API-Key", auto_error=False)),
]


def requires_scopes(*required_scopes: str) -> Callable[..., Awaitable[Caller]]:
    """Return a dependency that requires all of these scopes and returns the caller.

        async def echo(caller: Annotated[Caller, Depends(requires_scopes("read"))]): ...

    Args:
        required_scopes: empty for any authenticated caller.
    """

    async def dependency(connection: HTTPConnection, _bearer: Any = _DESCRIBED[0], _key: Any = _DESCRIBED[1]) -> Caller:
        return await authentication_of(connection.scope).require(required_scopes)

    return dependency


def requires_roles(*required_roles: str) -> Callable[..., Awaitable[Caller]]:
    """Return a dependency that requires a user with all of these roles, such as `admin`, and returns the caller.

    async def report(caller: Annotated[Caller, Depends(requires_roles("admin"))]): ...
    """

    async def dependency(connection: HTTPConnection, _bearer: Any = _DESCRIBED[0], _key: Any = _DESCRIBED[1]) -> Caller:
        return await authentication_of(connection.scope).require(required_roles=required_roles)

    return dependency


AuthenticatedCaller = Annotated[Caller, Depends(requires_scopes())]
