"""Deletes what has expired: authorization requests and codes, used assertions and revoked tokens."""

from datetime import timedelta
from typing import Any

from sqlalchemy import TextClause, text

from idp import clock
from idp.db.engine import Database
from idp.ops.periodic import Periodic

_SECONDS = 300.0
_BATCH_SIZE = 1000
# By table: the key, and how long rows are kept after they expired. A code that is used again must still be found while
# the tokens of its first use live.
_EXPIRED = {
    "authorization_requests": ("id", timedelta(hours=1)),
    "authorization_codes": ("digest", timedelta(days=1)),
    "client_assertions": ("digest", timedelta(minutes=1)),
    "revoked_tokens": ("jti", timedelta(minutes=1)),
}


class ProviderCleanup(Periodic):
    """Deletes expired rows every five minutes.

    Args:
        database: has them.
    """

    def __init__(self, database: Database) -> None:
        super().__init__("expired authorizations", _SECONDS, self.clean_up)
        self._database = database

    async def clean_up(self) -> None:
        """Delete the expired rows of each table, a batch at a time, until none is left.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        for table, (key, kept) in _EXPIRED.items():
            statement = text(
                f"DELETE FROM idp.{table} WHERE {key} IN (SELECT {key} FROM idp.{table} WHERE expires_at < :before"  # noqa: S608  constants
                " ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED) RETURNING 1"
            )
            values = {"before": clock.now() - kept, "limit": _BATCH_SIZE}
            while await self._delete(statement, values) == _BATCH_SIZE:
                pass

    async def _delete(self, statement: TextClause, values: dict[str, Any]) -> int:
        async with self._database.transaction() as session:
            return len((await session.execute(statement, values)).all())
