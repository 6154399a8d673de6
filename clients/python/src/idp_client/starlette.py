"""Starlette: `Middleware(AuthMiddleware, gate=gate)`, and on a route the decorator or `caller`."""

from collections.abc import Iterable

from starlette.requests import HTTPConnection

from idp_client.asgi import AuthMiddleware, authentication_of
from idp_client.caller import Caller
from idp_client.decorator import authenticated

__all__ = ["AuthMiddleware", "authenticated", "caller", "optional_caller"]


async def caller(connection: HTTPConnection, *required_scopes: str, roles: Iterable[str] = ()) -> Caller:
    """Return the caller, who must have all of these scopes and roles.

    Raises:
        AuthError: not authenticated or not authorized; the middleware answers it.
    """
    return await authentication_of(connection.scope).require(required_scopes, required_roles=roles)


async def optional_caller(connection: HTTPConnection) -> Caller | None:
    """Return the caller, None if the request has no credential.

    Raises:
        AuthError: the credential is invalid.
    """
    return await authentication_of(connection.scope).caller()
