"""Shared by the ASGI and the WSGI middleware."""

from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from idp_client.gate import Gate
from idp_client.sync_gate import SyncGate

App = TypeVar("App")
AnyGate = TypeVar("AnyGate", bound=Gate | SyncGate)

KEY = "idp_client.authentication"  # in the ASGI scope, and in the WSGI environ


class GuardedApp(Generic[App, AnyGate]):
    """An application with authentication. See `AuthMiddleware` for the arguments."""

    def __init__(self, app: App, gate: AnyGate, required_scopes: Iterable[str] | None = None) -> None:
        self.app = app
        self._gate = gate
        self._required = None if required_scopes is None else tuple(required_scopes)


def find_decision(request: Mapping[str, Any], middleware: str) -> Any:
    """Return the authentication that the middleware put into the scope or environ of a request.

    Raises:
        RuntimeError: the middleware is not in front of this application.
    """
    decision = request.get(KEY)
    if decision is None:
        raise RuntimeError(f"requests are not authenticated: add {middleware} to this application")
    return decision
