"""Runs the chain for every route that is not public, and sets the principal (default deny, rule 6)."""

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from idp.authn.credential import from_headers
from idp.authn.introspection import Introspector
from idp.principal.guards import is_public


class AuthenticationMiddleware(ASGIMiddleware):
    """Sets `request.user` to the Principal, or refuses with 401 or 503.

    Public routes opt out on the handler (`opt=public()`), never by a path: there no credential is looked at, so that a
    stale token in a browser cannot break `/health` or a login.
    """

    scopes = (ScopeType.HTTP,)

    def __init__(self, introspector: Introspector) -> None:
        self.introspector = introspector

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        assert scope["type"] == ScopeType.HTTP
        if scope["method"] != "OPTIONS" and not is_public(scope["route_handler"]):
            client = scope["client"][0] if scope["client"] else None
            verdict = await self.introspector.introspect(from_headers(scope["headers"]), client=client)
            if verdict.error is not None:
                raise verdict.error
            scope["user"] = verdict.principal
        await next_app(scope, receive, send)
