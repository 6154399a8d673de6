"""Disables users whom Clerk has banned or locked, and enables those whom only Clerk had disabled."""

from sqlalchemy.ext.asyncio import AsyncSession

from idp.audit.record import Origin, record
from idp.clerk.models import ClerkUserRow
from idp.clerk.payloads import ClerkProfile
from idp.lifecycle import offboard
from idp.users import administration
from idp.users.shapes import UserChange
from idp.users.user_events import publish_changed

BANNED, LOCKED = "banned", "locked"


async def follow_suspension(
    session: AsyncSession, origin: Origin, row: ClerkUserRow, user_id: str, profile: ClerkProfile
) -> None:
    """Disable or enable a user as Clerk says.

    A ban revokes keys and sessions for good. A lock does not: failed sign-ins of a stranger cause it, and it ends by
    itself. Who was disabled here stays disabled.

    Args:
        session: a transaction whose first statement was `apikeys.service.lock` (C-27).
        origin: of the message.
        row: remembers whether Clerk has disabled the user.
        user_id: the user, locked.
        profile: what Clerk says.
    """
    wanted = BANNED if profile.is_banned else LOCKED if profile.is_locked else None
    if wanted == row.suspension:
        return
    is_ours = row.suspension is not None  # Clerk has disabled the user, nobody here
    if wanted is None:
        row.suspension = None
        await administration.change(session, origin, user_id, UserChange(is_active=True), keep_an_admin=False)
        return
    was_active = (await administration.get_user(session, user_id)).is_active
    if wanted == BANNED:
        await offboard.disable(session, origin, user_id, keep_an_admin=False)
    elif was_active:
        await administration.deactivate(session, user_id)
        record(session, origin, action="user.disabled", user_id=user_id, details={"reason": "locked at Clerk"})
        await publish_changed(session, origin, user_id, "is_active")
    if was_active or is_ours:
        row.suspension = wanted
