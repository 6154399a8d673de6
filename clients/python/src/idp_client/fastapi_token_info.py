"""The FastAPI dependencies of `AuthClient.require_scopes` and `SyncAuthClient.require_scopes`, without middleware."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastapi import HTTPException
from fastapi.requests import HTTPConnection

from idp_client.credentials import find_token
from idp_client.errors import AuthError, NoCredential
from idp_client.token_info import TokenInfo, error_of


def token_info_dependency(
    validate_token: Callable[..., Awaitable[TokenInfo]], required_scopes: Sequence[str]
) -> Callable[..., Awaitable[TokenInfo]]:
    """Return a dependency that returns the verdict on a valid credential, and raises `HTTPException` otherwise.

    Args:
        validate_token: such as `AuthClient.validate_token`.
        required_scopes: empty for any valid credential.
    """

    async def dependency(connection: HTTPConnection) -> Any:
        with _as_http_exceptions():
            return _checked(await validate_token(*_arguments(connection, required_scopes)), required_scopes)

    return dependency


def token_info_dependency_sync(
    validate_token: Callable[..., TokenInfo], required_scopes: Sequence[str]
) -> Callable[..., TokenInfo]:
    """Same as `token_info_dependency`, for `SyncAuthClient.validate_token`; FastAPI runs it in a thread."""

    def dependency(connection: HTTPConnection) -> Any:
        with _as_http_exceptions():
            return _checked(validate_token(*_arguments(connection, required_scopes)), required_scopes)

    return dependency


def _arguments(connection: HTTPConnection, required_scopes: Sequence[str]) -> tuple[Any, ...]:
    token = find_token(connection.scope["headers"])
    if token is None:
        raise NoCredential
    return token, required_scopes, getattr(connection.app.state, "service_name", None), connection.url.path


def _checked(info: TokenInfo, required_scopes: Sequence[str]) -> TokenInfo:
    if not info.valid:
        raise error_of(info, required_scopes)
    return info


@contextmanager
def _as_http_exceptions() -> Iterator[None]:
    try:
        yield
    except AuthError as error:
        raise HTTPException(error.status, error.detail, error.headers) from error
