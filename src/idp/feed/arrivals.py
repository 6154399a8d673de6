"""Waits for new events: one poll of the outbox for all requests that wait in this process."""

import asyncio
import contextlib

import structlog

from idp.background import BackgroundService
from idp.db.engine import Database
from idp.errors import DatabaseUnavailable
from idp.events.reading import START, Position, last_position
from idp.feed.restored import adapt_positions

log = structlog.get_logger("idp.feed")

_POLL_SECONDS = 0.25
_UNAVAILABLE_SECONDS = 2.0


class Arrivals(BackgroundService):
    """Knows the position of the newest event while a request waits for one.

    Args:
        database: stores the outbox.
    """

    def __init__(self, database: Database) -> None:
        super().__init__("event feed", self._run)
        self._database = database
        self._newest = START
        self._waiting = 0
        self._is_awaited = asyncio.Event()
        self._arrived = asyncio.Condition()

    async def wait_beyond(self, position: Position, *, seconds: float) -> bool:
        """Wait until there is an event beyond a position.

        Args:
            position: of the last event that the reader has.
            seconds: how long to wait at most.

        Returns:
            Whether there is one; False after the time, and when the service stops.
        """
        self._waiting += 1
        self._is_awaited.set()
        try:
            async with asyncio.timeout(seconds), self._arrived:
                await self._arrived.wait_for(lambda: self._newest > position)
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._is_awaited.clear()
        return True

    async def _run(self) -> None:
        await self._adapt_positions()
        while True:
            await self._is_awaited.wait()
            with contextlib.suppress(DatabaseUnavailable):
                async with self._database.transaction() as session:
                    self._newest = await last_position(session)
                async with self._arrived:
                    self._arrived.notify_all()
            await asyncio.sleep(_POLL_SECONDS)

    async def _adapt_positions(self) -> None:
        while True:
            try:
                async with self._database.transaction() as session:
                    if await adapt_positions(session):
                        log.warning("the events come from another database cluster; cursors of the feed are invalid")
            except DatabaseUnavailable:
                await asyncio.sleep(_UNAVAILABLE_SECONDS)
            else:
                return
