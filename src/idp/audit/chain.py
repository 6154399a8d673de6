"""Extends the hash chain over committed audit records, within a second, in the background of every process.

Writing a record takes no lock. The process that has the lease links new records, so there is one chain
(docs/decisions/0014).
"""

import asyncio
from datetime import datetime, timedelta

import structlog

from idp import clock
from idp.audit.links import BATCH, MAX_ID, MIN_ID, Head, Link, Linked, find_head, link_unlinked, next_slice
from idp.background import BackgroundService
from idp.db.engine import Database, sqlstate
from idp.db.lease import Lease
from idp.errors import DatabaseUnavailable

log = structlog.get_logger("idp.audit")

PERIOD = 0.4  # seconds between two queries for new records
_AFTER_A_FAILURE = 5.0
_LEASE_SECONDS = 3.0  # after a crash of the process that links, another one continues
_SEARCH_EVERY = 3600.0
# A record has the time of its insertion and becomes visible at the commit, at most seconds later, since statements and
# idle transactions have timeouts. Later ones, or ones with a wrong clock, are found by the search.
_COMMIT_DELAY = timedelta(seconds=30)


class Chain(BackgroundService):
    """Links new audit records in the background.

    Args:
        database: the database.
    """

    def __init__(self, database: Database) -> None:
        super().__init__("audit chain", self._run)
        self._database = database
        self._lease = Lease("audit chain", seconds=_LEASE_SECONDS)
        self._known: Link | None = None
        self._logged: Link | None = None
        self._since: datetime | None = None  # continue here after a full batch
        self._searched, self._search_at = MIN_ID, 0.0

    async def stop(self) -> None:
        """Stop linking, and let another process continue at once."""
        await super().stop()
        await self._lease.release(self._database)

    async def _run(self) -> None:
        while True:
            try:
                more = await self.extend()
                more = await self._search() or more
                await asyncio.sleep(0 if more else PERIOD)
            except DatabaseUnavailable:
                await asyncio.sleep(_AFTER_A_FAILURE)
            except Exception as error:  # noqa: BLE001  background work: the next attempt may succeed
                log.error("cannot extend the audit chain", error=type(error).__name__, sqlstate=sqlstate(error))  # noqa: TRY400
                await asyncio.sleep(_AFTER_A_FAILURE)

    async def extend(self) -> bool:
        """Link the records committed since the last link, unless another process has the lease.

        Returns:
            Whether more records are ready.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable; the records are linked later.
        """
        async with self._database.transaction() as session:
            if await self._lease.take(session) is None:
                return False
            head = await find_head(session)
            self._check_known_head(head)
            since = self._since or (head.chained_at - _COMMIT_DELAY if head else None)
            linked = await link_unlinked(session, head.link if head else None, since=since)
        self._set_known_head(linked)
        self._since = linked.until if linked and linked.number == BATCH else None
        return self._since is not None

    async def _search(self) -> bool:
        """Search all records for unlinked ones, a slice at a time: at the start, and then hourly."""
        if self._searched == MIN_ID and clock.seconds() < self._search_at:
            return False
        linked = None
        async with self._database.transaction() as session:
            seen = await next_slice(session, self._searched)
            if seen.unlinked:
                if await self._lease.take(session) is None:
                    return False
                head = await find_head(session)
                linked = await link_unlinked(session, head.link if head else None, after=seen.after, until=seen.until)
        self._set_known_head(linked)
        if linked and linked.number == BATCH:
            return True
        self._searched = seen.until
        if seen.until == MAX_ID:
            self._searched, self._search_at = MIN_ID, clock.seconds() + _SEARCH_EVERY
            self._log_head()
        return False

    def _check_known_head(self, head: Head | None) -> None:
        """Log an error if the chain lost its known head: it was manipulated, or an older backup was restored."""
        known, self._known = self._known, head.link if head else None
        stored = self._known
        if known and (stored is None or stored.seq < known.seq or (stored.seq == known.seq and stored != known)):
            log.error("the audit chain was truncated or changed", known=str(known), stored=str(stored))

    def _set_known_head(self, linked: Linked | None) -> None:
        """Set the known head after a commit."""
        self._known = linked.link if linked else self._known

    def _log_head(self) -> None:
        """Log the head for `idp audit verify --head`: who can write the tables cannot change the log."""
        if self._known and self._known != self._logged:
            log.info("audit chain head", head=str(self._known))
            self._logged = self._known
