"""The numbers of events that wait for Kafka and that it refused, for `/metrics`."""

import contextlib

from idp.db.engine import Database
from idp.errors import DatabaseUnavailable
from idp.events.pending import count_outbox
from idp.ops import metrics
from idp.ops.periodic import Periodic

_EVERY_SECONDS = 15.0


class OutboxGauge(Periodic):
    """Counts pending and parked events every 15 s.

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
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        async with self._database.transaction() as session:
            pending, parked = await count_outbox(session)
        metrics.set_outbox_sizes(pending=pending, parked=parked)
