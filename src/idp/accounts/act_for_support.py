"""An administrator acts as a user for support, in a session that can read and changes nothing (decision 0058).

The session names the administrator (`actor_id`) and the reason. It is audited, and the user is told by mail.
"""

from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.accounts.account_services import AccountServices
from idp.audit.record import Origin, record
from idp.authn.resolve import load_user
from idp.errors import CannotActForUser, UserNotFound
from idp.mail.messages import ActedForSupport
from idp.plain_text import LINE
from idp.principal.guards import check_manages
from idp.principal.model import Principal, User
from idp.principal.permissions import ADMIN
from idp.principal.reauthorize import reauthorize
from idp.sessions import service as sessions
from idp.sessions.cookie import SessionCookies
from idp.sessions.models import SessionRow
from idp.sessions.service import Actor, Device, Lifetime, Login
from idp.users import credentials

SUPPORT_ENDED = "support_ended"
SupportReason = Annotated[
    str,
    Meta(
        min_length=10,
        max_length=500,
        pattern=LINE,
        examples=["Ticket 4711: the export shows no data"],
        description="Why. The user reads it in a mail and in their activity.",
    ),
]


class SupportSession(Struct, frozen=True):
    """A session of support, the user, and the cookie that it begins with, if any."""

    login: Login
    user: User
    cookie: str | None = None

    @property
    def session_id(self) -> UUID:
        """The session."""
        return self.login.session_id


class FoundSession(Struct, frozen=True):
    """A session of support, its user, and the administrator who acts in it."""

    session_id: UUID
    user_id: str
    actor_id: str


class ActForSupport:
    """Starts and ends sessions of support.

    Args:
        services: shared dependencies; their settings have the length of a session.
        cookies: makes session cookies.
    """

    def __init__(self, services: AccountServices, cookies: SessionCookies) -> None:
        self._services = services
        self._cookies = cookies
        self.minutes = services.settings.support_minutes

    async def start(
        self, admin: Principal, user_id: str, reason: str, origin: Origin, *, by_cookie: bool = False
    ) -> SupportSession:
        """Start a session in which an administrator acts as a user, and tell the user.

        Args:
            admin: the administrator, with a fresh login; authorized again when the session starts.
            user_id: the user.
            reason: as `SupportReason`.
            origin: the request's origin.
            by_cookie: whether a cookie continues the session, for the administrator's browser.

        Raises:
            AdminRequired, SupportSession: the caller is no administrator, or acts as a user already.
            CannotActForUser: the user is an administrator, the caller, or disabled.
            UserNotFound: there is no such user.
        """
        check_manages(admin)
        if admin.user is None:
            raise CannotActForUser("Only a person can act as a user.")
        secret, digest = self._cookies.new() if by_cookie else (None, None)
        async with self._services.database.transaction() as session:
            holder = await credentials.hold(session, user_id)
            await reauthorize(session, admin, manages=True)
            if holder is None:
                raise UserNotFound
            user = await self._check(session, admin, holder.user_id, is_active=holder.is_active)
            started = await sessions.start(
                session,
                user_id,
                Device(user_agent=origin.user_agent, ip_address=origin.ip_address),
                Lifetime(idle_seconds=self.minutes * 60, seconds=self.minutes * 60),
                password_version=holder.password_version,
                amr=(),
                cookie_digest=digest,
                actor=Actor(admin.user_id, reason),
            )
            if started is None:
                raise CannotActForUser("The user is disabled.")
            details = {"reason": reason, "session_id": str(started.login.session_id), "minutes": self.minutes}
            record(session, origin, action="support.started", user_id=user_id, details=details)
            if holder.email is not None:
                by = admin.user.name or admin.user.email
                mail = ActedForSupport(holder.name, by, reason, clock.now(), self.minutes)
                self._services.mailer.post(session, mail, to=holder.email)
        return SupportSession(started.login, user, secret)

    async def _check(self, session: AsyncSession, admin: Principal, user_id: str, *, is_active: bool) -> User:
        if user_id == admin.user_id:
            raise CannotActForUser("You are this user.")
        if not is_active:
            raise CannotActForUser("The user is disabled.")
        user = await load_user(session, user_id)
        if ADMIN in user.roles:
            raise CannotActForUser("The user is an administrator.")
        return user

    async def find(self, cookie: str) -> FoundSession | None:
        """Return the session of support of a cookie, live or not."""
        query = select(SessionRow.id, SessionRow.user_id, SessionRow.actor_id).where(
            SessionRow.cookie_digest.in_(self._cookies.digests(cookie)), SessionRow.actor_id.is_not(None)
        )
        async with self._services.database.transaction() as session:
            row = (await session.execute(query)).one_or_none()
        return None if row is None or row.actor_id is None else FoundSession(row.id, row.user_id, row.actor_id)

    async def stop(self, session_id: UUID, origin: Origin) -> None:
        """End a session of support with its apps."""
        async with self._services.database.transaction() as session:
            await sessions.end_by_id(session, origin, session_id, reason=SUPPORT_ENDED)
