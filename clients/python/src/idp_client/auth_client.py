"""Verifies credentials online, with POST /auth/validate (S2-15 to S2-19, S2-41)."""

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import httpx2
import msgspec

from idp_client.credentials import is_plausible
from idp_client.errors import AuthUnavailable
from idp_client.token_info import IMPLAUSIBLE, TokenInfo

_PATH = "/auth/validate"
_MAX_NAME_LENGTH = 1000  # characters, the limit of the service; names are cut, because callers choose the path
# Shorter than the service's keep-alive timeout, so that it does not close a connection while it is being used.
_LIMITS = httpx2.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=4.0)
# Errors of a reused connection that the service has closed; the request is idempotent and sent again.
_STALE_CONNECTION = (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)


class _Endpoint:
    """Shared by both clients: builds the request and parses the response."""

    def __init__(self, auth_service_url: str, timeout: float = 5.0) -> None:
        self.auth_service_url = auth_service_url.rstrip("/")
        self.timeout = timeout

    def _request(self, token: str, required_scopes: Sequence[str] | None, names: Sequence[str | None]) -> Any:
        body = {
            "token": token,
            "required_scopes": list(required_scopes or ()),
            "service_name": names[0] and names[0][:_MAX_NAME_LENGTH],
            "action_name": names[1] and names[1][:_MAX_NAME_LENGTH],
        }
        return {
            "url": self.auth_service_url + _PATH,
            "content": msgspec.json.encode(body),
            "headers": {"Content-Type": "application/json"},
        }

    def _verdict(self, answer: httpx2.Response) -> TokenInfo:
        if answer.status_code != 200:  # S2-15: any other status is not a verdict
            text = answer.headers.get("Retry-After", "")
            seconds = int(text) if text.isdecimal() and len(text) < 5 else 1
            raise AuthUnavailable(f"{self.auth_service_url} answered {answer.status_code}", retry_after=seconds)
        try:
            return msgspec.json.decode(answer.content, type=TokenInfo)
        except (msgspec.MsgspecError, ValueError) as error:
            raise AuthUnavailable(f"{self.auth_service_url} returned an invalid verdict: {error}") from error

    def _unavailable(self, error: Exception) -> AuthUnavailable:
        return AuthUnavailable(f"{self.auth_service_url} is unreachable: {type(error).__name__}: {error}")


class AuthClient(_Endpoint):
    """Verifies credentials online, for asyncio. Keeps connections open: `close()` it, or use `async with`.

    Args:
        auth_service_url: such as http://auth-service:8000.
        timeout: seconds for a call in total.
    """

    def __init__(self, auth_service_url: str, timeout: float = 5.0) -> None:
        super().__init__(auth_service_url, timeout)
        self._http = httpx2.AsyncClient(timeout=timeout, limits=_LIMITS)

    async def validate_token(
        self,
        token: str,
        required_scopes: Sequence[str] | None = None,
        service_name: str | None = None,
        action_name: str | None = None,
    ) -> TokenInfo:
        """Return the verdict on a credential, valid or not.

        Args:
            token: an access token, an API key or a service token.
            required_scopes: the credential must have all of them.
            service_name: the calling service, for the log.
            action_name: the action, for the log.

        Raises:
            AuthUnavailable: no response in time, or a status other than 200.
        """
        if not is_plausible(token):
            return IMPLAUSIBLE
        request = self._request(token, required_scopes, (service_name, action_name))
        try:
            async with asyncio.timeout(self.timeout):
                try:
                    answer = await self._http.post(**request)
                except _STALE_CONNECTION:
                    answer = await self._http.post(**request)
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError) as error:
            raise self._unavailable(error) from error
        return self._verdict(answer)

    def require_scopes(self, required_scopes: Sequence[str] | None = None) -> Callable[..., Any]:
        """Return a FastAPI dependency that requires all of these scopes and returns the TokenInfo (S2-41).

        It raises FastAPI's `HTTPException`. Requires the extra `idp-client[fastapi]`.
        """
        from idp_client.fastapi_token_info import token_info_dependency

        return token_info_dependency(self.validate_token, tuple(required_scopes or ()))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class SyncAuthClient(_Endpoint):
    """Verifies credentials online, for threads. Keeps connections open: `close()` it, or use `with`.

    Args:
        auth_service_url: such as http://auth-service:8000.
        timeout: seconds for each step of a call: connecting, sending, and each wait for data.
    """

    def __init__(self, auth_service_url: str, timeout: float = 5.0) -> None:
        super().__init__(auth_service_url, timeout)
        self._http = httpx2.Client(timeout=timeout, limits=_LIMITS)

    def validate_token(
        self,
        token: str,
        required_scopes: Sequence[str] | None = None,
        service_name: str | None = None,
        action_name: str | None = None,
    ) -> TokenInfo:
        """Same as `AuthClient.validate_token`."""
        if not is_plausible(token):
            return IMPLAUSIBLE
        request = self._request(token, required_scopes, (service_name, action_name))
        try:
            try:
                answer = self._http.post(**request)
            except _STALE_CONNECTION:
                answer = self._http.post(**request)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise self._unavailable(error) from error
        return self._verdict(answer)

    def require_scopes(self, required_scopes: Sequence[str] | None = None) -> Callable[..., Any]:
        """Same as `AuthClient.require_scopes`; FastAPI runs the dependency in a thread."""
        from idp_client.fastapi_token_info import token_info_dependency_sync

        return token_info_dependency_sync(self.validate_token, tuple(required_scopes or ()))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
