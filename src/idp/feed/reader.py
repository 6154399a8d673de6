"""Reads pages of events for a consumer, and notices a cursor whose events are deleted."""

import time
from collections.abc import Sequence

from msgspec import Struct
from sqlalchemy import text

from idp.db.engine import Database
from idp.errors import CursorExpired
from idp.events.reading import START, Position, StoredEvent, last_position, read_after
from idp.feed.arrivals import Arrivals

_SLICE = 500  # events per statement, when types are selected
_MAX_SLICES = 20  # statements per page
_IS_KEPT = text("SELECT EXISTS (SELECT FROM idp.outbox WHERE transaction = :transaction AND seq = :seq)")


class Page(Struct, frozen=True):
    """Events, the position behind the last one that was read, and whether there may be more at once.

    Events of other types count as read, so the position moves on beyond them.
    """

    events: Sequence[StoredEvent]
    position: Position
    is_full: bool


class Reader:
    """Reads events after a position.

    Args:
        database: stores the outbox.
        arrivals: waits for new events.
    """

    def __init__(self, database: Database, arrivals: Arrivals) -> None:
        self._database = database
        self._arrivals = arrivals

    async def newest(self) -> Position:
        """Return the position of the newest event, from which only later ones follow."""
        async with self._database.transaction() as session:
            return await last_position(session)

    async def check(self, position: Position) -> None:
        """Refuse a position whose event is deleted: later ones that the consumer has not read may be, too.

        Raises:
            CursorExpired: it is.
        """
        if position == START:
            return
        async with self._database.transaction() as session:
            where = {"transaction": position.transaction, "seq": position.seq}
            if not await session.scalar(_IS_KEPT, where):
                raise CursorExpired

    async def read(self, position: Position, *, types: frozenset[str], limit: int) -> Page:
        """Return the next events at once.

        Args:
            position: of the last event that the consumer has.
            types: only events of these types; all if it is empty.
            limit: the largest number of events to return.
        """
        selected: list[StoredEvent] = []
        size = _SLICE if types else limit
        for _ in range(_MAX_SLICES):
            async with self._database.transaction() as session:
                found = await read_after(session, position, limit=size)
            for event in found:
                position = event.position
                if not types or event.type in types:
                    selected.append(event)
                if len(selected) == limit:
                    return Page(selected, position, True)
            if len(found) < size:
                return Page(selected, position, False)
        return Page(selected, position, True)

    async def wait_beyond(self, position: Position, *, seconds: float) -> bool:
        """Wait until there is an event beyond a position; False if there is none within so many seconds."""
        return await self._arrivals.wait_beyond(position, seconds=seconds)

    async def read_or_wait(self, position: Position, *, types: frozenset[str], limit: int, seconds: float) -> Page:
        """Return the next events; if there are none, wait for one for so many seconds."""
        until = time.monotonic() + seconds
        page = await self.read(position, types=types, limit=limit)
        while not page.events and not page.is_full and (left := until - time.monotonic()) > 0:
            if await self.wait_beyond(page.position, seconds=left):
                page = await self.read(page.position, types=types, limit=limit)
        return page
