"""The result of the last comparison with Clerk's list, for `/metrics`: another process makes it."""

import contextlib

from sqlalchemy import select

from idp.clerk.models import ClerkScanRow
from idp.db.engine import Database
from idp.errors import DatabaseUnavailable
from idp.ops import metrics
from idp.ops.periodic import Periodic

_EVERY_SECONDS = 30.0
_KINDS = ("missing", "changed", "deleted", "conflicting")
_LAST = (
    select(*(getattr(ClerkScanRow, kind) for kind in _KINDS))
    .where(ClerkScanRow.finished_at.is_not(None))
    .order_by(ClerkScanRow.finished_at.desc())
    .limit(1)
)


class DriftGauge(Periodic):
    """Reads the last comparison every 30 s.

    Args:
        database: has the results.
    """

    def __init__(self, database: Database) -> None:
        super().__init__("clerk drift gauge", _EVERY_SECONDS, self.read)
        self._database = database

    async def _run(self) -> None:
        with contextlib.suppress(DatabaseUnavailable):
            await self.read()  # at start, before the first scrape
        await super()._run()

    async def read(self) -> None:
        """Set the gauge; nothing before the first comparison.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        async with self._database.transaction() as session:
            row = (await session.execute(_LAST)).first()
        if row is not None:
            for kind, number in zip(_KINDS, row, strict=True):
                metrics.set_sync_drift(kind, number)
