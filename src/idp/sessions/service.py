"""Start, list and end sessions. Every function works inside the caller's transaction."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from msgspec import Struct
from sqlalchemy import bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import Text
from uuid_utils.compat import uuid7

from idp import clock
from idp.audit.record import Origin, record
from idp.events.catalogue import EventType
from idp.events.outbox import publish
from idp.events.shapes import SessionsRevoked
from idp.principal.model import Credential
from idp.sessions.models import SessionRow

SINGLE_FACTOR = "1"  # `acr`: single factor
LOGGED_OUT, LOGGED_OUT_EVERYWHERE = "logged_out", "logged_out_everywhere"
SURPLUS = "too_many_sessions"
REPLACED = "signed_in_again"
TOO_MANY_WRONG_PASSWORDS = "too_many_wrong_passwords"
_MAX_ENDED_AT_ONCE = 100  # sessions ended by one sign-in
SIGNED_OUT_BY_ADMIN = "signed_out_by_admin"

# Locks the user's row until the commit. A concurrent password change or disabling either waits and then ends this
# session too, or was first, and then no row is found here.
_INSERT_SESSION = text("""
WITH owner AS (
    SELECT id FROM idp.users
     WHERE id = :user_id AND is_active AND deleted_at IS NULL AND password_version = :password_version
       AND (CAST(:most_failures AS integer) IS NULL OR :most_failures >
            coalesce((SELECT failures FROM idp.sign_in_failures WHERE user_id = :user_id), 0))
       FOR SHARE
), forgiven AS (
    DELETE FROM idp.sign_in_failures WHERE user_id IN (SELECT id FROM owner)
), begun AS (
    INSERT INTO idp.user_sessions (id, user_id, created_at, last_seen_at, idle_seconds, idle_expires_at, expires_at,
                                   cookie_digest, device_info, user_agent, ip_address, amr, acr, auth_time)
    SELECT :id, owner.id, :now, :now, :idle_seconds, :idle_expires_at, :expires_at,
           :cookie_digest, :device_info, :user_agent, :ip_address, :amr, :acr, :now
      FROM owner RETURNING user_id
), first_token AS (
    INSERT INTO idp.refresh_tokens (id, session_id, generation, digest, client_id, created_at, expires_at)
    SELECT :token_id, :id, 0, :token_digest, :client_id, :now, :idle_expires_at
      FROM begun WHERE CAST(:token_digest AS text) IS NOT NULL
)
SELECT EXISTS (SELECT FROM idp.user_sessions s WHERE s.user_id = begun.user_id) AS any_before,
       EXISTS (SELECT FROM idp.user_sessions s
                WHERE s.user_id = begun.user_id AND s.user_agent IS NOT DISTINCT FROM :user_agent
                  AND s.ip_address IS NOT DISTINCT FROM :ip_address) AS same_before,
       (SELECT count(*) FROM idp.user_sessions s
         WHERE s.user_id = begun.user_id AND s.ended_at IS NULL AND s.expires_at > :now AND s.idle_expires_at > :now)
       AS others
  FROM begun
