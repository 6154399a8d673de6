"""Last use of sessions, written in batches (C-10), and deletion of old sessions.

Using a session extends its idle timeout. These writes change no verdict, so they send no notification.
"""

from datetime import timedelta

from sqlalchemy import text

from idp import clock
from idp.db.engine import Database
from idp.ops.last_used import LastUsed

FLUSH_SECONDS = 60.0
KEPT = timedelta(days=30)
_BATCH_SIZE = 1000
_USED = text("""
UPDATE idp.user_sessions s
   SET last_seen_at = greatest(s.last_seen_at, n.at),
       idle_expires_at = greatest(s.idle_expires_at, least(s.expires_at, n.at + make_interval(secs => s.idle_seconds)))
  FROM unnest(CAST(:ids AS uuid[]), CAST(:times AS timestamptz[])) AS n(id, at)
 WHERE s.id = n.id AND s.ended_at IS NULL
""")
# A browser's session stays as long as its apps; an app's that was not ended stays with it, because its client must be
# told when that ends.
_DELETE = text("""
DELETE FROM idp.user_sessions WHERE id IN (
    SELECT s.id FROM idp.user_sessions s
     WHERE s.expires_at < :before AND (s.parent_id IS NULL OR s.ended_at IS NOT NULL)
       AND NOT EXISTS (SELECT FROM idp.user_sessions a WHERE a.parent_id = s.id AND a.expires_at >= :before)
     ORDER BY s.id LIMIT :limit FOR UPDATE SKIP LOCKED)
""")


class Activity(LastUsed):
    """Records used sessions.

    Args:
        database: written to once a minute.
    """

    def __init__(self, database: Database) -> None:
        super().__init__("session activity", FLUSH_SECONDS, self.forget)
        self._database = database

    async def flush(self) -> None:
        """Write the used sessions."""
        if (used := self.take()) is None:
            return
        async with self._database.transaction() as session:
            await session.execute(_USED, used)

    async def forget(self) -> None:
        """Delete sessions that ended a month ago, with their refresh tokens.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        async with self._database.transaction() as session:
            await session.execute(_DELETE, {"before": clock.now() - KEPT, "limit": _BATCH_SIZE})
