"""Start a session at the end of a flow: session, tokens or cookie, and the response."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from litestar import Request, Response
from litestar.datastructures import Cookie
from litestar.params import QueryParameter
from msgspec import UNSET, Struct, structs
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.accounts.pending_sign_ins import PendingSignIn, PendingSignIns, SignInDetails
from idp.accounts.shapes import SessionOut
from idp.audit.record import origin_of, record
from idp.authn.resolve import load_user
from idp.authn.shapes import UserOut
from idp.errors import InvalidCredentials
from idp.ops.client_json import check_client_json
from idp.principal.model import MULTI_FACTOR, SINGLE_FACTOR, TWO_FACTORS, Credential, User
from idp.sessions import service as sessions
from idp.sessions.cookie import SessionCookies
from idp.sessions.refresh_tokens import RefreshTokens
from idp.sessions.service import Device, Lifetime, Login
from idp.settings import Settings
from idp.signing.jwt import FIRST_PARTY_CLIENT, Family, TokenService, TokenSession, TokenUser
from idp.users.factors.policy import FactorPolicy

Mode = Literal["token", "cookie"]
SessionMode = Annotated[
    Mode,
    QueryParameter(
        name="mode",
        description="`cookie` continues the session with a cookie instead of a refresh token, for browser apps.",
    ),
]
_DAY = 86_400
_MAX_DEVICE_INFO_BYTES, _MAX_DEVICE_INFO_DEPTH = 4096, 8  # bytes of JSON, nesting; listed with every session


class StartedSession(Struct, frozen=True):
    """A new session: the response body and the cookies.

    Attributes:
        second_factor_due: until when the user may sign in without a second factor, which the policy requires; None if
            none is required, or they have one.
        delete_after: when the account will be deleted, if the user asked for it.
    """

    answer: SessionOut
    cookies: Sequence[Cookie] = ()
    is_new_device: bool = False
    second_factor_due: datetime | None = None
    delete_after: datetime | None = None

    @property
    def session_id(self) -> UUID:
        """The session."""
        return UUID(self.answer.session_id)

    def with_cookie(self, cookie: Cookie) -> "StartedSession":
        """Return a copy with an additional cookie."""
        return structs.replace(self, cookies=[*self.cookies, cookie])

    def response(self) -> Response[SessionOut]:
        """Return the response."""
        return Response(self.answer, cookies=list(self.cookies))


class StartOf(Struct, frozen=True):
    """Whose session starts, and how they signed in; the attributes are arguments of `SessionStarter.start`."""

    user_id: str
    password_version: int
    amr: tuple[str, ...]
    remember: bool
    device_info: Any
    mode: str
    family: Family
    message: str


# What the first factor leads to.
Begun = StartedSession | PendingSignIn


def require_started(begun: Begun) -> StartedSession:
    """Return the session, for clients of the API.

    Raises:
        SecondFactorRequired, SecondFactorEnrolmentRequired: the sign-in waits.
    """
    return begun if isinstance(begun, StartedSession) else begun.refuse()


class SessionStarter:
    """Starts sessions, for users with a second factor only after it.

    Args:
        settings: lifetimes.
        tokens: signs access tokens.
        refresh_tokens: creates refresh tokens.
        cookies: creates session cookies.
        pending_sign_ins: stores sign-ins that wait for the second factor.
        policy: who must have one.
    """

    def __init__(
        self,
        settings: Settings,
        tokens: TokenService,
        refresh_tokens: RefreshTokens,
        cookies: SessionCookies,
        pending_sign_ins: PendingSignIns,
        policy: FactorPolicy,
    ) -> None:
        self.pending_sign_ins = pending_sign_ins
        self.policy = policy
        self._tokens = tokens
        self._refresh_tokens = refresh_tokens
        self._cookies = cookies
        self._max_sessions = settings.accounts.max_sessions_per_user
        tokens_, accounts = settings.tokens, settings.accounts
        self._lifetimes = {
            False: _lifetime(tokens_.refresh_token_days, accounts.session_ttl_seconds),
            True: _lifetime(tokens_.remembered_refresh_token_days, accounts.remembered_session_ttl_seconds),
        }

    def is_remembered(self, idle_seconds: int) -> bool:
        """Whether a session with this idle timeout has the longer lifetime."""
        return idle_seconds > self._lifetimes[False].idle_seconds

    def check_origin(self, request: Request[Any, Any, Any], mode: Mode) -> None:
        """Refuse a sign-in with a cookie requested by another site (login CSRF, SEC-44).

        Raises:
            CsrfRejected: the page is of another site.
        """
        if mode == "cookie":
            self._cookies.check_origin(request.headers)

    def check_csrf(self, headers: Mapping[str, str], credential: Credential) -> None:
        """Check CSRF of a request with a session cookie.

        Raises:
            CsrfRejected: the session's CSRF token is missing, or the origin is not allowed.
        """
        self._cookies.check_csrf(headers, credential.session_id or "")

    async def start(
        self,
        session: AsyncSession,
        request: Request[Any, Any, Any],
        user_id: str,
        *,
        family: Family,
        message: str,
        password_version: int,
        amr: tuple[str, ...],
        remember: bool = False,
        device_info: object = None,
        mode: Mode = "token",
        max_failures: int | None = None,
        acr: str = SINGLE_FACTOR,
        kept: dict[str, Any] | None = None,
        leave_to: str | None = None,
    ) -> Begun:
        """Start a session in the caller's transaction, or let the sign-in wait for the second factor.

        It waits if the user has a second factor, or must have set one up already. A session of an issuer that asked for
        several factors (`mfa` in `amr`) has acr TWO_FACTORS and does not wait.

        Args:
            session: the caller's transaction.
            request: the request.
            user_id: the authenticated user.
            family: the token format.
            message: text for the response.
            password_version: at the authentication; if it changed since, no session starts.
            amr: authentication methods (RFC 8176).
            remember: use the longer lifetime.
            device_info: the client's description.
            mode: whether a refresh token or a cookie continues the session.
            max_failures: refuse at this many consecutive wrong passwords; None: no limit.
            acr: authentication context class, TWO_FACTORS after two factors, which then does not wait.
            kept: what the caller needs when a sign-in that waited is finished.
            leave_to: the page of an app that the browser then goes to.

        Raises:
            InvalidCredentials: the user was disabled or the password changed since the authentication.
            ValidationFailed: `device_info` is too large, too deep, or not storable.
        """
        check_client_json(device_info, "device_info", max_bytes=_MAX_DEVICE_INFO_BYTES, levels=_MAX_DEVICE_INFO_DEPTH)
        is_strong = acr == TWO_FACTORS or MULTI_FACTOR in amr
        due = None if is_strong else await self.policy.deadline(session, user_id)
        is_over = due is not None and due <= clock.now()
        start = StartOf(user_id, password_version, amr, remember, device_info, mode, family, message)
        started = None
        if not is_over:
            acr = TWO_FACTORS if is_strong else SINGLE_FACTOR
            started = await self.start_now(
                session, request, start, acr=acr, max_failures=max_failures, second_factor=not is_strong
            )
        if started is not None:
            return structs.replace(started, second_factor_due=due)
        details = SignInDetails(family, message, mode, device_info, is_over, kept or {}, leave_to)
        pending = (
            None
            if is_strong
            else await self.pending_sign_ins.begin(
                session,
                user_id,
                details,
                password_version=password_version,
                amr=amr,
                remember=remember,
                max_failures=max_failures,
            )
        )
        if pending is None:
            raise InvalidCredentials
        return pending

    async def start_now(
        self,
        session: AsyncSession,
        request: Request[Any, Any, Any],
        start: StartOf,
        *,
        acr: str,
        max_failures: int | None = None,
        second_factor: bool = False,
    ) -> StartedSession | None:
        """Start a session without waiting.

        Args:
            session: the caller's transaction.
            request: the request.
            start: of whom, and how they signed in.
            acr: authentication context class, TWO_FACTORS after two factors.
            max_failures: refuse at this many consecutive wrong passwords; None: no limit.
            second_factor: refuse if the user has a second factor.

        Returns:
            None if it may not start.
        """
        origin, lifetime = origin_of(request), self._lifetimes[start.remember]
        is_cookie = start.mode == "cookie"
        cookie, digest = self._cookies.new() if is_cookie else (None, None)
        token, first = (None, None) if is_cookie else self._refresh_tokens.new(client_id=FIRST_PARTY_CLIENT)
        new_session = await sessions.start(
            session,
            start.user_id,
            Device(info=start.device_info, user_agent=origin.user_agent, ip_address=origin.ip_address),
            lifetime,
            password_version=start.password_version,
            amr=start.amr,
            cookie_digest=digest,
            first_token=first,
            max_failures=max_failures,
            acr=acr,
            second_factor=second_factor,
        )
        if new_session is None:
            return None
        login, is_new, user_id = new_session.login, new_session.is_new_device, start.user_id
        if new_session.others >= self._max_sessions:
            await sessions.end_surplus(session, origin, user_id, limit=self._max_sessions)
        if is_cookie and (previous_cookie := request.cookies.get(self._cookies.name)):
            await sessions.end_by_cookie(session, origin, self._cookies.digests(previous_cookie), keep=login.session_id)
        user = await load_user(session, user_id)
        details = {"method": " ".join(start.amr), "acr": acr, "session_id": str(login.session_id)}
        record(session, origin, action="user.signed_in", user_id=user_id, details=details)
        if cookie is None:
            answer = await self.answer(user, login, start.family, start.message, refresh_token=token)
            return StartedSession(answer, is_new_device=is_new, delete_after=new_session.delete_after)
        answer = await self.answer(user, login, start.family, start.message, csrf=True)
        seconds = lifetime.idle_seconds if start.remember else None
        cookies = self._cookies.set(cookie, str(login.session_id), seconds=seconds)
        return StartedSession(answer, cookies, is_new, delete_after=new_session.delete_after)

    async def answer(
        self,
        user: User,
        login: Login,
        family: Family,
        message: str,
        *,
        refresh_token: str | None = None,
        csrf: bool = False,
    ) -> SessionOut:
        """Return the session object with a new access token (S3-23, S4-10, S4-13, S4-19)."""
        token_user = TokenUser(id=user.id, email=user.email, email_verified=user.email_verified, roles=user.roles)
        of = TokenSession(login.session_id, login.auth_time, login.amr, login.acr, login.expires_at, login.actor_id)
        token = await self._tokens.issue(token_user, family, session=of)
        return SessionOut(
            access_token=token.token,
            refresh_token=refresh_token,
            token_type="bearer",  # noqa: S106
            expires_in=token.expires_in,
            user_id=user.id,
            session_id=str(login.session_id),
            message=message,
            user=UserOut.of(user),
            csrf_token=self._cookies.csrf_token(str(login.session_id)) if csrf else UNSET,
        )


def _lifetime(days: int, seconds: int) -> Lifetime:
    return Lifetime(idle_seconds=min(days * _DAY, seconds), seconds=seconds)
