"""Reads committed events in an order that no later commit changes.

`seq` alone is no cursor: an event may be committed after one with a greater `seq`. The order is that of the
transactions' ids, and only events of transactions older than every running one are read, so nothing appears before a
position that a reader has reached.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

_COLUMNS = "transaction, seq, id, type, subject, sequence, data, created_at"
_IS_SETTLED = "transaction < (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint"
_AFTER = text(f"""
SELECT {_COLUMNS} FROM idp.outbox
 WHERE (transaction, seq) > (:transaction, :seq) AND {_IS_SETTLED}
   AND (CAST(:since AS timestamptz) IS NULL OR created_at >= :since)
 ORDER BY transaction, seq LIMIT :limit
""")  # noqa: S608  constants
_LAST = text(f"SELECT transaction, seq FROM idp.outbox WHERE {_IS_SETTLED} ORDER BY transaction DESC, seq DESC LIMIT 1")  # noqa: S608


class Position(Struct, frozen=True, order=True):
    """A position in the stream; its text is a cursor."""

    transaction: int = 0
    seq: int = 0

    @classmethod
    def parse(cls, cursor: str) -> "Position":
        """Parse a cursor.

        Raises:
            ValueError: it is not a cursor.
        """
        transaction, dash, seq = cursor.partition("-")
        if not (dash and transaction.isdecimal() and seq.isdecimal() and len(cursor) <= 40 and cursor.isascii()):
            raise ValueError("not a position")
        position = cls(int(transaction), int(seq))
        if max(position.transaction, position.seq) >= 2**63:
            raise ValueError("not a position")
        return position

    def __str__(self) -> str:
        return f"{self.transaction}-{self.seq}"


START = Position()


class StoredEvent(Struct, frozen=True):
    """A committed event; `envelope.cloud_event` takes it."""

    transaction: int
    seq: int
    id: UUID
    type: str
    subject: str
    sequence: int | None
    data: dict[str, Any]
    created_at: datetime

    @property
    def position(self) -> Position:
        return Position(self.transaction, self.seq)


async def read_after(
    session: AsyncSession, position: Position, *, limit: int, since: datetime | None = None
) -> Sequence[StoredEvent]:
    """Return the next events after a position, oldest first.

    Args:
        session: a transaction.
        position: of the last event read; `START` for all that are kept.
        limit: the largest number of events.
        since: only events of this time or later.
    """
    values = {"transaction": position.transaction, "seq": position.seq, "limit": limit, "since": since}
    return [StoredEvent(*row) for row in await session.execute(_AFTER, values)]


async def last_position(session: AsyncSession) -> Position:
    """Return the position of the newest event that `read_after` returns."""
    row = (await session.execute(_LAST)).first()
    return Position(*row) if row else START
