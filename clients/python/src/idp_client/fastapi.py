"""FastAPI: `app.add_middleware(AuthMiddleware, gate=gate)`, and on a route `Depends(requires_scopes("read"))`."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Security
from fastapi.requests import HTTPConnection
from fastapi.security import APIKeyHeader, HTTPBearer

from idp_client.asgi import AuthMiddleware, authentication_of
from idp_client.auth_client import AuthClient, SyncAuthClient
from idp_client.caller import Caller
from idp_client.credentials import find_token
from idp_client.errors import AuthError, NoCredential
from idp_client.token_info import TokenInfo, error_of

__all__ = ["AuthMiddleware", "AuthenticatedCaller", "requires_roles", "requires_scopes"]

# They only describe, for the Authorize button of the documentation; the middleware's gate decides.
_DESCRIBED = [
    Security(HTTPBearer(auto_error=False, description="An access token, a service token or an API key.")),
    Security(APIKeyHeader(name="X-API-Key", auto_error=False)),
]


def requires_scopes(*required_scopes: str) -> Callable[..., Awaitable[Caller]]:
    """Return a dependency: who is calling, if they hold all of these scopes; otherwise the middleware answers.

        async def echo(caller: Annotated[Caller, Depends(requires_scopes("read"))]): ...

    Args:
        required_scopes: none means that any caller may.
    """

    async def dependency(connection: HTTPConnection, _bearer: Any = _DESCRIBED[0], _key: Any = _DESCRIBED[1]) -> Caller:
        return await authentication_of(connection.scope).require(required_scopes)

    return dependency


def requires_roles(*required_roles: str) -> Callable[..., Awaitable[Caller]]:
    """Return a dependency: who is calling, if they are a user with all of these roles, such as `admin`.

    async def report(caller: Annotated[Caller, Depends(requires_roles("admin"))]): ...
    """

    async def dependency(connection: HTTPConnection, _bearer: Any = _DESCRIBED[0], _key: Any = _DESCRIBED[1]) -> Caller:
        return await authentication_of(connection.scope).require(required_roles=required_roles)

    return dependency


AuthenticatedCaller = Annotated[Caller, Depends(requires_scopes())]


def token_info_dependency(client: AuthClient, required: Sequence[str]) -> Callable[..., Awaitable[TokenInfo]]:
    """Return the dependency behind `AuthClient.require_scopes`; it needs no middleware."""

    async def dependency(connection: HTTPConnection) -> Any:
        try:
            info = await client.validate_token(_presented(connection), required, *_names(connection))
            return _checked(info, required)
        except AuthError as error:
            raise _http(error) from error

    return dependency


def token_info_dependency_sync(client: SyncAuthClient, required: Sequence[str]) -> Callable[..., TokenInfo]:
    """The same for `SyncAuthClient.require_scopes`."""

    def dependency(connection: HTTPConnection) -> Any:
        try:
            info = client.validate_token(_presented(connection), required, *_names(connection))
            return _checked(info, required)
        except AuthError as error:
            raise _http(error) from error

    return dependency


def _presented(connection: HTTPConnection) -> str:
    token = find_token(connection.scope["headers"])
    if token is None:
        raise NoCredential
    return token


def _names(connection: HTTPConnection) -> tuple[str | None, str]:
    return getattr(connection.app.state, "service_name", None), connection.url.path


def _checked(info: TokenInfo, required: Sequence[str]) -> TokenInfo:
    if not info.valid:
        raise error_of(info, required)
    return info


def _http(error: AuthError) -> HTTPException:
    return HTTPException(error.status, error.detail, error.headers)
