"""Last-used times: collected in memory, written in batches (C-10)."""

import contextlib
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from idp import clock
from idp.errors import DatabaseUnavailable
from idp.ops.periodic import Periodic, Work

MAX_PENDING = 100_000  # entries between two flushes, to limit memory


class LastUsed(Periodic, ABC):
    """Records what was used; a subclass writes it.

    Args:
        name: for the log.
        seconds: flush interval.
        work: additional work after each flush.
    """

    def __init__(self, name: str, seconds: float, *work: Work) -> None:
        super().__init__(name, seconds, self.flush, *work)
        self._used: dict[UUID, float] = {}

    def note(self, row_id: UUID) -> None:
        """Record a use."""
        if len(self._used) < MAX_PENDING:
            self._used[row_id] = clock.timestamp()

    async def stop(self) -> None:
        """Flush and stop."""
        await super().stop()
        with contextlib.suppress(DatabaseUnavailable):
            await self.flush()

    @abstractmethod
    async def flush(self) -> None:
        """Write the collected times.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable; the times since the last flush are lost.
        """

    def take(self) -> dict[str, list[Any]] | None:
        """Return and clear the collected `ids` and `times`; None if there are none."""
        used, self._used = self._used, {}
        ids = sorted(used)  # in a fixed order, to avoid deadlocks between processes
        return {"ids": ids, "times": [datetime.fromtimestamp(used[each], UTC) for each in ids]} if ids else None
