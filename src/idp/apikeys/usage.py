"""Batched updates of `last_used_at`, and of digests that move to the current pepper (C-10).

Validation itself has no side effects (S2-38). These updates change no verdict and take no lock (C-27).
"""

from uuid import UUID

from sqlalchemy import text

from idp.db.engine import Database
from idp.ops.last_used import MAX_PENDING, LastUsed

FLUSH_SECONDS = 60.0
_USED = text("""
UPDATE idp.api_keys k SET last_used_at = greatest(k.last_used_at, n.at)
  FROM unnest(CAST(:ids AS uuid[]), CAST(:times AS timestamptz[])) AS n(id, at) WHERE k.id = n.id
""")
# Compare and set: a rotation in the meantime wins.
_REDIGEST = text("""
UPDATE idp.api_keys SET digest = :after, scheme = 'hmac', pepper = :pepper WHERE id = :id AND digest = :before
""")


class Usage(LastUsed):
    """Collects which keys were used, and writes it in batches.

    Args:
        database: written once a minute.
        pepper: id of the current pepper.
    """

    def __init__(self, database: Database, pepper: str) -> None:
        super().__init__("key usage", FLUSH_SECONDS)
        self._database = database
        self._pepper = pepper
        self._redigest: dict[UUID, tuple[str, str]] = {}

    def redigest(self, row_id: UUID, *, before: str, after: str) -> None:
        """Schedule replacing a key's digest with one made with the current pepper."""
        if len(self._redigest) < MAX_PENDING:
            self._redigest[row_id] = (before, after)

    async def flush(self) -> None:
        """Write all collected updates."""
        used = self.take()
        redigest, self._redigest = self._redigest, {}
        if not used and not redigest:
            return
        async with self._database.transaction() as session:
            if used:
                await session.execute(_USED, used)
            for row_id in sorted(redigest):
                before, after = redigest[row_id]
                values = {"id": row_id, "before": before, "after": after, "pepper": self._pepper}
                await session.execute(_REDIGEST, values)
