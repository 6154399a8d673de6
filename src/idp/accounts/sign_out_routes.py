"""Sign-out: end the current session, a given one, or all (S4-17, S4-18, S4-21).

Every credential that can continue a session can end it. These routes accept the access token or the cookie; after its
expiry also the refresh token in the body, or the cookie beside the expired access token.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, delete, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter, QueryParameter
from msgspec import structs
from sqlalchemy.ext.asyncio import AsyncSession

from idp import errors
from idp.accounts.end_sessions import end_own, lock_user
from idp.accounts.shapes import LoggedOut, LogoutIn, Message
from idp.audit.record import Origin, origin_of
from idp.authn.credential import Presented, cookies_only, from_headers
from idp.authn.introspection import Introspector
from idp.db.engine import Database
from idp.ops.bad_credential_limit import BadCredentialLimit
from idp.ops.openapi import responses
from idp.principal.guards import (
    accepts_shared_secret,
    accepts_support,
    check_not_for_support,
    decided_by_handler,
    requires_user,
)
from idp.principal.model import AuthMethod, Principal
from idp.principal.requests import UserRequest, session_id_of, user_id_of
from idp.sessions import service as sessions
from idp.sessions.cookie import SessionCookies
from idp.sessions.refresh_tokens import RefreshTokens, TokenOwner, is_well_formed
from idp.signing.jwt import FIRST_PARTY_CLIENT

_TAGS = ["Sessions"]
AnyRequest = Request[Any, Any, Any]
WhichSession = Annotated[
    UUID | None, QueryParameter(description="Another session of the user; default: the current one.")
]
SessionId = Annotated[str, PathParameter(schema_extra={"format": "uuid"})]
_OUT: dict[str, Any] = {
    "opt": decided_by_handler("user or refresh token") | accepts_shared_secret(),
    "tags": _TAGS,
    "status_code": 200,
}
_ERRORS = (errors.Unauthenticated, errors.RefreshTokenInvalid, errors.CsrfRejected, errors.ValidationFailed,
           errors.MalformedJson, errors.BodyTooLarge, errors.RateLimited, errors.DatabaseUnavailable)  # fmt: skip


class SigningOut:
    """Determines whose sessions a request may end.

    Args:
        introspector: verifies the access token and the cookie.
        cookies: checks CSRF for requests with a cookie.
        refresh_tokens: looks up refresh tokens.
        bad_credentials: counts unknown tokens per address.
        leave: returns where the browser of an ended session ends the one at its provider, None if there is none.
    """

    def __init__(
        self,
        introspector: Introspector,
        cookies: SessionCookies,
        refresh_tokens: RefreshTokens,
        bad_credentials: BadCredentialLimit,
        leave: Callable[[UUID], Awaitable[str | None]],
    ) -> None:
        self.leave = leave
        self._introspector = introspector
        self._cookies = cookies
        self._refresh_tokens = refresh_tokens
        self._bad_credentials = bad_credentials

    async def caller(self, request: AnyRequest, *, needed: bool) -> Principal | None:
        """Authenticate the caller by access token or cookie, and set `request.user`.

        Args:
            request: the request.
            needed: raise without a valid credential; else return None, because a refresh token may replace it.

        Raises:
            IdpError: the credential is invalid and `needed`, or is not accepted on this route.
        """
        presented = from_headers(request.scope["headers"])
        principal, error = await self._decide(request, presented)
        if principal is None and presented.token is not None:
            principal, _ = await self._decide(request, cookies_only(presented))
        if principal is None:
            if needed:
                raise error
            return None
        request.scope["user"] = principal
        await requires_user(request, request.route_handler)
        if principal.credential.method == AuthMethod.SESSION_COOKIE:
            self._cookies.check_csrf(presented.headers, principal.credential.session_id or "")
        return principal

    async def _decide(self, request: AnyRequest, presented: Presented) -> tuple[Principal | None, errors.IdpError]:
        client = request.client.host if request.client else None
        # A change, so a verdict from Valkey is not sufficient (decision 0025).
        verdict = await self._introspector.introspect(presented, client=client, confirm=True)
        if verdict.unknown and verdict.error is not None:
            raise verdict.error
        return verdict.principal, verdict.error or errors.Unauthenticated()

    async def session_of(self, request: AnyRequest, presented_token: str) -> TokenOwner:
        """Return the session of a refresh token, whether active or not.

        Raises:
            RefreshTokenInvalid: it is unknown.
            RateLimited: the client sent too many unknown ones.
        """
        client = request.client.host if request.client else None
        self._bad_credentials.check(client, plausible=lambda: is_well_formed(presented_token))
        session_owner = await self._refresh_tokens.session_of(presented_token, client_id=FIRST_PARTY_CLIENT)
        if session_owner is None:
            self._bad_credentials.count(client)
            raise errors.RefreshTokenInvalid
        return session_owner


@post(
    ["/auth/logout", "/api/auth/logout"],
    summary="Sign out",
    responses=responses(errors.SessionNotFound, errors.SupportSession, *_ERRORS),
    **_OUT | {"opt": _OUT["opt"] | accepts_support()},
)
async def logout(
    request: AnyRequest,
    database: NamedDependency[Database],
    signing_out: NamedDependency[SigningOut],
    session_cookies: NamedDependency[SessionCookies],
    data: JSONBody[LogoutIn | None] = None,
    session_id: WhichSession = None,
) -> Response[LoggedOut]:
    """End the credential's session with all its tokens, or another session of the same user.

    A refresh token in the body identifies its session and is sufficient without a valid access token. A credential
    without a session, such as a dev header, ends nothing.
    """
    refresh_token = data.refresh_token if data is not None else None
    caller = await signing_out.caller(request, needed=refresh_token is None)
    if refresh_token is None:
        assert caller is not None
        ending, user_id = session_id or session_id_of(request), user_id_of(request)
        if ending != session_id_of(request):
            check_not_for_support(caller)
    else:
        of_token = await _named(signing_out, request, refresh_token, caller)
        ending, user_id = session_id or of_token.session_id, of_token.user_id
        if caller is None and session_id not in {None, of_token.session_id}:
            raise errors.SessionNotFound
    if ending is not None:
        which, origin = ending, _origin(request, user_id, caller)

        async def end(session: AsyncSession) -> bool:
            await lock_user(session, user_id, caller)
            return await sessions.end(session, origin, which, user_id=user_id, reason=sessions.LOGGED_OUT)

        ended = await database.transact(end)
        if session_id is not None and not ended:
            raise errors.SessionNotFound
    done = _done(request, "Logged out successfully", session_cookies, ended=ending, caller=caller)
    is_own = ending is not None and bool(done.cookies)  # a browser's own session
    url = await signing_out.leave(ending) if is_own and ending is not None else None
    return Response(LoggedOut(done.content.message, url), cookies=done.cookies)


@post(
    ["/auth/logout-all", "/api/auth/logout-all"], summary="Sign out everywhere", responses=responses(*_ERRORS), **_OUT
)
async def logout_all(
    request: AnyRequest,
    database: NamedDependency[Database],
    signing_out: NamedDependency[SigningOut],
    session_cookies: NamedDependency[SessionCookies],
    data: JSONBody[LogoutIn | None] = None,
) -> Response[Message]:
    """End all sessions of the user, including this one. Without a valid access token, a refresh token that could still
    be exchanged is sufficient.
    """
    refresh_token = data.refresh_token if data is not None else None
    caller = await signing_out.caller(request, needed=refresh_token is None)
    if caller is not None:
        user_id = user_id_of(request)
    else:
        assert refresh_token is not None
        of_token = await signing_out.session_of(request, refresh_token)
        if not of_token.continues:
            raise errors.RefreshTokenInvalid
        user_id = of_token.user_id
    origin = _origin(request, user_id, caller)

    async def end(session: AsyncSession) -> None:
        await lock_user(session, user_id, caller)
        await sessions.end_all(session, origin, user_id, reason=sessions.LOGGED_OUT_EVERYWHERE)

    await database.transact(end)
    current = session_id_of(request) if caller is not None else None
    return _done(request, "Logged out from all devices successfully", session_cookies, ended=current, caller=caller)


@delete(
    "/api/auth/sessions/{session_id:str}",
    guards=[requires_user],
    opt=accepts_shared_secret(),
    tags=_TAGS,
    summary="End a session",
    status_code=200,
    responses=responses(errors.SessionNotFound),
)
async def end_session(
    request: UserRequest,
    database: NamedDependency[Database],
    session_cookies: NamedDependency[SessionCookies],
    session_id: SessionId,
) -> Response[Message]:
    """End a session of the user with its apps and all its tokens; given the `sid` of an app, only that app's. Sessions
    of other users are not found.
    """
    try:
        requested = UUID(session_id)
    except ValueError:
        raise errors.SessionNotFound from None
    await end_own(database, request.user, origin_of(request), requested)
    return _done(request, "Session revoked successfully", session_cookies, ended=requested, caller=request.user)


async def _named(
    signing_out: SigningOut, request: AnyRequest, refresh_token: str, caller: Principal | None
) -> TokenOwner:
    """Return the session of a refresh token, which must be the caller's if there is one."""
    if caller is None:
        return await signing_out.session_of(request, refresh_token)
    try:
        session_owner = await signing_out.session_of(request, refresh_token)
    except errors.RefreshTokenInvalid:
        raise errors.SessionNotFound from None
    if session_owner.user_id != user_id_of(request):
        raise errors.SessionNotFound
    return session_owner


def _origin(request: AnyRequest, user_id: str, caller: Principal | None) -> Origin:
    origin = origin_of(request)
    return origin if caller is not None else structs.replace(origin, actor=f"user:{user_id}")


def _done(
    request: AnyRequest, message: str, cookies: SessionCookies, *, ended: UUID | None, caller: Principal | None
) -> Response[Message]:
    """Return the response, and clear the cookies if the browser's own session ended."""
    by_cookie = caller is not None and caller.credential.method == AuthMethod.SESSION_COOKIE
    forget = by_cookie and ended == session_id_of(request)
    return Response(Message(message), cookies=cookies.clear() if forget else [])


ROUTES = (logout, logout_all, end_session)
