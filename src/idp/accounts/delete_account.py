"""A user deletes their own account: at once, or after a time in which they may keep it.

With a grace period the account is signed out everywhere and its API keys are revoked at once. Signing in on our page
shows when the account will be deleted, and offers to keep it. `due_deletions.py` deletes it.
"""

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.accounts.account_services import AccountServices
from idp.apikeys.service import lock
from idp.audit.record import Origin, record
from idp.lifecycle import offboard
from idp.lifecycle.offboard import RevokedCounts
from idp.mail.messages import AccountKept, DeletionScheduled
from idp.ops.problems import invalid
from idp.principal.model import Principal, User
from idp.principal.reauthorize import reauthorize
from idp.users import administration, credentials
from idp.users.credentials import Holder
from idp.users.email import email_key
from idp.users.models import UserRow


class DeleteAccount:
    """Deletes accounts for their users.

    Args:
        services: shared dependencies; their settings have the grace period.

    Attributes:
        grace_days: days until an account is deleted; 0: at once.
    """

    def __init__(self, services: AccountServices) -> None:
        self._services = services
        self.grace_days = services.settings.deletion_grace_days

    async def now(self, caller: Principal, origin: Origin) -> RevokedCounts:
        """Delete the caller's account, and return how many keys and sessions ended.

        Raises:
            LastAdmin: the caller is the last active administrator.
            UserNotFound: the account was deleted meanwhile.
            TokenRevoked: the caller's session ended meanwhile; also UserInactive.
        """
        async with self._services.database.transaction() as session:
            await self._hold(session, caller)
            return await offboard.delete(session, origin, caller.user_id, keep_an_admin=True)

    async def schedule(self, caller: Principal, origin: Origin) -> datetime:
        """Sign the caller out everywhere, revoke their API keys, and return when the account will be deleted.

        A further request changes nothing about the time.

        Raises:
            LastAdmin, UserNotFound, TokenRevoked, UserInactive: as `now`.
        """
        user_id = caller.user_id
        async with self._services.database.transaction() as session:
            holder = await self._hold(session, caller)
            await administration.check_admin_remains(session, without=user_id)
            row = await session.get_one(UserRow, user_id)
            due = row.delete_after = row.delete_after or clock.now() + timedelta(days=self.grace_days)
            ended = await offboard.revoke_all(session, origin, user_id, "deletion requested")
            details = {"delete_after": due.isoformat(), **ended.details}
            record(session, origin, action="user.deletion_requested", user_id=user_id, details=details)
            if holder is not None and holder.email is not None:
                self._services.mailer.post(session, DeletionScheduled(holder.name, due), to=holder.email)
        return due

    async def keep(self, caller: Principal, origin: Origin) -> bool:
        """Withdraw the request; False if there is none.

        Raises:
            TokenRevoked: the caller's session ended meanwhile; also UserInactive.
        """
        async with self._services.database.transaction() as session:
            holder = await credentials.hold(session, caller.user_id)
            await reauthorize(session, caller)
            row = await session.get_one(UserRow, caller.user_id)
            if row.delete_after is None:
                return False
            row.delete_after = None
            record(session, origin, action="user.deletion_withdrawn", user_id=caller.user_id)
            if holder is not None and holder.email is not None:
                self._services.mailer.post(session, AccountKept(holder.name), to=holder.email)
        return True

    async def due(self, user_id: str) -> datetime | None:
        """Return when a user's account will be deleted; None if that was not requested."""
        async with self._services.database.transaction() as session:
            return await session.scalar(select(UserRow.delete_after).where(UserRow.id == user_id))

    async def _hold(self, session: AsyncSession, caller: Principal) -> Holder | None:
        await lock(session)
        holder = await credentials.hold(session, caller.user_id)
        await reauthorize(session, caller)
        return holder


def check_confirmation(user: User, confirmed: str) -> None:
    """Check what a user typed to confirm the deletion: their address, or their id if they have none.

    Raises:
        ValidationFailed: it is something else.
    """
    confirms = confirmed == user.id if user.email is None else email_key(confirmed) == email_key(user.email)
    if not confirms:
        raise invalid(["body", "confirm"], "Repeat your e-mail to delete your account, or your id if you have none.")
