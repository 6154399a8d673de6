"""What a person does with their sessions: continue, list and end them (S4-17 to S4-21)."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from idp import errors
from idp.accounts.begin import SessionStarter
from idp.accounts.shapes import CsrfToken, LogoutIn, Message, RefreshIn, SessionInfo, SessionList, SessionOut
from idp.audit.record import origin_of
from idp.authn.credential import from_headers
from idp.authn.introspection import Introspector
from idp.authn.resolve import Resolver
from idp.db.engine import Database
from idp.ops import metrics
from idp.ops.flood import Flood
from idp.ops.openapi import responses
from idp.ops.problems import invalid
from idp.ops.security_headers import NO_STORE
from idp.principal.guards import accepts_shared_secret, public, requires_user
from idp.principal.model import AuthMethod
from idp.principal.requests import UserRequest, session_id_of, user_id_of
from idp.sessions import service as sessions
from idp.sessions.cookie import SessionCookies
from idp.sessions.refresh_tokens import Redeemed, RefreshTokens, is_well_formed
from idp.signing.jwt import FIRST_PARTY_CLIENT, Family

_TAGS = ["Sessions"]
_FAMILIES = {"/auth": Family.AUTH, "/api/auth": Family.API_AUTH}
WhichSession = Annotated[UUID | None, QueryParameter(description="Another session of one's own; else the current one.")]


def _refresh(prefix: str, family: Family) -> Any:
    @post(
        f"{prefix}/refresh",
        opt=public(),
        tags=_TAGS,
        summary="Exchange a refresh token",
        operation_id=f"{family}_refresh",
        status_code=200,
        cache_control=NO_STORE,
        responses=responses(
            errors.RefreshTokenInvalid,
            errors.RefreshTokenReused,
            errors.CsrfRejected,
            errors.ValidationFailed,
            errors.MalformedJson,
            errors.BodyTooLarge,
            errors.RateLimited,
            errors.DatabaseUnavailable,
        ),
    )
    async def refresh(
        request: Request[Any, Any, Any],
        refresh_tokens: NamedDependency[RefreshTokens],
        resolver: NamedDependency[Resolver],
        session_starter: NamedDependency[SessionStarter],
        introspector: NamedDependency[Introspector],
        flood: NamedDependency[Flood],
        data: JSONBody[RefreshIn | None] = None,
    ) -> SessionOut:
        """Answer with a new access token and a new refresh token; the one that was sent is used up (C-08).

        Sent again within ten seconds, it leads to the newest one, so that tabs do not sign each other out. Sent again
        later it ends the whole session, in case somebody stole it. Without a refresh token, a session
        cookie and its CSRF token are answered with a new access token.
        """
        if data is None or data.refresh_token is None:
            return await _by_cookie(request, introspector, session_starter, family)
        redeemed = await _redeem(request, refresh_tokens, flood, data.refresh_token)
        try:
            user = await resolver.user(redeemed.user_id)
        except (errors.TokenNotFound, errors.UserInactive):
            raise errors.RefreshTokenInvalid from None
        metrics.count_attempt(method="refresh_token", outcome="authenticated")
        return await session_starter.answer(
            user, redeemed.login, family, "Token refreshed successfully", refresh_token=redeemed.refresh_token
        )

    return refresh


async def _redeem(
    request: Request[Any, Any, Any], refresh_tokens: RefreshTokens, flood: Flood, presented_token: str
) -> Redeemed:
    """Exchange a token, unless its address sent so many bad ones that this one is not worth a look-up (SEC-8)."""
    client = request.client.host if request.client else None
    flood.check(client, plausible=lambda: is_well_formed(presented_token))
    try:
        return await refresh_tokens.redeem(presented_token, origin_of(request), client_id=FIRST_PARTY_CLIENT)
    except errors.RefreshTokenInvalid:
        flood.count(client)
        raise


async def _by_cookie(
    request: Request[Any, Any, Any], introspector: Introspector, starter: SessionStarter, family: Family
) -> SessionOut:
    presented = from_headers(request.scope["headers"])
    verdict = await introspector.introspect(presented, client=request.client.host if request.client else None)
    principal = verdict.principal
    if verdict.unknown and verdict.error is not None:
        raise verdict.error
    if isinstance(verdict.error, errors.Unauthenticated) or presented.token is not None:
        raise invalid(["body", "refresh_token"], "Send a refresh token, or a session cookie and its CSRF token.")
    if principal is None or principal.user is None or principal.credential.method != AuthMethod.SESSION_COOKIE:
        raise errors.RefreshTokenInvalid
    starter.check_csrf(presented.headers, principal.credential)
    login = sessions.login_of(principal.credential)
    return await starter.answer(principal.user, login, family, "Token refreshed successfully", csrf=True)


@post(
    ["/auth/logout", "/api/auth/logout"],
    guards=[requires_user],
    opt=accepts_shared_secret(),
    tags=_TAGS,
    summary="Sign out",
    status_code=200,
    responses=responses(errors.SessionNotFound, errors.ValidationFailed),
)
async def logout(
    request: UserRequest,
    database: NamedDependency[Database],
    refresh_tokens: NamedDependency[RefreshTokens],
    session_cookies: NamedDependency[SessionCookies],
    data: JSONBody[LogoutIn | None] = None,
    session_id: WhichSession = None,
) -> Response[Message]:
    """End the session of this credential, with all its tokens; or the one that is named, if it is one's own.

    A credential that belongs to no session, such as a dev header, has nothing to end.
    """
    user_id, current = user_id_of(request), session_id_of(request)
    named = session_id
    if named is None and data is not None and data.refresh_token is not None:
        found = await refresh_tokens.session_of(data.refresh_token, client_id=FIRST_PARTY_CLIENT)
        if found is None or found[1] != user_id:
            raise errors.SessionNotFound
        named = found[0]
    ending = named or current
    if ending is not None:
        async with database.transaction() as session:
            ended = await sessions.end(session, origin_of(request), ending, user_id=user_id, reason=sessions.LOGGED_OUT)
        if session_id is not None and not ended:
            raise errors.SessionNotFound
    return _done(request, "Logged out successfully", session_cookies, ended=ending)


@post(
    ["/auth/logout-all", "/api/auth/logout-all"],
    guards=[requires_user],
    opt=accepts_shared_secret(),
    tags=_TAGS,
    summary="Sign out everywhere",
    status_code=200,
)
async def logout_all(
    request: UserRequest, database: NamedDependency[Database], session_cookies: NamedDependency[SessionCookies]
) -> Response[Message]:
    """End all of one's sessions, this one too."""
    async with database.transaction() as session:
        await sessions.end_all(session, origin_of(request), user_id_of(request), reason=sessions.LOGGED_OUT_EVERYWHERE)
    return _done(request, "Logged out from all devices successfully", session_cookies, ended=session_id_of(request))


