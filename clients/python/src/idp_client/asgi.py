"""ASGI 3.0 middleware: puts the authentication into the scope and answers errors with problem documents."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from idp_client.errors import AuthError
from idp_client.gate import Authentication, Gate
from idp_client.middleware import KEY, GuardedApp, find_decision
from idp_client.problem import headers_of, problem

# Frameworks define their own types for these.
Scope: TypeAlias = Any
Receive: TypeAlias = Any
Send: TypeAlias = Any
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_POLICY_VIOLATION = 1008  # RFC 6455 section 7.4.1
_TRY_AGAIN_LATER = 1013


class AuthMiddleware(GuardedApp[App, Gate]):
    """Authenticates the requests of an ASGI application.

    Args:
        app: the application.
        gate: verifies credentials.
        required_scopes: if given, even if empty, every request needs a caller with all of these scopes. If not given,
            each route states its own requirements.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        authentication = scope[KEY] = Authentication(self._gate, scope["headers"], scope["path"])
        started = False

        async def send_and_note(message: Any) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            if self._required is not None:
                await authentication.require(self._required)
            await self.app(scope, receive, send_and_note)
        except AuthError as error:
            if started:  # the response has been started
                raise
            await _refuse(error, scope, send)


def authentication_of(scope: Mapping[str, Any]) -> Authentication:
    """Return the authentication of a request.

    Raises:
        RuntimeError: AuthMiddleware is not in front of this route.
    """
    authentication: Authentication = find_decision(scope, "idp_client.AuthMiddleware")
    return authentication


async def _refuse(error: AuthError, scope: Scope, send: Send) -> None:
    prefix = "http"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            code = _TRY_AGAIN_LATER if error.status == 503 else _POLICY_VIOLATION
            await send({"type": "websocket.close", "code": code, "reason": error.code})
            return
        prefix = "websocket.http"
    body = problem(error)
    await send(
        {
            "type": f"{prefix}.response.start",
            "status": error.status,
            "headers": [(name.lower().encode(), text.encode()) for name, text in headers_of(error, body).items()],
        }
    )
    await send({"type": f"{prefix}.response.body", "body": body})
