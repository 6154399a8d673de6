"""WSGI middleware (PEP 3333): puts the authentication into `environ` and answers errors with problem documents."""

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from idp_client.errors import AuthError
from idp_client.middleware import KEY, GuardedApp, find_decision
from idp_client.problem import headers_of, problem
from idp_client.sync_gate import SyncAuthentication, SyncGate

StartResponse = Callable[..., Any]
WsgiApp = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]
_CREDENTIALS = {"HTTP_AUTHORIZATION": b"authorization", "HTTP_X_API_KEY": b"x-api-key"}


class WsgiAuthMiddleware(GuardedApp[WsgiApp, SyncGate]):
    """Authenticates the requests of a WSGI application; the arguments are those of `AuthMiddleware`."""

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        authentication = environ[KEY] = authenticate(self._gate, environ)
        try:
            if self._required is not None:
                authentication.require(self._required)
            return self.app(environ, start_response)
        except AuthError as error:
            body = problem(error)
            status = f"{error.status} {HTTPStatus(error.status).phrase}"
            start_response(status, list(headers_of(error, body).items()))
            return [body]


def authenticate(gate: SyncGate, environ: Mapping[str, Any]) -> SyncAuthentication:
    """Return the authentication of a request, which is done on first use."""
    headers = [(name, str(environ[key]).encode("latin-1")) for key, name in _CREDENTIALS.items() if key in environ]
    return SyncAuthentication(gate, headers, environ.get("PATH_INFO"))


def authentication_of(environ: Mapping[str, Any]) -> SyncAuthentication:
    """Return the authentication of a request.

    Raises:
        RuntimeError: WsgiAuthMiddleware is not in front of this view.
    """
    authentication: SyncAuthentication = find_decision(environ, "idp_client.wsgi.WsgiAuthMiddleware")
    return authentication
