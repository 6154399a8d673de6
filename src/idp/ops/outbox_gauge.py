"""The number of unpublished events in `idp.outbox`, for `/metrics`."""

import contextlib

from sqlalchemy import text

from idp.db.engine import Database
from idp.errors import DatabaseUnavailable
from idp.ops import metrics
from idp.ops.periodic import Periodic

_EVERY_SECONDS = 15.0
_PENDING = text("SELECT count(*) FROM idp.outbox WHERE published_at IS NULL")  # uses a partial index


class OutboxGauge(Periodic):
    """Counts unpublished events every 15 s.

    Args:
        database: has the outbox.
    """

    def __init__(self, database: Database) -> None:
        super().__init__("outbox gauge", _EVERY_SECONDS, self.count)
        self._database = database

    async def _run(self) -> None:
        with contextlib.suppress(DatabaseUnavailable):
            await self.count()  # at start, before the first scrape
        await super()._run()

    async def count(self) -> None:
        """Count them now.

        Raises:
            DatabaseUnavailable: PostgreSQL is away.
        """
        async with self._database.transaction() as session:
            metrics.set_outbox_pending((await session.execute(_PENDING)).scalar_one())
