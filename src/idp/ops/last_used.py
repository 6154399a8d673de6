"""When things were last used: noted in memory, written in batches (C-10)."""

import contextlib
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from idp import clock
from idp.errors import DatabaseUnavailable
from idp.ops.periodic import Periodic, Work

MOST_NOTED = 100_000  # between two flushes; more are not worth the memory


class LastUsed(Periodic):
    """Notes what was used; a subclass writes it.

    Args:
        name: what the log calls it.
        seconds: between two flushes.
        work: further work, after each flush.
    """

    def __init__(self, name: str, seconds: float, *work: Work) -> None:
        super().__init__(name, seconds, self.flush, *work)
        self._used: dict[UUID, float] = {}

    def note(self, row_id: UUID) -> None:
        """Note that something was used now."""
        if len(self._used) < MOST_NOTED:
            self._used[row_id] = clock.timestamp()

    async def stop(self) -> None:
        """Write what is noted, and stop."""
        await super().stop()
        with contextlib.suppress(DatabaseUnavailable):
            await self.flush()

    async def flush(self) -> None:
        """Write what is noted.

        Raises:
            DatabaseUnavailable: PostgreSQL is away; what was noted since the last flush is lost, which matters little.
        """
        raise NotImplementedError

    def take(self) -> dict[str, list[Any]] | None:
        """Return the `ids` and `times` that are noted, and forget them; None where nothing is noted."""
        used, self._used = self._used, {}
        ids = sorted(used)  # in one order in every process, so that two flushes never wait for each other in a circle
        return {"ids": ids, "times": [datetime.fromtimestamp(used[each], UTC) for each in ids]} if ids else None
