"""Disable or delete a user with all keys, sessions and links, in one transaction (S0-13, C-14, C-27)."""

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from idp.apikeys.service import lock, revoke_all_keys
from idp.audit.record import Origin, record
from idp.sessions.service import end_all
from idp.users import administration
from idp.users.one_time_tokens import forget_all


class Ended(Struct, frozen=True):
    """The numbers of revoked keys and ended sessions."""

    keys: int
    sessions: int

    @property
    def details(self) -> dict[str, int]:
        """Return the numbers for an audit record."""
        return {"revoked_keys": self.keys, "ended_sessions": self.sessions}


async def disable(session: AsyncSession, origin: Origin, user_id: str, *, keep_an_admin: bool) -> Ended:
    """Disable a user and revoke all keys, sessions and links; enabling restores none of them.

    Args:
        session: a new transaction, because the keys' lock must be taken first (C-27).
        origin: the request's origin.
        user_id: the user.
        keep_an_admin: refuse to disable the last active administrator.

    Returns:
        The numbers of revoked keys and ended sessions.

    Raises:
        UserNotFound: there is no such user, or it was deleted.
        LastAdmin: the user is the last active administrator.
    """
    await lock(session)
    if keep_an_admin:
        await administration.check_admin_remains(session, without=user_id)
    changed = await administration.deactivate(session, user_id)
    ended = await _end_everything(session, origin, user_id, "user disabled")
    if changed:
        record(session, origin, action="user.disabled", user_id=user_id, details=ended.details)
    return ended


async def delete(session: AsyncSession, origin: Origin, user_id: str, *, keep_an_admin: bool) -> Ended:
    """Delete a user and revoke all keys, sessions and links. The row stays for audit records; the address becomes free.

    Arguments, result and errors as for `disable`.
    """
    await lock(session)
    if keep_an_admin:
        await administration.check_admin_remains(session, without=user_id)
    await administration.soft_delete(session, user_id)
    ended = await _end_everything(session, origin, user_id, "user deleted")
    record(session, origin, action="user.deleted", user_id=user_id, details=ended.details)
    return ended


async def _end_everything(session: AsyncSession, origin: Origin, user_id: str, reason: str) -> Ended:
    keys = await revoke_all_keys(session, origin, user_id, reason)
    sessions = await end_all(session, origin, user_id, reason=reason)
    await forget_all(session, user_id)
    return Ended(keys, sessions)
