"""Reads and changes of API keys and service tokens.

Changes run in a transaction of the single writer (`commands.py`), or in one that has called `lock` first (C-27).
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from advanced_alchemy.filters import NullFilter, OrderBy, StatementFilter
from msgspec import Struct
from sqlalchemy import func, or_, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import ColumnElement
from uuid_utils.compat import uuid7

from idp import clock
from idp.apikeys.key_events import publish_change, publish_creation, publish_revocation
from idp.apikeys.models import ApiKeyRow
from idp.apikeys.secret import PREFIX_LENGTH, Peppers, generate
from idp.apikeys.shapes import KeyOut, KeySecret, NewKey, NewToken, OwnedKey, TokenOut, TokenSecret, key_id
from idp.audit.record import Origin, record
from idp.db.repository import Repository
from idp.errors import KeyExpired, KeyNotFound, KeyRevoked, NameTaken, ServiceTokenNotFound, TooManyKeys, UserNotFound
from idp.events.catalogue import EventType
from idp.ops.client_json import check_client_json
from idp.ops.problems import invalid
from idp.settings_schema import ApiKeys

USER_KEY, SERVICE_TOKEN = "user_key", "service_token"
LOCK = 0x1D9_4E76  # of all changes to keys (C-27)
# If the lock's holder hangs, PostgreSQL ends its transaction (after 3 s, if statements may take 5) before the others'
# lock timeout (4 s).
_LIMITS = text(
    "SELECT set_config('lock_timeout', (milliseconds * 0.8)::int::text, true),"
    " set_config('idle_in_transaction_session_timeout', (milliseconds * 0.6)::int::text, true)"
    " FROM (SELECT extract(epoch FROM current_setting('statement_timeout')::interval) * 1000) AS limits (milliseconds)"
)
_TAKE_LOCK = text("SELECT pg_advisory_xact_lock(:lock)").bindparams(lock=LOCK)
_OWNER = text("SELECT is_active AND deleted_at IS NULL FROM idp.users WHERE id = :id FOR SHARE")
_MAX_METADATA_BYTES = 8192  # bytes of JSON
_MAX_METADATA_LEVELS = 32  # a reader may have a smaller stack than the writer


class ApiKeyRepository(Repository[ApiKeyRow]):
    """Keys and service tokens, newest first."""

    model_type = ApiKeyRow
    ordering = (OrderBy("created_at", "desc"), OrderBy("id", "desc"))


class KeyFactory(Struct, frozen=True):
    """The settings and peppers that creating a secret needs."""

    settings: ApiKeys
    peppers: Peppers

    def prefix(self, kind: str) -> str:
        return self.settings.user_key_prefix if kind == USER_KEY else self.settings.service_token_prefix


async def lock(session: AsyncSession) -> None:
    """Take the cluster-wide lock for changes to keys, until the transaction ends (C-27).

    Raises:
        DatabaseUnavailable: it was not available within four fifths of `database.statement_timeout_seconds`.
    """
    await session.execute(_LIMITS)
    await session.execute(_TAKE_LOCK)


# --- keys of users ---------------------------------------------------------------------------------------------------


async def create_key(
    session: AsyncSession, key_factory: KeyFactory, origin: Origin, user_id: str, new: NewKey
) -> KeySecret:
    """Create a key for a user.

    Raises:
        UserNotFound: the user was deleted or disabled.
        TooManyKeys: the user has as many live keys as the settings allow.
    """
    if not (await session.execute(_OWNER, {"id": user_id})).scalar():
        raise UserNotFound
    live = await session.scalar(select(func.count()).select_from(ApiKeyRow).where(*_of_user(user_id), _is_live()))
    if (live or 0) >= key_factory.settings.max_keys_per_user:
        raise TooManyKeys(f"You have {live} keys, which is the limit. Revoke one first.")
    row, secret = await _insert_with_secret(
        session,
        key_factory,
        ApiKeyRow(
            kind=USER_KEY,
            user_id=user_id,
            name=new.name,
            scopes=list(dict.fromkeys(new.scopes)),
            details={},
            created_by=origin.actor,
            expires_at=_in_days(new.expires_in_days),
        ),
    )
    _record(session, origin, "created", row, scopes=row.scopes)
    return KeySecret.of(row, secret)


async def list_keys(
    session: AsyncSession, user_id: str, *, include_revoked: bool, limit: int | None, offset: int
) -> tuple[list[KeyOut], int]:
    """Return a user's keys, newest first, all or one page, and their total number."""
    rows, total = await ApiKeyRepository(session).page(
        *_unless_revoked(include_revoked), kind=USER_KEY, user_id=user_id, limit=limit, offset=offset
    )
    return [KeyOut.of(row) for row in rows], total


