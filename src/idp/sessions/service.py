"""Sessions: beginning, listing and ending them. Every function works inside the caller's transaction."""

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
from idp.principal.model import Credential
from idp.sessions.models import SessionRow

SINGLE_FACTOR = "1"  # `acr`: one factor, the lowest level of ISO/IEC 29115 that names a person
LOGGED_OUT, LOGGED_OUT_EVERYWHERE = "logged_out", "logged_out_everywhere"
SURPLUS = "too_many_sessions"
REPLACED = "signed_in_again"
TOO_MANY_WRONG_PASSWORDS = "too_many_wrong_passwords"
_MOST_AT_ONCE = 100  # sessions that one sign-in ends
SIGNED_OUT_BY_ADMIN = "signed_out_by_admin"

# The row of the user is locked against changes until this commits. Whoever changes the password or disables the user
# either waits, and then ends this session too, or came first, and then nobody is found here.
_BEGIN = text("""
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
    """What a session says of how somebody signed in, for the tokens that are issued from it.

    Attributes:
        amr: how they proved who they are (RFC 8176), such as `("pwd",)`.
        acr: how sure that makes us (OpenID Connect Core section 2).
        auth_time: when they did.
        expires_at: when the session ends at the latest; no token of it lives longer.
    """

    session_id: UUID
    amr: tuple[str, ...]
    acr: str
    auth_time: datetime
    expires_at: datetime


class NewSession(Struct, frozen=True):
    """A session that has just begun.

    Attributes:
        is_new_device: whether somebody who has signed in before does so now with another program, or from another
            address. A first sign-in ever is nothing to warn of.
        others: how many live sessions the user has besides.
    """

    login: Login
    is_new_device: bool
    others: int


class FirstToken(Struct, frozen=True):
    """The refresh token that a session begins with, and whose it is; it ends with the session's idle time."""

    digest: str
    client_id: str


class Device(Struct, frozen=True):
    """Where somebody signs in.

    Attributes:
        info: what the client says of itself, an object or a text (C-32).
    """

    info: Any = None
    user_agent: str | None = None
    ip_address: str | None = None


class Lifetime(Struct, frozen=True):
    """How long a session lives, in seconds: without use, and at most."""

    idle_seconds: int
    seconds: int


class SessionRecord(Struct, frozen=True):
    """A session, as its owner and administrators see it."""

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
    most_failures: int | None = None,
) -> NewSession | None:
    """Begin a session, unless the user was disabled or their password changed since they proved who they are.

    Args:
        session: the caller's transaction.
        user_id: who signed in.
        device: where.
        lifetime: how long.
        password_version: of the user when they proved it.
        amr: how they did.
        cookie_digest: of the cookie that continues it, if there is one.
        first_token: the refresh token that does, if there is one.
        most_failures: with so many wrong passwords in a row, or more, none begins (SEC-8); None for any number.

    Returns:
        The new session; None where it may not begin any more.
    """
    now = clock.now()
    login = Login(uuid7(), amr, SINGLE_FACTOR, now, now + timedelta(seconds=lifetime.seconds))
    started = await session.execute(
        _BEGIN,
        {
            "id": login.session_id,
            "user_id": user_id,
            "password_version": password_version,
            "most_failures": most_failures,
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
    """Return what the session of a credential says of how somebody signed in.

    Raises:
        ValueError: the credential belongs to no session.
    """
    if credential.session_id is None or credential.auth_time is None or credential.expires_at is None:
        raise ValueError("the credential belongs to no session")
    return Login(
        UUID(credential.session_id), credential.amr, credential.acr or "", credential.auth_time, credential.expires_at
    )


def idle_end(login: Login, lifetime: Lifetime) -> datetime:
    """Return when a session that has just begun ends, if it is never used."""
    return min(login.expires_at, login.auth_time + timedelta(seconds=lifetime.idle_seconds))


async def list_live(session: AsyncSession, user_id: str) -> list[SessionRecord]:
    """Return the sessions of a user that have not ended, the newest first."""
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
    """End a session of a user, with its refresh tokens, its cookie and its access tokens; False if it had ended."""
    return bool(await _end(session, origin, user_id, reason, SessionRow.id == session_id))


async def end_of_cookie(session: AsyncSession, origin: Origin, digests: Sequence[str], *, keep: UUID) -> None:
    """End the session that a browser brought along, whoever's it is: its cookie is replaced, so nobody can use it.

    Args:
        session: the caller's transaction.
        origin: who signed in.
        digests: under which the cookie may be stored.
        keep: the session that has just begun.
    """
    wanted = select(SessionRow.id, SessionRow.user_id).where(
        SessionRow.cookie_digest.in_(digests), SessionRow.id != keep, SessionRow.ended_at.is_(None)
    )
    for session_id, user_id in (await session.execute(wanted)).all():
        await end(session, origin, session_id, user_id=user_id, reason=REPLACED)


async def end_all(session: AsyncSession, origin: Origin, user_id: str, *, reason: str, keep: UUID | None = None) -> int:
    """End all sessions of a user, but for the one to keep, and return how many of them could still be used."""
    others = [SessionRow.id != keep] if keep is not None else []
    return sum(await _end(session, origin, user_id, reason, *others))


async def end_surplus(session: AsyncSession, origin: Origin, user_id: str, *, most: int) -> int:
    """End the sessions that were not used for longest, where a user has more than this many; return how many ended."""
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
        .offset(most)
        .limit(_MOST_AT_ONCE)
    )
    ids = (await session.scalars(surplus)).all()
    return len(await _end(session, origin, user_id, SURPLUS, SessionRow.id.in_(ids))) if ids else 0


async def _end(session: AsyncSession, origin: Origin, user_id: str, reason: str, *which: Any) -> list[bool]:
    """End sessions, and return for each whether it could still be used.

    One whose time is up is ended too: a use that is not written down yet would prolong it.
    """
    now = clock.now()
    # In one order, so that two who end the same sessions never wait for each other in a circle.
    ends = func.least(SessionRow.expires_at, SessionRow.idle_expires_at)
    wanted = select(SessionRow.id, ends).where(SessionRow.user_id == user_id, SessionRow.ended_at.is_(None), *which)
    locked = {row[0]: row[1] for row in await session.execute(wanted.order_by(SessionRow.id).with_for_update())}
    if not locked:
        return []
    await session.execute(update(SessionRow).where(SessionRow.id.in_(locked)).values(ended_at=now, ended_reason=reason))
    details = {"sessions": [str(each) for each in locked], "reason": reason}
    record(session, origin, action="session.ended", user_id=user_id, details=details)
    publish(session, EventType.SESSION_REVOKED, user_id=user_id, data=details)
    return [end > now for end in locked.values()]
