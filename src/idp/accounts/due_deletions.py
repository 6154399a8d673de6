"""Deletes the accounts whose users asked for it, when their time has come."""

from datetime import timedelta

import structlog
from sqlalchemy import text, update

from idp import clock
from idp.apikeys.service import lock
from idp.audit.record import SYSTEM, record
from idp.db.engine import Database
from idp.db.lease import Lease
from idp.errors import LastAdmin, UserNotFound
from idp.lifecycle import offboard
from idp.ops.periodic import Periodic
from idp.users.models import UserRow

log = structlog.get_logger("idp.accounts")

_ROUND_SECONDS, _LEASE_SECONDS = 60.0, 150.0
_BATCH_SIZE = 100
_POSTPONED = timedelta(days=1)
_DUE = text("""
SELECT id FROM idp.users WHERE delete_after <= :now AND deleted_at IS NULL ORDER BY delete_after LIMIT :limit
""")
_STILL_DUE = text("SELECT delete_after <= :now FROM idp.users WHERE id = :id AND deleted_at IS NULL FOR UPDATE")


class DueDeletions(Periodic):
    """Deletes due accounts once a minute, in one process at a time.

    Args:
        database: stores them.
    """

    def __init__(self, database: Database) -> None:
        super().__init__("account deletions", _ROUND_SECONDS, self.delete_due)
        self._database = database
        self._lease = Lease("account deletions", seconds=_LEASE_SECONDS)

    async def delete_due(self) -> int:
        """Delete a batch of due accounts; return how many were deleted. The others wait for the next round."""
        async with self._database.transaction() as session:
            due = (await session.scalars(_DUE, {"now": clock.now(), "limit": _BATCH_SIZE})).all()
            token = await self._lease.take(session) if due else None
        if token is None:
            return 0
        return sum([await self._delete(user_id, token) for user_id in due])

    async def _delete(self, user_id: str, token: int) -> bool:
        """Delete an account unless it was kept meanwhile; postpone it if it is the last administrator's."""
        try:
            async with self._database.transaction() as session:
                await lock(session)
                await self._lease.check(session, token)
                if not await session.scalar(_STILL_DUE, {"id": user_id, "now": clock.now()}):
                    return False
                await offboard.delete(session, SYSTEM, user_id, keep_an_admin=True)
        except UserNotFound:
            return False
        except LastAdmin:
            await self._postpone(user_id)
            return False
        return True

    async def _postpone(self, user_id: str) -> None:
        later = clock.now() + _POSTPONED
        log.error("an account to be deleted is the last administrator's", user_id=user_id, postponed_to=str(later))
        async with self._database.transaction() as session:
            due = update(UserRow).where(UserRow.id == user_id, UserRow.delete_after.is_not(None))
            await session.execute(due.values(delete_after=later, updated_at=UserRow.updated_at))
            details = {"delete_after": later.isoformat(), "reason": "last administrator"}
            record(session, SYSTEM, action="user.deletion_postponed", user_id=user_id, details=details)