async def get_key(session: AsyncSession, user_id: str, row_id: UUID) -> KeyOut:
    """Return one of a user's keys.

    Raises:
        KeyNotFound: the user has no key with this id.
    """
    return KeyOut.of(await _get_key(session, user_id, row_id))


async def rename_key(session: AsyncSession, origin: Origin, user_id: str, row_id: UUID, name: str) -> KeyOut:
    """Rename a key.

    Raises:
        KeyNotFound: as for `get_key`.
    """
    row = await _get_key(session, user_id, row_id)
    if row.name != name:
        before, row.name = row.name, name
        _record(session, origin, "renamed", row, before=before)
        publish_change(session, row, EventType.API_KEY_UPDATED)
    return KeyOut.of(row)


async def rotate_key(
    session: AsyncSession, key_factory: KeyFactory, origin: Origin, user_id: str, row_id: UUID, *, overlap_seconds: int
) -> KeySecret:
    """Replace the secret of a key; the old one is revoked now, or after the overlap (S0-24).

    Raises:
        KeyNotFound: as for `get_key`.
        KeyRevoked: the key was revoked.
        KeyExpired: the key has expired.
    """
    row = await _get_key(session, user_id, row_id)
    now = clock.now()
    _check_live(row, now)
    secret = generate(key_factory.prefix(USER_KEY))
    row.former_digest, row.former_until = row.digest, now + timedelta(seconds=overlap_seconds)
    _set_secret(row, key_factory.peppers, secret)
    _record(session, origin, "rotated", row, overlap_seconds=overlap_seconds)
    publish_change(session, row, EventType.API_KEY_ROTATED)
    return KeySecret.of(row, secret)


async def revoke_key(session: AsyncSession, origin: Origin, user_id: str, row_id: UUID) -> KeyOut:
    """Revoke a key; revoking it again changes nothing.

    Raises:
        KeyNotFound: as for `get_key`.
    """
    row = await _get_key(session, user_id, row_id)
    _revoke(session, origin, row, None)
    return KeyOut.of(row)


async def revoke_all_keys(session: AsyncSession, origin: Origin, user_id: str, reason: str) -> int:
    """Revoke all keys of a user, in a transaction that called `lock` first, and return their number."""
    rows = await session.scalars(select(ApiKeyRow).where(*_of_user(user_id), ApiKeyRow.revoked_at.is_(None)))
    unrevoked = list(rows)
    for row in unrevoked:
        _revoke(session, origin, row, reason)
    return len(unrevoked)


async def revoke_everyones_keys(session: AsyncSession, origin: Origin, *, reason: str) -> None:
    """Revoke all keys and service tokens, in a transaction that called `lock` first."""
    for row in await session.scalars(select(ApiKeyRow).where(ApiKeyRow.revoked_at.is_(None))):
        _revoke(session, origin, row, reason)


# --- service tokens --------------------------------------------------------------------------------------------------


