"""Link committed audit records into the hash chain within a second, in every process.

A record is written in the transaction that it describes, without waiting. The process that holds the lock links new
records; there is one chain and no leader that could fail (docs/decisions/0014).
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

PERIOD = 0.4  # polling interval in seconds
_AFTER_A_FAILURE = 5.0
_SEARCH_EVERY = 3600.0
# A record has the time of its write and becomes visible at its commit, at most seconds later, because statements and
# idle transactions time out. Later ones, or those with a wrong clock, are found by the full search.
_LATE = timedelta(seconds=30)


class Chain(BackgroundService):
    """Links audit records.

    Args:
        database: stores them.
    """

    def __init__(self, database: Database) -> None:
        super().__init__("audit chain", self._run)
        self._database = database
        self._known: Link | None = None
        self._noted: Link | None = None
        self._since: datetime | None = None  # where to continue after a full batch
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
        """Link the records committed since the last link, unless another process holds the lock.

        Returns:
            Whether more records are waiting.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable; the records wait.
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
        """Search all records for unlinked ones: at start, then hourly, one slice per call."""
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
        """Log an error if the chain is shorter or different: it was manipulated, or a backup was restored."""
        known, self._known = self._known, head.link if head else None
        found = self._known
        if known and (found is None or found.seq < known.seq or (found.seq == known.seq and found != known)):
            log.error("the audit chain was cut", known=str(known), found=str(found))

    def _know(self, linked: Linked | None) -> None:
        """Store the committed head."""
        self._known = linked.link if linked else self._known

    def _note_head(self) -> None:
        """Log the head, out of reach of an attacker on the database, for `idp audit verify --head`."""
        if self._known and self._known != self._noted:
            log.info("the audit chain so far", head=str(self._known))
            self._noted = self._known
