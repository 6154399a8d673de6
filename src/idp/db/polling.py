"""The change poller: reads changes from a table, where LISTEN is not available (docs/decisions/0052).

The first poller of a database turns the change log on: triggers then also insert every change into `idp.change_log`. A
poll reads the changes that its snapshot sees and the previous one did not, so none is read twice or missed, in whatever
order transactions commit. A poll proves the lease: it has every change committed before it was sent.
"""

import asyncio
import contextlib
from typing import Any

import structlog

from idp.background import BackgroundService
from idp.db.change_source import LEASE_SECONDS, ChangeSource, boottime
from idp.db.changes import Changes
from idp.db.engine import Database
from idp.db.snapshot import INSTANCE, STAMP, Stamp
from idp.errors import DatabaseUnavailable

log = structlog.get_logger("idp.db.polling")

CHANGE_LOG = "change_log"
KEEP_SECONDS = 60.0  # how long changes are kept, at least
_MAX_GAP_SECONDS = KEEP_SECONDS / 2  # between two polls; after more, changes may have been deleted unread
_MAX_CHANGES = 10_000  # in one poll; with more, nothing read earlier is valid

# The change log is on while this row exists. It is marked in a later transaction, so that those that did not see the
# row are older than the mark. In another instance transaction ids differ, and it is marked again.
_TURN_ON = f"""
INSERT INTO idp.installation AS i (name, value) SELECT $1, '0 ' || {INSTANCE}
 WHERE NOT EXISTS (SELECT FROM idp.installation WHERE name = $1 AND split_part(value, ' ', 2) = {INSTANCE})
    ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""  # noqa: S608  constants
_MARK = f"""
UPDATE idp.installation SET value = pg_current_xact_id()::text || ' ' || {INSTANCE}
 WHERE name = $1 AND value = '0 ' || {INSTANCE}
"""  # noqa: S608  constants
# Transactions older than the mark may have changed rows without an entry; they must have ended.
_IS_COMPLETE = f"""
SELECT split_part(value, ' ', 2) = {INSTANCE} AND split_part(value, ' ', 1) <> '0'
       AND split_part(value, ' ', 1)::xid8 < pg_snapshot_xmin(pg_current_snapshot()) AS is_complete
  FROM idp.installation WHERE name = $1
"""  # noqa: S608  constants
_FIRST = f"SELECT {STAMP}"
_NEXT = f"""
SELECT {STAMP}, ARRAY(
    SELECT transaction::text || ' ' || name FROM idp.change_log
     WHERE transaction >= $1 AND NOT pg_visible_in_snapshot(transaction::text::xid8, $2::text::pg_snapshot)
     LIMIT $3) AS changes,
    EXISTS (SELECT FROM idp.installation WHERE name = $4) AS is_on
"""  # noqa: S608  constants
_CLEAN = "DELETE FROM idp.change_log WHERE transaction < $1"


class ChangePoller(ChangeSource):
    """Polls changes and holds the lease.

    Args:
        database: its pool reads verdicts and changes.
        seconds: between two polls.
        floor_seconds: interval of newer floors, which bounds the list of changes.
    """

    def __init__(self, database: Database, *, seconds: float, floor_seconds: float) -> None:
        super().__init__("change poller", self._poll_forever)
        self.changes = Changes()
        self.lease_until = 0.0
        self._database = database
        self._seconds = seconds
        self._floor_seconds = max(1.0, floor_seconds)
        self._floor_taken_at = 0.0
        self._previous: Stamp | None = None
        self._sent_at = 0.0
        self._polling = asyncio.Lock()

    async def catch_up(self) -> None:
        """Poll now; see `ChangeSource`."""
        if self.lease_is_valid:
            await self._try()

    async def _poll_forever(self) -> None:
        had_failed = False
        while True:
            failed = not await self._try()
            if failed and not had_failed:
                log.warning("changes cannot be polled: verdict cache bypassed")
            had_failed = failed
            await asyncio.sleep(self._seconds)

    async def _try(self) -> bool:
        """Poll unless the database is unavailable; return whether it was not."""
        try:
            async with self._polling:
                await self._poll()
        except DatabaseUnavailable:
            return False
        return True

    async def _poll(self) -> None:
        now = boottime()
        if self._previous is None or now - self._sent_at > _MAX_GAP_SECONDS:
            await self._begin()
            return
        previous = self._previous.snapshot
        raises_floor = now - self._floor_taken_at > self._floor_seconds or self.changes.full
        if raises_floor:
            self.changes.begin_next_floor()
        version_before = self.changes.version
        row = await self._database.reads.fetchrow(_NEXT, previous.oldest, str(previous), _MAX_CHANGES + 1, CHANGE_LOG)
        stamp = Stamp.parse(row["instance"], row["snapshot"])
        if not self._has_all_changes(stamp, row):
            await self._begin()
            return
        for change in row["changes"]:
            transaction, _, name = change.partition(" ")
            self.changes.record_change(name, int(transaction))
        self.changes.discard_forged_notifications(version_before, stamp.snapshot.next)
        if raises_floor:
            self.changes.raise_floor(stamp)
            self._floor_taken_at = now
        self._mark_polled(stamp, now)

    def _has_all_changes(self, stamp: Stamp, row: Any) -> bool:
        """Whether a poll has every change since the previous one.

        The gap is measured again after the answer: a process that was paused on the way to the database asked late.
        """
        in_time = boottime() - self._sent_at <= _MAX_GAP_SECONDS
        return in_time and self.changes.is_of(stamp.instance) and row["is_on"] and len(row["changes"]) <= _MAX_CHANGES

    async def _begin(self) -> None:
        """Take a first floor, once the change log is complete; until then no cached verdict is used."""
        self._previous, self.lease_until = None, 0.0
        self.changes.reset()
        await self._database.reads.fetch(_TURN_ON, CHANGE_LOG)
        await self._database.reads.fetch(_MARK, CHANGE_LOG)
        row = await self._database.reads.fetchrow(_IS_COMPLETE, CHANGE_LOG)
        if row is None or not row["is_complete"]:
            return
        now = boottime()
        row = await self._database.reads.fetchrow(_FIRST)
        stamp = Stamp.parse(row["instance"], row["snapshot"])
        self.changes.set_first_floor(stamp)
        self._floor_taken_at = now
        self._mark_polled(stamp, now)

    def _mark_polled(self, stamp: Stamp, sent_at: float) -> None:
        self._previous, self._sent_at = stamp, sent_at
        self.lease_until = max(self.lease_until, sent_at + LEASE_SECONDS)


class ChangeLogCleanup(BackgroundService):
    """Deletes changes that every poller has read; runs in every process, with or without a poller.

    Args:
        database: stores them.
    """

    def __init__(self, database: Database) -> None:
        super().__init__("change log cleanup", self._run)
        self._database = database
        self._previous: Stamp | None = None

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(DatabaseUnavailable):
                await self.clean()
            await asyncio.sleep(KEEP_SECONDS)

    async def clean(self) -> None:
        """Delete the changes of transactions that had ended at the previous call. Raises DatabaseUnavailable."""
        row = await self._database.reads.fetchrow(_FIRST)
        previous, self._previous = self._previous, Stamp.parse(row["instance"], row["snapshot"])
        if previous is not None and previous.instance == self._previous.instance:
            await self._database.reads.fetch(_CLEAN, previous.snapshot.oldest)