""").bindparams(bindparam("device_info", type_=JSONB(none_as_null=True)), bindparam("amr", type_=ARRAY(Text())))


class Login(Struct, frozen=True):
    """Authentication data of a session, for its tokens.

    Attributes:
        amr: authentication methods (RFC 8176), such as `("pwd",)`.
        acr: authentication context class (OpenID Connect Core section 2).
        auth_time: time of the authentication.
        expires_at: absolute end of the session and its tokens.
    """

    session_id: UUID
    amr: tuple[str, ...]
    acr: str
    auth_time: datetime
    expires_at: datetime


class AppGrant(Struct, frozen=True):
    """What a user granted to an app, for its session.

    Attributes:
        sid: the `sid` of its ID tokens, the same for all its sessions in a browser session.
        scopes: granted scopes.
        resources: of its access tokens (RFC 8707).
        claims: claims granted one by one (OpenID Connect Core section 5.5).
    """

    sid: UUID
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    claims: tuple[str, ...]


class NewSession(Struct, frozen=True):
    """A new session.

    Attributes:
        is_new_device: whether a user with earlier sign-ins uses a new program or address. False for the first sign-in.
        others: number of other live sessions of the user.
    """

    login: Login
    is_new_device: bool
    others: int


class FirstToken(Struct, frozen=True):
    """The first refresh token of a session and its client; it expires with the idle timeout."""

    digest: str
    client_id: str


class Device(Struct, frozen=True):
    """The device of a sign-in.

    Attributes:
        info: the client's description, an object or a string (C-32).
    """

    info: Any = None
    user_agent: str | None = None
    ip_address: str | None = None


class Lifetime(Struct, frozen=True):
    """Idle timeout and absolute lifetime of a session, in seconds."""

    idle_seconds: int
    seconds: int


class SessionRecord(Struct, frozen=True):
    """A session, as shown to its owner and administrators."""

    session_id: UUID
    created_at: datetime
    last_activity: datetime
    expires_at: datetime
    device_info: Any
    user_agent: str | None
    ip_address: str | None
    amr: tuple[str, ...]


async def start(
    session: AsyncSession,
    user_id: str,
    device: Device,
    lifetime: Lifetime,
    *,
    password_version: int,
    amr: tuple[str, ...],
    cookie_digest: str | None = None,
    first_token: FirstToken | None = None,
    max_failures: int | None = None,
) -> NewSession | None:
    """Start a session, unless the user was disabled or the password changed since the authentication.

    Args:
        session: the caller's transaction.
        user_id: the user.
        device: the device.
        lifetime: its timeouts.
        password_version: of the user at the authentication.
        amr: authentication methods.
        cookie_digest: digest of its cookie, if any.
        first_token: its refresh token, if any.
        max_failures: refuse at this many consecutive wrong passwords (SEC-8); None: no limit.

    Returns:
        The new session; None if it may not start.
    """
    now = clock.now()
    login = Login(uuid7(), amr, SINGLE_FACTOR, now, now + timedelta(seconds=lifetime.seconds))
    started = await session.execute(
        _INSERT_SESSION,
        {
            "id": login.session_id,
            "user_id": user_id,
            "password_version": password_version,
            "most_failures": max_failures,
            "now": now,
            "idle_seconds": lifetime.idle_seconds,
            "idle_expires_at": idle_end(login, lifetime),
            "expires_at": login.expires_at,
            "cookie_digest": cookie_digest,
            "token_id": uuid7(),
            "token_digest": first_token.digest if first_token else None,
            "client_id": first_token.client_id if first_token else None,
            "device_info": device.info,
            "user_agent": device.user_agent,
            "ip_address": device.ip_address,
            "amr": list(amr),
            "acr": login.acr,
        },
    )
    row = started.one_or_none()
    if row is None:
        return None
    return NewSession(login, is_new_device=row.any_before and not row.same_before, others=row.others)


def login_of(credential: Credential) -> Login:
    """Return the authentication data of a credential's session.

    Raises:
        ValueError: the credential has no session.
    """
    if credential.session_id is None or credential.auth_time is None or credential.expires_at is None:
        raise ValueError("the credential has no session")
    return Login(
        UUID(credential.session_id), credential.amr, credential.acr or "", credential.auth_time, credential.expires_at
    )


def idle_end(login: Login, lifetime: Lifetime) -> datetime:
    """Return the idle end of a new session."""
    return min(login.expires_at, login.auth_time + timedelta(seconds=lifetime.idle_seconds))


async def list_live(session: AsyncSession, user_id: str) -> list[SessionRecord]:
    """Return the live sessions of a user, newest first."""
    now = clock.now()
    rows = await session.scalars(
        select(SessionRow)
        .where(
            SessionRow.user_id == user_id,
            SessionRow.ended_at.is_(None),
            SessionRow.expires_at > now,
            SessionRow.idle_expires_at > now,
        )
        .order_by(SessionRow.created_at.desc(), SessionRow.id.desc())
    )
    return [
        SessionRecord(
            session_id=row.id,
            created_at=row.created_at,
            last_activity=row.last_seen_at,
            expires_at=min(row.expires_at, row.idle_expires_at),
            device_info=row.device_info,
            user_agent=row.user_agent,
            ip_address=row.ip_address,
            amr=tuple(row.amr),
        )
        for row in rows
    ]


async def end(session: AsyncSession, origin: Origin, session_id: UUID, *, user_id: str, reason: str) -> bool:
    """End a session of a user with its refresh tokens, cookie and access tokens; False if it had ended."""
    return bool(await _end(session, origin, user_id, reason, SessionRow.id == session_id))


async def end_by_id(session: AsyncSession, origin: Origin, session_id: UUID, *, reason: str) -> None:
    """End a session of any user."""
    row = await session.get(SessionRow, session_id)
    if row is not None:
        await end(session, origin, session_id, user_id=row.user_id, reason=reason)


async def end_by_cookie(session: AsyncSession, origin: Origin, digests: Sequence[str], *, keep: UUID) -> None:
    """End the session of a browser's previous cookie, of any user, because the cookie is replaced.

    Args:
        session: the caller's transaction.
        origin: the sign-in's origin.
        digests: possible digests of the cookie.
        keep: the new session.
    """
    query = select(SessionRow.id, SessionRow.user_id).where(
        SessionRow.cookie_digest.in_(digests), SessionRow.id != keep, SessionRow.ended_at.is_(None)
    )
    for session_id, user_id in (await session.execute(query)).all():
        await end(session, origin, session_id, user_id=user_id, reason=REPLACED)


async def end_all(session: AsyncSession, origin: Origin, user_id: str, *, reason: str, keep: UUID | None = None) -> int:
    """End all sessions of a user except `keep`; return how many of them were live."""
    others = [SessionRow.id != keep] if keep is not None else []
    return sum(await _end(session, origin, user_id, reason, *others))


async def end_everyones(session: AsyncSession, origin: Origin, *, reason: str) -> None:
    """End all sessions of all users."""
    query = select(SessionRow.user_id).where(SessionRow.ended_at.is_(None)).distinct()
    for user_id in (await session.scalars(query)).all():
        await end_all(session, origin, user_id, reason=reason)


async def end_surplus(session: AsyncSession, origin: Origin, user_id: str, *, limit: int) -> int:
    """End the least recently used sessions above the limit; return how many ended."""
    now = clock.now()
    surplus = (
        select(SessionRow.id)
        .where(
            SessionRow.user_id == user_id,
            SessionRow.ended_at.is_(None),
            SessionRow.expires_at > now,
            SessionRow.idle_expires_at > now,
        )
        .order_by(SessionRow.last_seen_at.desc(), SessionRow.id.desc())
        .offset(limit)
        .limit(_MAX_ENDED_AT_ONCE)
    )
    ids = (await session.scalars(surplus)).all()
    return len(await _end(session, origin, user_id, SURPLUS, SessionRow.id.in_(ids))) if ids else 0


async def _end(session: AsyncSession, origin: Origin, user_id: str, reason: str, *conditions: Any) -> list[bool]:
    """End sessions, and return for each whether it was live.

    Expired ones are ended too, because activity that is not written yet would extend them.
    """
    now = clock.now()
    # In a fixed order, to avoid deadlocks between transactions that end the same sessions.
    ends = func.least(SessionRow.expires_at, SessionRow.idle_expires_at)
    query = select(SessionRow.id, ends).where(SessionRow.user_id == user_id, SessionRow.ended_at.is_(None), *conditions)
    locked = {row[0]: row[1] for row in await session.execute(query.order_by(SessionRow.id).with_for_update())}
    if not locked:
        return []
    await session.execute(update(SessionRow).where(SessionRow.id.in_(locked)).values(ended_at=now, ended_reason=reason))
    details = {"sessions": [str(each) for each in locked], "reason": reason}
    record(session, origin, action="session.ended", user_id=user_id, details=details)
    revoked = SessionsRevoked(user_id=user_id, sessions=tuple(str(each) for each in locked), reason=reason)
    publish(session, EventType.SESSION_REVOKED, revoked, subject=user_id)
    return [end > now for end in locked.values()]
