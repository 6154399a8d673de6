"""Deletes old events, in one process at a time."""

from idp.db.engine import Database
from idp.db.lease import Lease
from idp.events.pending import delete_old
from idp.ops.periodic import Periodic

_EVERY_SECONDS = 60.0
_SLICE = 5_000


class Retention(Periodic):
    """Deletes events by age, every minute.

    Args:
        database: stores the outbox.
        days: how long events are kept.
        relayed: whether a relay publishes to Kafka: what Kafka still has to get is kept.
    """

    def __init__(self, database: Database, *, days: int, relayed: bool) -> None:
        super().__init__("event retention", _EVERY_SECONDS, self.delete_old)
        self._database = database
        self._days = days
        self._relayed = relayed
        self._lease = Lease("event retention", seconds=4 * _EVERY_SECONDS)

    async def stop(self) -> None:
        """Stop, and let another process continue at once."""
        await super().stop()
        await self._lease.release(self._database)

    async def delete_old(self) -> int:
        """Delete what is old now, and return the number of deleted events.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        after, total = 0, 0
        while True:
            async with self._database.transaction() as session:
                if await self._lease.take(session) is None:
                    return total
                after, deleted = await delete_old(
                    session, after=after, limit=_SLICE, days=self._days, relayed=self._relayed
                )
            total += deleted
            if not after:
                return total
