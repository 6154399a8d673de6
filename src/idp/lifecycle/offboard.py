"""Disables or deletes a user and revokes their keys, sessions and links in one transaction (S0-13, C-14, C-27)."""

from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from idp.apikeys.service import lock, revoke_all_keys
from idp.audit.record import Origin, record
from idp.sessions.service import end_all
from idp.users import administration, one_time_tokens
from idp.users.factors import enrolled
from idp.users.user_events import publish_changed, publish_deleted

# Clerk enables whom only Clerk had disabled; from now on someone here has, too (docs/decisions/0037).
_STAYS_DISABLED = text("""
UPDATE idp.clerk_users SET suspension = NULL WHERE user_id = :user_id AND suspension IS NOT NULL RETURNING clerk_id
""")


class RevokedCounts(Struct, frozen=True):
    """The numbers of revoked keys and sessions."""

    keys: int
    sessions: int

    @property
    def details(self) -> dict[str, int]:
        """The details of an audit record."""
        return {"revoked_keys": self.keys, "ended_sessions": self.sessions}


async def disable(session: AsyncSession, origin: Origin, user_id: str, *, keep_an_admin: bool) -> RevokedCounts:
    """Disable a user and revoke all their keys, sessions and links; enabling the user does not restore them.

    Args:
        session: a new transaction: the lock of the keys must come first (C-27).
        origin: of the request.
        user_id: the user.
        keep_an_admin: refuse if no active administrator would be left.

    Returns:
        The numbers of revoked keys and sessions.

    Raises:
        UserNotFound: the user does not exist or is deleted.
        LastAdmin: the user is the last active administrator.
    """
    await lock(session)
    if keep_an_admin:
        await administration.check_admin_remains(session, without=user_id)
    changed = await administration.deactivate(session, user_id)
    was_suspended = await session.scalar(_STAYS_DISABLED, {"user_id": user_id}) is not None
    ended = await revoke_all(session, origin, user_id, "user disabled")
    if changed or was_suspended:
        record(session, origin, action="user.disabled", user_id=user_id, details=ended.details)
    if changed:
        await publish_changed(session, origin, user_id, "is_active")
    return ended


async def delete(session: AsyncSession, origin: Origin, user_id: str, *, keep_an_admin: bool) -> RevokedCounts:
    """Delete a user and revoke all their keys, sessions and links. The row stays for references; the address is free.

    Arguments, result and errors are those of `disable`.
    """
    await lock(session)
    if keep_an_admin:
        await administration.check_admin_remains(session, without=user_id)
    await administration.soft_delete(session, user_id)
    await enrolled.remove_all(session, user_id)
    ended = await revoke_all(session, origin, user_id, "user deleted")
    record(session, origin, action="user.deleted", user_id=user_id, details=ended.details)
    await publish_deleted(session, origin, user_id)
    return ended


async def revoke_all(session: AsyncSession, origin: Origin, user_id: str, reason: str) -> RevokedCounts:
    """Revoke all keys, sessions and links of a user, in a transaction that holds the lock of the keys."""
    keys = await revoke_all_keys(session, origin, user_id, reason)
    sessions = await end_all(session, origin, user_id, reason=reason)
    await one_time_tokens.revoke_all(session, user_id)
    return RevokedCounts(keys, sessions)
