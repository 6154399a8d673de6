"""Start and end sessions. Every function works inside the caller's transaction."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from msgspec import Struct
from sqlalchemy import and_, bindparam, func, or_, select, text, true, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlalchemy.types import Text
from uuid_utils.compat import uuid7

from idp import clock
from idp.audit.record import Origin, record
from idp.events.catalogue import EventType
from idp.events.outbox import publish
from idp.events.shapes import SessionsRevoked
from idp.principal.model import SINGLE_FACTOR, Credential
from idp.sessions import apps
from idp.sessions.models import SessionRow

LOGGED_OUT, LOGGED_OUT_EVERYWHERE = "logged_out", "logged_out_everywhere"
SURPLUS = "too_many_sessions"
REPLACED = "signed_in_again"
TOO_MANY_WRONG_PASSWORDS = "too_many_wrong_passwords"
_MAX_ENDED_AT_ONCE = 100  # sessions ended by one sign-in
SIGNED_OUT_BY_ADMIN = "signed_out_by_admin"
ACTOR_SIGNED_OUT = "actor_signed_out"  # an administrator who acted as the user
_Kept = aliased(SessionRow)
# Sign-ins that wait for the second factor end with the sessions.
_FORGET_PENDING = text("DELETE FROM idp.pending_sign_ins WHERE user_id = :user_id")

# Locks the user's row until the commit. A concurrent password change or disabling either waits and then ends this
# session too, or was first, and then no row is found here. The factors are read by the names of their tables, because
# `users` stands beside this package.
_INSERT_SESSION = text("""
WITH owner AS (
    SELECT id, delete_after FROM idp.users
     WHERE id = :user_id AND is_active AND deleted_at IS NULL AND password_version = :password_version
       AND (CAST(:most_failures AS integer) IS NULL OR :most_failures >
            coalesce((SELECT failures FROM idp.sign_in_failures WHERE user_id = :user_id), 0))
       AND (CAST(:second_factor AS boolean) IS FALSE
            OR NOT (EXISTS (SELECT FROM idp.totp_secrets t WHERE t.user_id = :user_id)
                    OR EXISTS (SELECT FROM idp.passkeys p WHERE p.user_id = :user_id)))
       FOR SHARE
), forgiven AS (
    DELETE FROM idp.sign_in_failures WHERE user_id IN (SELECT id FROM owner) AND CAST(:actor_id AS text) IS NULL
), begun AS (
    INSERT INTO idp.user_sessions (id, user_id, created_at, last_seen_at, idle_seconds, idle_expires_at, expires_at,
                                   cookie_digest, device_info, user_agent, ip_address, amr, acr, auth_time,
                                   actor_id, actor_reason)
    SELECT :id, owner.id, :now, :now, :idle_seconds, :idle_expires_at, :expires_at,
           :cookie_digest, :device_info, :user_agent, :ip_address, :amr, :acr, :now,
           CAST(:actor_id AS text), :actor_reason
      FROM owner RETURNING user_id
), first_token AS (
    INSERT INTO idp.refresh_tokens (id, session_id, generation, digest, client_id, created_at, expires_at)
    SELECT :token_id, :id, 0, :token_digest, :client_id, :now, :idle_expires_at
      FROM begun WHERE CAST(:token_digest AS text) IS NOT NULL
)
SELECT EXISTS (SELECT FROM idp.user_sessions s WHERE s.user_id = begun.user_id) AS any_before,
       EXISTS (SELECT FROM idp.user_sessions s
                WHERE s.user_id = begun.user_id AND s.parent_id IS NULL AND s.actor_id IS NULL
                  AND s.user_agent IS NOT DISTINCT FROM :user_agent
                  AND s.ip_address IS NOT DISTINCT FROM :ip_address) AS same_before,
       (SELECT count(*) FROM idp.user_sessions s
         WHERE s.user_id = begun.user_id AND s.parent_id IS NULL AND s.actor_id IS NULL AND s.ended_at IS NULL
           AND s.expires_at > :now AND s.idle_expires_at > :now) AS others,
       (SELECT delete_after FROM owner) AS delete_after
  FROM begun
""").bindparams(bindparam("device_info", type_=JSONB(none_as_null=True)), bindparam("amr", type_=ARRAY(Text())))


class Login(Struct, frozen=True):
    """Authentication data of a session, for its tokens.

    Attributes:
        amr: authentication methods (RFC 8176), such as `("pwd",)`.
        acr: authentication context class (OpenID Connect Core section 2).
        auth_time: time of the authentication.
        expires_at: absolute end of the session and its tokens.
        actor_id: the administrator who acts as the user; None for the user.
    """

    session_id: UUID
    amr: tuple[str, ...]
    acr: str
    auth_time: datetime
    expires_at: datetime
    actor_id: str | None = None


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
        delete_after: when the account will be deleted, if the user asked for it.
    """

    login: Login
    is_new_device: bool
    others: int
    delete_after: datetime | None = None


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


