"""Authentication middleware: runs the chain on every route that is not public (default deny, rule 6)."""

import time
from collections.abc import Mapping

from litestar.datastructures import Headers
from litestar.enums import ScopeType
from litestar.handlers import BaseRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from idp.authn.credential import Presented, from_headers
from idp.authn.introspection import Introspector
from idp.ops.buffered_body import buffer_body
from idp.principal.guards import changes_or_manages, is_public
from idp.principal.model import AuthMethod, Principal
from idp.sessions.cookie import SessionCookies

_SLOW_BODY_SECONDS = 0.05  # after a slower body the caller is authenticated again
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110 section 9.2.1


def check_sender(cookies: SessionCookies, handler: BaseRouteHandler, method: str, headers: Mapping[str, str]) -> None:
    """Refuse a change of a public route that a page of another origin sent.

    Raises:
        OriginNotAllowed: the origin is not allowed.
    """
    if method not in _SAFE and not handler.opt.get("form"):
        cookies.origins.check_sender(headers)


def check_csrf(cookies: SessionCookies, principal: Principal, presented: Presented, method: str) -> None:
    """Check a change with a session cookie, which browsers send automatically, even for pages of other sites.

    Raises:
        CsrfRejected, OriginNotAllowed: another site may have sent it.
    """
    credential = principal.credential
    if credential.method == AuthMethod.SESSION_COOKIE and method not in _SAFE:
        assert credential.session_id is not None
        cookies.check_csrf(presented.headers, credential.session_id)
    elif presented.token is None and credential.method == AuthMethod.CLERK_JWT and method not in _SAFE:
        cookies.origins.check_sender(presented.headers)  # Clerk's cookie has no CSRF token


class AuthenticationMiddleware(ASGIMiddleware):
    """Sets `request.user` to the Principal, or responds with 401, 503, or 403 for a failed CSRF check.

    Public routes opt out on the handler (`opt=public()`), never by path. They ignore credentials, so that a stale token
    in a browser cannot break `/health` or a login.

    After a slow body the caller is authenticated again, so that a delayed request does not act with lost authority.

    For changes and management a verdict from Valkey is not sufficient, because others may write there; the database
    confirms it (decision 0025).
    """

    scopes = (ScopeType.HTTP,)

    def __init__(self, introspector: Introspector, cookies: SessionCookies, *, max_body_bytes: int) -> None:
        self.introspector = introspector
        self._cookies = cookies
        self._max_body_bytes = max_body_bytes

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        assert scope["type"] == ScopeType.HTTP
        if is_public(scope["route_handler"]):
            # Before rate limits count it: a foreign page must not use up the limits of its visitors.
            check_sender(self._cookies, scope["route_handler"], scope["method"], Headers.from_scope(scope))
        elif scope["method"] != "OPTIONS":
            client = scope["client"][0] if scope["client"] else None
            presented = from_headers(scope["headers"])
            confirm = changes_or_manages(scope["route_handler"])
            principal = await self._decide(presented, client, confirm)
            if scope["method"] not in _SAFE:
                began = time.monotonic()
                receive = await buffer_body(receive, max_bytes=self._max_body_bytes)
                if time.monotonic() - began > _SLOW_BODY_SECONDS:
                    principal = await self._decide(presented, client, confirm)
            check_csrf(self._cookies, principal, presented, scope["method"])
            scope["user"] = principal
        await next_app(scope, receive, send)

    async def _decide(self, presented: Presented, client: str | None, confirm: bool) -> Principal:
        verdict = await self.introspector.introspect(presented, client=client, confirm=confirm)
        if verdict.principal is None:
            assert verdict.error is not None
            raise verdict.error
        return verdict.principal