async def create_token(session: AsyncSession, key_factory: KeyFactory, origin: Origin, new: NewToken) -> TokenSecret:
    """Create a service token.

    Raises:
        NameTaken: a live token has this name (C-32).
        ValidationFailed: the metadata cannot be stored.
    """
    check_client_json(new.metadata or {}, "metadata", max_bytes=_MAX_METADATA_BYTES, levels=_MAX_METADATA_LEVELS)
    await _check_name(session, new.name)
    row, secret = await _insert_with_secret(
        session,
        key_factory,
        ApiKeyRow(
            kind=SERVICE_TOKEN,
            user_id=None,
            name=new.name,
            scopes=list(dict.fromkeys(new.scopes)),
            details=new.metadata or {},
            created_by=origin.actor,
            expires_at=_in_days(new.ttl_days),
        ),
    )
    _record(session, origin, "created", row, scopes=row.scopes)
    return TokenSecret.of(row, secret)


async def list_tokens(
    session: AsyncSession, *, include_revoked: bool, limit: int | None, offset: int
) -> tuple[list[TokenOut], int]:
    """Return service tokens, newest first, all or one page, and their total number."""
    rows, total = await ApiKeyRepository(session).page(
        *_unless_revoked(include_revoked), kind=SERVICE_TOKEN, limit=limit, offset=offset
    )
    return [TokenOut.of(row) for row in rows], total


async def list_tokens_after(
    session: AsyncSession, *, after: str | None, limit: int
) -> tuple[list[TokenOut], str | None]:
    """Return service tokens, newest first, revoked ones too, without counting.

    Args:
        session: the caller's transaction.
        after: the id of the last token of the page before; None for the first page.
        limit: size of a page.

    Returns:
        The page, and the id after which the next one begins; None if this is the last.
    """
    query = select(ApiKeyRow).where(ApiKeyRow.kind == SERVICE_TOKEN)
    before = await session.get(ApiKeyRow, _uuid(after)) if after is not None and _uuid(after) else None
    if before is not None:
        place = tuple_(ApiKeyRow.created_at, ApiKeyRow.id) < tuple_(before.created_at, before.id)
        query = query.where(place)
    query = query.order_by(ApiKeyRow.created_at.desc(), ApiKeyRow.id.desc()).limit(limit + 1)
    rows = list(await session.scalars(query))
    return [TokenOut.of(row) for row in rows[:limit]], str(rows[limit - 1].id) if len(rows) > limit else None


async def search_keys(session: AsyncSession, text: str, *, limit: int) -> list[OwnedKey]:
    """Return keys of users by their id, or by the beginning of their secret that is shown, or by their name."""
    row_id = _uuid(text.removeprefix("key_"))
    by_id = [ApiKeyRow.id == row_id] if row_id is not None else []
    matches = or_(*by_id, ApiKeyRow.prefix == text[:PREFIX_LENGTH].removesuffix("…"), ApiKeyRow.name == text)
    query = select(ApiKeyRow).where(ApiKeyRow.kind == USER_KEY, matches).order_by(ApiKeyRow.id.desc()).limit(limit)
    return [OwnedKey(row.user_id or "", KeyOut.of(row)) for row in await session.scalars(query)]


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


async def get_token(session: AsyncSession, row_id: UUID) -> TokenOut:
    """Return a service token.

    Raises:
        ServiceTokenNotFound: there is no token with this id.
    """
    return TokenOut.of(await _get_token(session, row_id))


async def revoke_token(session: AsyncSession, origin: Origin, row_id: UUID, reason: str | None) -> TokenOut:
    """Revoke a service token; revoking it again changes nothing (S2-23).

    Raises:
        ServiceTokenNotFound: there is no token with this id.
    """
    row = await _get_token(session, row_id)
    _revoke(session, origin, row, reason)
    return TokenOut.of(row)