class Actor(Struct, frozen=True):
    """An administrator who acts as a user for support, and why."""

    user_id: str
    reason: str


class Lifetime(Struct, frozen=True):
    """Idle timeout and absolute lifetime of a session, in seconds."""

    idle_seconds: int
    seconds: int


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
    acr: str = SINGLE_FACTOR,
    actor: Actor | None = None,
    second_factor: bool = False,
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
        acr: authentication context class: TWO_FACTORS after two, or a passkey that verified its user.
        actor: who acts as the user; None for the user.
        second_factor: refuse if the user has a second factor, which was not asked for.

    Returns:
        The new session; None if it may not start.
    """
    now = clock.now()
    login = Login(uuid7(), amr, acr, now, now + timedelta(seconds=lifetime.seconds), actor.user_id if actor else None)
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
            "actor_id": login.actor_id,
            "actor_reason": actor.reason if actor else None,
            "second_factor": second_factor,
        },
    )
    row = started.one_or_none()
    if row is None:
        return None
    is_new_device = row.any_before and not row.same_before
    return NewSession(login, is_new_device=is_new_device, others=row.others, delete_after=row.delete_after)


def login_of(credential: Credential) -> Login:
    """Return the authentication data of a credential's session.

    Raises:
        ValueError: the credential has no session.
    """
    if credential.session_id is None or credential.auth_time is None or credential.expires_at is None:
        raise ValueError("the credential has no session")
    return Login(
        UUID(credential.session_id),
        credential.amr,
        credential.acr or "",
        credential.auth_time,
        credential.expires_at,
        credential.impersonator,
    )


def idle_end(login: Login, lifetime: Lifetime) -> datetime:
    """Return the idle end of a new session."""
    return min(login.expires_at, login.auth_time + timedelta(seconds=lifetime.idle_seconds))


async def end(session: AsyncSession, origin: Origin, session_id: UUID, *, user_id: str, reason: str) -> bool:
    """End a session of a user with its apps, refresh tokens, cookie and access tokens; False if it had ended."""
    return bool(await _end(session, origin, user_id, reason, SessionRow.id == session_id))


async def end_by_id(session: AsyncSession, origin: Origin, session_id: UUID, *, reason: str) -> None:
    """End a session of any user."""
    row = await session.get(SessionRow, session_id)
    if row is not None:
        await end(session, origin, session_id, user_id=row.user_id, reason=reason)


async def end_app(session: AsyncSession, origin: Origin, sid: UUID, *, user_id: str, reason: str) -> bool:
    """End the sessions of an app in one browser, which have this `sid`; False if they had ended."""
    return bool(await _end(session, origin, user_id, reason, SessionRow.client_sid == sid))


async def end_by_cookie(session: AsyncSession, origin: Origin, digests: Sequence[str], *, keep: UUID) -> None:
    """End the session of a browser's previous cookie, of any user, because the cookie is replaced.

    If the same user signed in again, the apps of the previous session continue with the new one.

    Args:
        session: the caller's transaction.
        origin: the sign-in's origin.
        digests: possible digests of the cookie.
        keep: the new session.
    """
    owner = await session.scalar(select(SessionRow.user_id).where(SessionRow.id == keep))
    query = select(SessionRow.id, SessionRow.user_id).where(
        SessionRow.cookie_digest.in_(digests), SessionRow.id != keep, SessionRow.ended_at.is_(None)
    )
    for session_id, user_id in (await session.execute(query.with_for_update())).all():
        if user_id == owner:
            await apps.move(session, of=session_id, to=keep)
        await end(session, origin, session_id, user_id=user_id, reason=REPLACED)


async def end_all(session: AsyncSession, origin: Origin, user_id: str, *, reason: str, keep: UUID | None = None) -> int:
    """End all sessions of a user; return how many of them were live, without those of apps.

    Args:
        session: the caller's transaction.
        origin: the request's origin.
        user_id: the user.
        reason: for events and the audit record.
        keep: a session that continues with its apps; if it is an app's, with its browser's session.
    """
    await session.execute(_FORGET_PENDING, {"user_id": user_id})
    await end_acting(session, origin, user_id)
    others = (
        [] if keep is None else [_root(SessionRow) != select(_root(_Kept)).where(_Kept.id == keep).scalar_subquery()]
    )
    return sum(each.was_live and not each.is_app for each in await _end(session, origin, user_id, reason, *others))


async def end_acting(session: AsyncSession, origin: Origin, actor_id: str) -> None:
    """End the sessions in which an administrator acts as other users."""
    query = select(SessionRow.id, SessionRow.user_id).where(
        SessionRow.actor_id == actor_id, SessionRow.parent_id.is_(None), SessionRow.ended_at.is_(None)
    )
    for session_id, user_id in (await session.execute(query.order_by(SessionRow.id))).all():
        await end(session, origin, session_id, user_id=user_id, reason=ACTOR_SIGNED_OUT)


async def end_everyones(session: AsyncSession, origin: Origin, *, reason: str) -> None:
    """End all sessions of all users."""
    query = select(SessionRow.user_id).where(SessionRow.ended_at.is_(None)).distinct()
    for user_id in (await session.scalars(query.order_by(SessionRow.user_id))).all():
        await end_all(session, origin, user_id, reason=reason)


async def end_of_client(session: AsyncSession, origin: Origin, client_id: str, *, reason: str) -> int:
    """End all sessions of a client, of all users; return how many were live."""
    query = select(SessionRow.user_id).where(SessionRow.client_id == client_id, SessionRow.ended_at.is_(None))
    users = (await session.scalars(query.distinct().order_by(SessionRow.user_id))).all()
    return sum([await end_of_grant(session, origin, each, client_id, reason=reason) for each in users])


async def end_of_grant(session: AsyncSession, origin: Origin, user_id: str, client_id: str, *, reason: str) -> int:
    """End all sessions of a user at a client; return how many were live."""
    return sum(
        each.was_live for each in await _end(session, origin, user_id, reason, SessionRow.client_id == client_id)
    )


async def end_surplus(session: AsyncSession, origin: Origin, user_id: str, *, limit: int) -> int:
    """End the least recently used sessions above the limit, with their apps, which do not count; return how many."""
    now = clock.now()
    surplus = (
        select(SessionRow.id)
        .where(
            SessionRow.user_id == user_id,
            SessionRow.parent_id.is_(None),
            SessionRow.ended_at.is_(None),
            SessionRow.expires_at > now,
            SessionRow.idle_expires_at > now,
        )
        .order_by(SessionRow.last_seen_at.desc(), SessionRow.id.desc())
        .offset(limit)
        .limit(_MAX_ENDED_AT_ONCE)
    )
    ids = (await session.scalars(surplus)).all()
    ended = await _end(session, origin, user_id, SURPLUS, SessionRow.id.in_(ids)) if ids else []
    return sum(not each.is_app for each in ended)


class _Ended(Struct, frozen=True):
    session_id: UUID
    is_app: bool
    was_live: bool


async def _end(session: AsyncSession, origin: Origin, user_id: str, reason: str, *conditions: Any) -> list[_Ended]:
    """End sessions with their apps, tell the apps' clients, and return what ended.

    Expired ones are ended too, because activity that is not written yet would extend them.
    """
    ended = await _lock(session, user_id, conditions)
    if not ended:
        return []
    ids = [each.session_id for each in ended]
    values = {"ended_at": clock.now(), "ended_reason": reason}
    await session.execute(update(SessionRow).where(SessionRow.id.in_(ids)).values(values))
    if of_apps := [each.session_id for each in ended if each.is_app]:
        await apps.notify_clients(session, of_apps)
    details = {"sessions": [str(each) for each in ids], "reason": reason}
    record(session, origin, action="session.ended", user_id=user_id, details=details)
    revoked = SessionsRevoked(user_id=user_id, sessions=tuple(str(each) for each in ids), reason=reason)
    publish(session, EventType.SESSION_REVOKED, revoked, subject=user_id)
    return ended


async def _lock(session: AsyncSession, user_id: str, conditions: Sequence[Any]) -> list[_Ended]:
    """Lock sessions and then their apps, each in the order of ids, so that transactions do not deadlock.

    An app's session starts under a lock of its parent. The second statement begins after the parents are locked, so it
    sees the apps whose start they waited for.
    """
    now, is_app = clock.now(), SessionRow.parent_id.is_not(None)
    ends = func.least(SessionRow.expires_at, SessionRow.idle_expires_at)
    query = select(SessionRow.id, is_app, ends).where(SessionRow.user_id == user_id, SessionRow.ended_at.is_(None))
    query = query.order_by(SessionRow.id).with_for_update()
    parents = (await session.execute(query.where(~is_app, *conditions))).all()
    its_apps = SessionRow.parent_id.in_([row[0] for row in parents])
    of_apps = (await session.execute(query.where(is_app, or_(its_apps, and_(true(), *conditions))))).all()
    return [_Ended(session_id=row[0], is_app=row[1], was_live=row[2] > now) for row in (*parents, *of_apps)]


def _root(row: Any) -> Any:
    """The browser's session of a session."""
    return func.coalesce(row.parent_id, row.id)
