"""The relay's view of the outbox: events that Kafka does not have yet. All functions use the caller's transaction."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Raw, Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

# `late`: committed since the events in `besides` were read, although with a smaller `seq` than the last of them.
_PENDING = text("""
WITH late AS (
    SELECT seq FROM idp.outbox_unpublished WHERE seq <= :last AND parked_at IS NULL
    EXCEPT SELECT unnest(CAST(:besides AS bigint[]))
), following AS (
    SELECT seq, attempts FROM idp.outbox_unpublished WHERE seq > :last AND parked_at IS NULL ORDER BY seq LIMIT :limit
), due AS (
    SELECT seq, attempts FROM late JOIN idp.outbox_unpublished USING (seq)
    UNION ALL SELECT seq, attempts FROM following ORDER BY seq LIMIT :limit
)
SELECT o.seq, o.id::text, o.type, o.subject, o.sequence, convert_to(o.data::text, 'UTF8') AS data, o.created_at,
       due.attempts
  FROM due JOIN idp.outbox o ON o.seq = due.seq ORDER BY due.seq
""")
_MARK = text("DELETE FROM idp.outbox_unpublished WHERE seq = ANY(:seqs)")
_COUNT_ATTEMPT = text("""
UPDATE idp.outbox_unpublished q SET attempts = q.attempts + 1, error = f.reason,
       parked_at = CASE WHEN q.attempts + 1 >= :limit THEN now() END
  FROM unnest(CAST(:seqs AS bigint[]), CAST(:reasons AS text[])) AS f(seq, reason) JOIN idp.outbox o ON o.seq = f.seq
 WHERE q.seq = f.seq RETURNING o.id, o.type, o.subject, q.parked_at IS NOT NULL AS is_parked
""")
_SIZES = text("""
SELECT count(*) FILTER (WHERE parked_at IS NULL) AS pending, count(parked_at) AS parked FROM idp.outbox_unpublished
""")
_PARKED = text("""
SELECT o.seq, o.id, o.type, o.subject, q.attempts, q.error, o.created_at, q.parked_at
  FROM idp.outbox_unpublished q JOIN idp.outbox o ON o.seq = q.seq
 WHERE q.parked_at IS NOT NULL ORDER BY o.seq LIMIT :limit
""")
# Without Kafka nothing is published, and age alone decides. A slice a time, from the oldest on.
_DELETE_OLD = text("""
WITH oldest AS (
    SELECT seq, created_at < now() - make_interval(days => :days) AS is_old
      FROM idp.outbox WHERE seq > :after ORDER BY seq LIMIT :limit
), due AS (
    SELECT seq FROM oldest WHERE is_old AND NOT (:relayed AND EXISTS (
        SELECT FROM idp.outbox_unpublished q WHERE q.seq = oldest.seq AND q.parked_at IS NULL))
), unqueued AS (
    DELETE FROM idp.outbox_unpublished WHERE seq IN (SELECT seq FROM due)
), gone AS (
    DELETE FROM idp.outbox WHERE seq IN (SELECT seq FROM due) RETURNING seq
)
SELECT (SELECT max(seq) FROM oldest) AS last, (SELECT count(*) FROM gone) AS deleted,
       (SELECT bool_or(is_old) FROM oldest) AS any_old
""")
_REPLAY_SINCE = text("""
INSERT INTO idp.outbox_unpublished AS q (seq) SELECT seq FROM idp.outbox WHERE created_at >= :since
    ON CONFLICT (seq) DO UPDATE SET parked_at = NULL, attempts = 0, error = NULL
""")
_REPLAY_PARKED = text("""
UPDATE idp.outbox_unpublished SET parked_at = NULL, attempts = 0, error = NULL WHERE parked_at IS NOT NULL
""")


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


async def find_pending(session: AsyncSession, *, besides: Sequence[int], limit: int) -> list[PendingEvent]:
    """Return unpublished events in the order of `seq`.

    Args:
        session: the transaction.
        besides: the `seq` of events that are being published. A lower bound would not do: an event with a smaller `seq`
            may have been committed since they were read, and later ones of its subject must not overtake it.
        limit: the largest number of events.
    """
    values = {"besides": list(besides), "last": max(besides, default=0), "limit": limit}
    rows = await session.execute(_PENDING, values)
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
