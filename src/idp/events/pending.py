"""The relay's view of the outbox: events that Kafka does not have yet. All functions use the caller's transaction."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Raw, Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

_PENDING = text("""
SELECT seq, id::text, type, subject, sequence, convert_to(data::text, 'UTF8') AS data, created_at, attempts
  FROM idp.outbox
 WHERE published_at IS NULL AND parked_at IS NULL AND seq > :after ORDER BY seq LIMIT :limit
""")
_MARK = text("UPDATE idp.outbox SET published_at = now(), error = NULL WHERE seq = ANY(:seqs) AND published_at IS NULL")
_COUNT_ATTEMPT = text("""
UPDATE idp.outbox o SET attempts = o.attempts + 1, error = f.reason,
       parked_at = CASE WHEN o.attempts + 1 >= :limit THEN now() END
  FROM unnest(CAST(:seqs AS bigint[]), CAST(:reasons AS text[])) AS f(seq, reason)
 WHERE o.seq = f.seq AND o.published_at IS NULL RETURNING o.id, o.type, o.subject, o.parked_at IS NOT NULL AS is_parked
""")
_SIZES = text("""
SELECT count(*) FILTER (WHERE parked_at IS NULL) AS pending, count(*) FILTER (WHERE parked_at IS NOT NULL) AS parked
  FROM idp.outbox WHERE published_at IS NULL
""")
_PARKED = text("""
SELECT seq, id, type, subject, attempts, error, created_at, parked_at FROM idp.outbox
 WHERE parked_at IS NOT NULL ORDER BY seq LIMIT :limit
""")
# Without Kafka nothing is published, and age alone decides. A slice a time, from the oldest on.
_DELETE_OLD = text("""
WITH oldest AS (
    SELECT seq, created_at, published_at, parked_at FROM idp.outbox WHERE seq > :after ORDER BY seq LIMIT :limit
), gone AS (
    DELETE FROM idp.outbox WHERE seq IN (
        SELECT seq FROM oldest
         WHERE created_at < now() - make_interval(days => :days)
           AND (NOT :relayed OR published_at IS NOT NULL OR parked_at IS NOT NULL))
    RETURNING seq
)
SELECT (SELECT max(seq) FROM oldest) AS last, (SELECT count(*) FROM gone) AS deleted,
       (SELECT bool_or(created_at < now() - make_interval(days => :days)) FROM oldest) AS any_old
""")
_REPLAY = "UPDATE idp.outbox SET published_at = NULL, parked_at = NULL, attempts = 0, error = NULL WHERE "
_REPLAY_SINCE = text(f"{_REPLAY} created_at >= :since AND (published_at IS NOT NULL OR parked_at IS NOT NULL)")
_REPLAY_PARKED = text(f"{_REPLAY} parked_at IS NOT NULL")


class PendingEvent(Struct, frozen=True):
    """An event to publish; `data` is JSON. `envelope` takes it."""

    seq: int
    id: str
    type: str
    subject: str
    sequence: int | None
    data: Raw
    created_at: datetime
    attempts: int


class ParkedEvent(Struct, frozen=True):
    """An event that Kafka refused for good, and why."""

    seq: int
    id: UUID
    type: str
    subject: str
    attempts: int
    error: str | None
    created_at: datetime
    parked_at: datetime


class Attempted(Struct, frozen=True):
    """An event that was refused, and whether it is parked now."""

    id: UUID
    type: str
    subject: str
    is_parked: bool


async def find_pending(session: AsyncSession, *, after: int, limit: int) -> list[PendingEvent]:
    """Return unpublished events with a greater `seq`, in its order."""
    rows = await session.execute(_PENDING, {"after": after, "limit": limit})
    return [
        PendingEvent(seq, id_, type_, subject, sequence, Raw(data), created_at, attempts)
        for seq, id_, type_, subject, sequence, data, created_at, attempts in rows
    ]


async def mark_published(session: AsyncSession, seqs: Sequence[int]) -> None:
    """Mark events as published."""
    await session.execute(_MARK, {"seqs": list(seqs)})


async def count_attempts(session: AsyncSession, reasons: Mapping[int, str], *, limit: int) -> list[Attempted]:
    """Count an attempt of each event, and park those that have had as many as the limit."""
    values = {"seqs": list(reasons), "reasons": list(reasons.values()), "limit": limit}
    return [Attempted(*row) for row in await session.execute(_COUNT_ATTEMPT, values)]


async def count_outbox(session: AsyncSession) -> tuple[int, int]:
    """Return the numbers of pending and of parked events."""
    row = (await session.execute(_SIZES)).one()
    return row.pending, row.parked


async def list_parked(session: AsyncSession, *, limit: int) -> list[ParkedEvent]:
    """Return parked events, oldest first."""
    return [ParkedEvent(*row) for row in await session.execute(_PARKED, {"limit": limit})]


async def replay(session: AsyncSession, *, since: datetime | None) -> int:
    """Publish events again, of this time and later; None: the parked ones. Return their number."""
    statement, values = (_REPLAY_PARKED, {}) if since is None else (_REPLAY_SINCE, {"since": since})
    return (await session.execute(statement, values)).rowcount  # type: ignore[attr-defined,no-any-return]


async def delete_old(session: AsyncSession, *, after: int, limit: int, days: int, relayed: bool) -> tuple[int, int]:
    """Delete events that are older than so many days, of the next so many.

    Args:
        session: the transaction.
        after: continue after this `seq`.
        limit: the number of events to look at.
        days: their age.
        relayed: keep what Kafka still has to get.

    Returns:
        The last `seq` looked at, 0 if no older event follows; and the number of deleted events.
    """
    values = {"after": after, "limit": limit, "days": days, "relayed": relayed}
    row = (await session.execute(_DELETE_OLD, values)).one()
    return (row.last or 0) if row.any_old else 0, row.deleted