async def extend_token(session: AsyncSession, origin: Origin, row_id: UUID, days: int) -> TokenOut:
    """Extend a service token, from its expiry or from now if it had none (S2-24).

    Raises:
        ServiceTokenNotFound: there is no token with this id.
        KeyRevoked: the token was revoked.
        NameTaken: it had expired, and a live token has its name.
        ValidationFailed: it would expire after the year 9999.
    """
    row = await _get_token(session, row_id)
    if row.revoked_at is not None:
        raise KeyRevoked
    now, before = clock.now(), row.expires_at
    if before is not None and before <= now:
        await _check_name(session, row.name)
    try:
        row.expires_at = (before or now) + timedelta(days=days)
    except OverflowError:
        raise invalid(["body", "extend_days"], "The token would expire after the year 9999.") from None
    _record(session, origin, "extended", row, before=before and before.isoformat(), days=days)
    publish_change(session, row, EventType.SERVICE_TOKEN_UPDATED)
    return TokenOut.of(row)


# --- shared ----------------------------------------------------------------------------------------------------------


async def _insert_with_secret(session: AsyncSession, key_factory: KeyFactory, row: ApiKeyRow) -> tuple[ApiKeyRow, str]:
    secret = generate(key_factory.prefix(row.kind))
    row.id, row.created_at = uuid7(), clock.now()
    _set_secret(row, key_factory.peppers, secret)
    session.add(row)
    await session.flush()
    publish_creation(session, row)
    return row, secret


def _set_secret(row: ApiKeyRow, peppers: Peppers, secret: str) -> None:
    digest = peppers.digest(secret)
    row.digest, row.scheme, row.pepper = digest.hex, digest.scheme, digest.pepper
    row.prefix = secret[:PREFIX_LENGTH]


def _revoke(session: AsyncSession, origin: Origin, row: ApiKeyRow, reason: str | None) -> None:
    if row.revoked_at is None:
        row.revoked_at, row.revoked_reason = clock.now(), reason
        _record(session, origin, "revoked", row, **({"reason": reason} if reason else {}))
        publish_revocation(session, row)


def _record(session: AsyncSession, origin: Origin, verb: str, row: ApiKeyRow, **details: Any) -> None:
    noun = "api_key" if row.kind == USER_KEY else "service_token"
    details = {"name": row.name, "prefix": row.prefix, **details}
    record(
        session,
        origin,
        action=f"{noun}.{verb}",
        user_id=row.user_id,
        target=f"{noun}:{target_id(row)}",
        details=details,
    )


def target_id(row: ApiKeyRow) -> str:
    """Return the public id of a credential."""
    return key_id(row.id) if row.kind == USER_KEY else str(row.id)


def _of_user(user_id: str) -> tuple[ColumnElement[bool], ...]:
    return ApiKeyRow.kind == USER_KEY, ApiKeyRow.user_id == user_id


def _is_live() -> ColumnElement[bool]:
    unexpired = ApiKeyRow.expires_at.is_(None) | (ApiKeyRow.expires_at > clock.now())
    return ApiKeyRow.revoked_at.is_(None) & unexpired


def _unless_revoked(include_revoked: bool) -> tuple[StatementFilter, ...]:
    return () if include_revoked else (NullFilter("revoked_at"),)


async def _get_key(session: AsyncSession, user_id: str, row_id: UUID) -> ApiKeyRow:
    row = await ApiKeyRepository(session).get_one_or_none(id=row_id, kind=USER_KEY, user_id=user_id)
    if row is None:
        raise KeyNotFound
    return row


async def _get_token(session: AsyncSession, row_id: UUID) -> ApiKeyRow:
    row = await ApiKeyRepository(session).get_one_or_none(id=row_id, kind=SERVICE_TOKEN)
    if row is None:
        raise ServiceTokenNotFound
    return row


async def _check_name(session: AsyncSession, name: str) -> None:
    taken = select(ApiKeyRow.id).where(ApiKeyRow.kind == SERVICE_TOKEN, ApiKeyRow.name == name, _is_live())
    if await session.scalar(taken.limit(1)) is not None:
        raise NameTaken


def _check_live(row: ApiKeyRow, now: datetime) -> None:
    if row.revoked_at is not None:
        raise KeyRevoked
    if row.expires_at is not None and row.expires_at <= now:
        raise KeyExpired


def _in_days(days: int | None) -> datetime | None:
    return None if days is None else clock.now() + timedelta(days=days)
