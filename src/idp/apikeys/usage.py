"""`last_used_at`, and digests that move to the current pepper: noted in memory, written in batches (C-10).

Validation has no side effects of its own (S2-38); these writes change no verdict and take no lock (C-27).
"""

import contextlib
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import text

from idp import clock
from idp.db.engine import Database
from idp.errors import DatabaseUnavailable
from idp.ops.periodic import Periodic

FLUSH_SECONDS = 60.0
_MOST = 100_000  # keys noted between two flushes; more are not worth the memory
_USED = text("""
UPDATE idp.api_keys k SET last_used_at = greatest(k.last_used_at, n.at)
  FROM unnest(CAST(:ids AS uuid[]), CAST(:times AS timestamptz[])) AS n(id, at) WHERE k.id = n.id
""")
# Compare and set: whoever rotated the key meanwhile wins.
_REDIGEST = text("""
UPDATE idp.api_keys SET digest = :after, scheme = 'hmac', pepper = :pepper WHERE id = :id AND digest = :before
""")


class Usage(Periodic):
    """Notes which keys were used.

    Args:
        database: where it is written, once a minute.
        pepper: the id of the pepper that new digests are made with.
    """

    def __init__(self, database: Database, pepper: str) -> None:
        super().__init__("key usage", FLUSH_SECONDS, self.flush)
        self._database = database
        self._pepper = pepper
        self._used: dict[UUID, float] = {}
        self._redigest: dict[UUID, tuple[str, str]] = {}

    def note(self, row_id: UUID) -> None:
        """Note that a key was used now."""
        if len(self._used) < _MOST:
            self._used[row_id] = clock.timestamp()

    def redigest(self, row_id: UUID, *, before: str, after: str) -> None:
        """Note that a key should be stored under another digest, made with the current pepper."""
        if len(self._redigest) < _MOST:
            self._redigest[row_id] = (before, after)

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
        used, self._used = self._used, {}
        redigest, self._redigest = self._redigest, {}
        if not used and not redigest:
            return
        ids = sorted(used)  # in one order in every process, so that two flushes never wait for each other in a circle
        async with self._database.transaction() as session:
            if ids:
                await session.execute(
                    _USED, {"ids": ids, "times": [datetime.fromtimestamp(used[row_id], UTC) for row_id in ids]}
                )
            for row_id in sorted(redigest):
                before, after = redigest[row_id]
                values = {"id": row_id, "before": before, "after": after, "pepper": self._pepper}
                await session.execute(_REDIGEST, values)
