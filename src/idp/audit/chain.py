"""Chain: links committed audit records within a second, in the background of every process.

A record is written in the transaction of what it tells of and waits for nobody. Whichever process has the lock links
what is new; there is one chain, and no leader that could be lost (docs/decisions/0014).
"""

import asyncio
from datetime import datetime, timedelta

import structlog

from idp import clock
from idp.audit.links import BATCH, EVERYBODY, NOBODY, Head, Link, Linked, find_head, link_loose, next_slice, take_lock
from idp.background import BackgroundService
from idp.db.engine import Database, sqlstate
from idp.errors import DatabaseUnavailable

log = structlog.get_logger("idp.audit")

PERIOD = 0.4  # seconds between two looks at what is new
_AFTER_A_FAILURE = 5.0
_SEARCH_EVERY = 3600.0
# A record bears the time it was written at and is seen when its transaction ends, seconds later at most: statements
# and idle transactions have limits. What took longer, or came from a wrong clock, is found by the search.
_LATE = timedelta(seconds=30)


class Chain(BackgroundService):
    """Links audit records.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        super().__init__("audit chain", self._run)
        self._database = database
        self._known: Link | None = None
        self._noted: Link | None = None
        self._since: datetime | None = None  # where to go on, after a whole batch
        self._searched, self._search_at = NOBODY, 0.0

    async def _run(self) -> None:
        while True:
            try:
                more = await self.extend()
                more = await self._search() or more
                await asyncio.sleep(0 if more else PERIOD)
            except DatabaseUnavailable:
                await asyncio.sleep(_AFTER_A_FAILURE)
            except Exception as error:  # noqa: BLE001  nobody waits for this; the next look may succeed
                log.error("records are not chained", error=type(error).__name__, sqlstate=sqlstate(error))  # noqa: TRY400
                await asyncio.sleep(_AFTER_A_FAILURE)

    async def extend(self) -> bool:
        """Link what was committed since the last link, unless another process is at it.

        Returns:
            Whether more can be linked at once.

        Raises:
            DatabaseUnavailable: PostgreSQL is away; the records wait.
        """
        async with self._database.transaction() as session:
            if not await take_lock(session):
                return False
            head = await find_head(session)
            self._check_grown(head)
            since = self._since or (head.chained_at - _LATE if head else None)
            linked = await link_loose(session, head.link if head else None, since=since)
        self._know(linked)
        self._since = linked.until if linked and linked.number == BATCH else None
        return self._since is not None

    async def _search(self) -> bool:
        """Look through all records for what was not seen as new: at the start, then hourly, a slice each time."""
        if self._searched == NOBODY and clock.seconds() < self._search_at:
            return False
        linked = None
        async with self._database.transaction() as session:
            seen = await next_slice(session, self._searched)
            if seen.loose:
                if not await take_lock(session):
                    return False
                head = await find_head(session)
                linked = await link_loose(session, head.link if head else None, after=seen.after, until=seen.until)
        self._know(linked)
        if linked and linked.number == BATCH:
            return True
        self._searched = seen.until
        if seen.until == EVERYBODY:
            self._searched, self._search_at = NOBODY, clock.seconds() + _SEARCH_EVERY
            self._note_head()
        return False

    def _check_grown(self, head: Head | None) -> None:
        """Say aloud that the chain is not the one we knew: a hand was at it, or an older backup is in its place."""
        known, self._known = self._known, head.link if head else None
        found = self._known
        if known and (found is None or found.seq < known.seq or (found.seq == known.seq and found != known)):
            log.error("the audit chain was cut", known=str(known), found=str(found))

    def _know(self, linked: Linked | None) -> None:
        """Remember what was committed."""
        self._known = linked.link if linked else self._known

    def _note_head(self) -> None:
        """Put the head where whoever can write the tables cannot: into the log, for `idp audit verify --head`."""
        if self._known and self._known != self._noted:
            log.info("the audit chain so far", head=str(self._known))
            self._noted = self._known
