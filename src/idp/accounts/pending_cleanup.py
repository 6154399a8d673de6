"""Deletes sign-ins that waited for a second factor and have expired."""

from idp.accounts.pending_sign_ins import PendingSignIns
from idp.db.engine import Database
from idp.ops.periodic import Periodic

_SECONDS = 300.0
_BATCH_SIZE = 1000


class PendingCleanup(Periodic):
    """Deletes expired sign-ins every five minutes.

    Args:
        database: has them.
        pending_sign_ins: deletes them.
    """

    def __init__(self, database: Database, pending_sign_ins: PendingSignIns) -> None:
        super().__init__("expired pending sign-ins", _SECONDS, self.clean_up)
        self._database = database
        self._pending_sign_ins = pending_sign_ins

    async def clean_up(self) -> None:
        """Delete expired ones, a batch at a time, until none is left.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        deleted = _BATCH_SIZE
        while deleted == _BATCH_SIZE:
            async with self._database.transaction() as session:
                deleted = await self._pending_sign_ins.clean_up(session, limit=_BATCH_SIZE)
