"""Django: `idp_client.django.AuthMiddleware` in MIDDLEWARE, and on a view `@requires_scopes("read")`.

Settings: IDP_AUTH_SERVICE_URL, and optionally IDP_ISSUER, IDP_SERVICE_NAME and IDP_DEVELOPMENT (True accepts tokens of
`idp dev`).
"""

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from idp_client.caller import Caller
from idp_client.errors import AuthError
from idp_client.problem import headers_of, problem
from idp_client.sync_gate import SyncAuthentication, SyncGate
from idp_client.wsgi import authenticate

__all__ = ["AuthMiddleware", "current_caller", "optional_caller", "requires_roles", "requires_scopes"]

View = Callable[..., Any]


class AuthMiddleware:
    """Authenticates requests, and answers errors. Django creates one for each process."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self._gate = SyncGate.at(
            settings.IDP_AUTH_SERVICE_URL,
            issuer=getattr(settings, "IDP_ISSUER", None),
            service_name=getattr(settings, "IDP_SERVICE_NAME", None),
            allow_development=getattr(settings, "IDP_DEVELOPMENT", False) is True,
        )

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.idp_authentication = authenticate(self._gate, request.META)  # type: ignore[attr-defined]
        return self.get_response(request)

    def process_exception(self, _request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer an AuthError of a view; called by Django."""
        if not isinstance(error, AuthError):
            return None
        body = problem(error)
        return HttpResponse(body, status=error.status, headers=headers_of(error, body))


def current_caller(request: HttpRequest) -> Caller:
    """Return the caller of a request.

    Raises:
        AuthError: no credential, or an invalid one; the middleware answers it.
    """
    return _authentication(request).require()


def optional_caller(request: HttpRequest) -> Caller | None:
    """Return the caller of a request, None if it has no credential.

    Raises:
        AuthError: the credential is invalid.
    """
    return _authentication(request).caller()


def requires_scopes(*required_scopes: str) -> Callable[[View], View]:
    """Require all of these scopes for a view; without scopes, any authenticated caller is allowed."""
    return _requires(required_scopes, ())


def requires_roles(*required_roles: str) -> Callable[[View], View]:
    """Require a user with all of these roles, such as `admin`, for a view."""
    return _requires((), required_roles)


def _requires(scopes: tuple[str, ...], roles: tuple[str, ...]) -> Callable[[View], View]:
    def decorate(view: View) -> View:
        if _is_asynchronous(view):

            @functools.wraps(view)
            async def guarded_async(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                await asyncio.to_thread(_authentication(request).require, scopes, required_roles=roles)
                return await view(request, *args, **kwargs)

            return guarded_async

        @functools.wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            _authentication(request).require(scopes, required_roles=roles)
            return view(request, *args, **kwargs)

        return guarded

    return decorate


def _is_asynchronous(view: View) -> bool:
    """Whether a view is a coroutine function, or the `as_view` of a class with asynchronous handlers."""
    view_class = getattr(view, "view_class", None)
    return inspect.iscoroutinefunction(view) or bool(getattr(view_class, "view_is_async", False))


def _authentication(request: HttpRequest) -> SyncAuthentication:
    authentication: SyncAuthentication | None = getattr(request, "idp_authentication", None)
    if authentication is None:
        raise RuntimeError("requests are not authenticated: add idp_client.django.AuthMiddleware to MIDDLEWARE")
    return authentication