@get("/api/auth/sessions", guards=[requires_user], tags=_TAGS, summary="One's sessions")
async def list_sessions(request: UserRequest, database: NamedDependency[Database]) -> SessionList:
    """Return where one is signed in, the newest session first."""
    current = session_id_of(request)
    async with database.transaction() as session:
        found = await sessions.list_live(session, user_id_of(request))
    return SessionList(
        [SessionInfo(**msgspec.structs.asdict(each), current=each.session_id == current) for each in found]
    )


@delete(
    "/api/auth/sessions/{session_id:uuid}",
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
    session_id: FromPath[UUID],
) -> Response[Message]:
    """End a session of one's own, with all its tokens. Somebody else's is not found."""
    async with database.transaction() as session:
        if not await sessions.end(
            session, origin_of(request), session_id, user_id=user_id_of(request), reason=sessions.LOGGED_OUT
        ):
            raise errors.SessionNotFound
    return _done(request, "Session revoked successfully", session_cookies, ended=session_id)


@get(
    "/api/auth/csrf",
    guards=[requires_user],
    tags=_TAGS,
    summary="The CSRF token of a session cookie",
    cache_control=NO_STORE,
    responses=responses(errors.CredentialNotAccepted),
    sync_to_thread=False,
)
def csrf(request: UserRequest, session_cookies: NamedDependency[SessionCookies]) -> CsrfToken:
    """Return what the header X-CSRF-Token must hold, for a page that was loaded anew."""
    credential = request.user.credential
    if credential.method != AuthMethod.SESSION_COOKIE or credential.session_id is None:
        raise errors.CredentialNotAccepted("Only a session cookie has a CSRF token.")
    return CsrfToken(session_cookies.csrf_token(credential.session_id))


def _done(request: UserRequest, message: str, cookies: SessionCookies, *, ended: UUID | None) -> Response[Message]:
    """Answer; and where a browser's own session has ended, make it forget the cookies."""
    by_cookie = request.user.credential.method == AuthMethod.SESSION_COOKIE
    return Response(Message(message), cookies=cookies.clear() if by_cookie and ended == session_id_of(request) else [])


ROUTES = (
    *(_refresh(prefix, family) for prefix, family in _FAMILIES.items()),
    logout,
    logout_all,
    list_sessions,
    end_session,
    csrf,
)
