"""Refresh and list sessions (S4-19, S4-20); `sign_out_routes` ends them."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter

from idp import errors
from idp.accounts.shapes import CsrfToken, RefreshIn, SessionInfo, SessionList, SessionOut
from idp.accounts.start_session import SessionStarter
from idp.audit.record import origin_of
from idp.authn.credential import from_headers
from idp.authn.introspection import Introspector
from idp.authn.resolve import Resolver
from idp.db.engine import Database
from idp.ops import metrics
from idp.ops.bad_credential_limit import BadCredentialLimit
from idp.ops.openapi import responses
from idp.ops.problems import invalid
from idp.ops.security_headers import NO_STORE
from idp.principal.guards import public, requires_user
from idp.principal.model import AuthMethod
from idp.principal.requests import UserRequest, user_id_of
from idp.sessions import service as sessions
from idp.sessions.cookie import SessionCookies
from idp.sessions.listing import list_live
from idp.sessions.refresh_tokens import Redeemed, RefreshTokens, is_well_formed
from idp.signing.jwt import FIRST_PARTY_CLIENT, Family

_TAGS = ["Sessions"]
_FAMILIES = {"/auth": Family.AUTH, "/api/auth": Family.API_AUTH}
WhichSession = Annotated[
    UUID | None, QueryParameter(description="Another session of the user; default: the current one.")
]


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
        bad_credentials: NamedDependency[BadCredentialLimit],
        data: JSONBody[RefreshIn | None] = None,
    ) -> SessionOut:
        """Return a new access token and a new refresh token; the sent one becomes used (C-08).

        If it is sent again within ten seconds, the newest one is returned, so that tabs do not sign each other out.
        Later reuse ends the session, because the token may be stolen. Without a refresh token, a session cookie with
        its CSRF token gets a new access token.
        """
        if data is None or data.refresh_token is None:
            return await _by_cookie(request, introspector, session_starter, family)
        redeemed = await _redeem(request, refresh_tokens, bad_credentials, data.refresh_token)
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
    request: Request[Any, Any, Any],
    refresh_tokens: RefreshTokens,
    bad_credentials: BadCredentialLimit,
    presented_token: str,
) -> Redeemed:
    """Exchange a token, unless its client sent too many invalid ones (SEC-8)."""
    client = request.client.host if request.client else None
    bad_credentials.check(client, plausible=lambda: is_well_formed(presented_token))
    try:
        return await refresh_tokens.redeem(presented_token, origin_of(request), client_id=FIRST_PARTY_CLIENT)
    except errors.RefreshTokenInvalid:
        bad_credentials.count(client)
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


@get("/api/auth/sessions", guards=[requires_user], tags=_TAGS, summary="List my sessions")
async def list_sessions(request: UserRequest, database: NamedDependency[Database]) -> SessionList:
    """Return the user's sessions with the apps that each signed in to, newest first; a shared-secret token sees only
    its own session.
    """
    credential = request.user.credential
    async with database.transaction() as session:
        live = await list_live(session, user_id_of(request), current=credential.session_id)
    if credential.shared_secret:  # its holders could forge a token for every session id
        live = [each for each in live if each.current]
    return SessionList([SessionInfo.of(each) for each in live])


@get(
    "/api/auth/csrf",
    guards=[requires_user],
    tags=_TAGS,
    summary="Get a CSRF token for the session cookie",
    cache_control=NO_STORE,
    responses=responses(errors.CredentialNotAccepted),
    sync_to_thread=False,
)
def csrf(request: UserRequest, session_cookies: NamedDependency[SessionCookies]) -> CsrfToken:
    """Return the value for the header X-CSRF-Token, for a page after a reload."""
    credential = request.user.credential
    if credential.method != AuthMethod.SESSION_COOKIE or credential.session_id is None:
        raise errors.CredentialNotAccepted("Only a session cookie has a CSRF token.")
    return CsrfToken(session_cookies.csrf_token(credential.session_id))


ROUTES = (
    *(_refresh(prefix, family) for prefix, family in _FAMILIES.items()),
    list_sessions,
    csrf,
)
