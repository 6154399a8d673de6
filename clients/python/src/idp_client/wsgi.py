"""The middleware for WSGI applications (PEP 3333): the decision into `environ`, refusals out."""

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from idp_client.errors import AuthError
from idp_client.problem import headers_of, problem
from idp_client.sync_gate import SyncAuthentication, SyncGate

StartResponse = Callable[..., Any]
WsgiApp = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]
_KEY = "idp_client.authentication"
_CREDENTIALS = {"HTTP_AUTHORIZATION": b"authorization", "HTTP_X_API_KEY": b"x-api-key"}


class WsgiAuthMiddleware:
    """Lets the views behind it ask who is calling.

    Args:
        app: the application behind it.
        gate: decides.
        required_scopes: if given, even if empty, nothing behind it is reached without a caller who holds them all. If
            not, each view says what it needs.
    """

    def __init__(self, app: WsgiApp, gate: SyncGate, required_scopes: Iterable[str] | None = None) -> None:
        self.app = app
        self._gate = gate
        self._required = None if required_scopes is None else tuple(required_scopes)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        authentication = environ[_KEY] = authenticate(self._gate, environ)
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
    """Return the decision about a request, which is made when somebody asks for it."""
    headers = [(name, str(environ[key]).encode("latin-1")) for key, name in _CREDENTIALS.items() if key in environ]
    return SyncAuthentication(gate, headers, environ.get("PATH_INFO"))


def authentication_of(environ: Mapping[str, Any]) -> SyncAuthentication:
    """Return the decision about a request.

    Raises:
        RuntimeError: WsgiAuthMiddleware is not in front of this view.
    """
    authentication: SyncAuthentication | None = environ.get(_KEY)
    if authentication is None:
        raise RuntimeError("nothing decides who is calling: put idp_client.wsgi.WsgiAuthMiddleware in front")
    return authentication
