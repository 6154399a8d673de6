"""Claim an unverified account by the owner of its address (C-11).

An attacker who registered a stranger's address must lose everything when its owner verifies it: sessions, keys, mailed
links, and the password, unless the owner has just set it.
"""

from sqlalchemy.ext.asyncio import AsyncSession

from idp.apikeys.service import revoke_all_keys
from idp.audit.record import Origin, record
from idp.events.catalogue import EventType
from idp.events.outbox import publish
from idp.sessions.service import end_all
from idp.users import credentials
from idp.users.one_time_tokens import forget_all

_REASON = "address claimed"


async def claim(session: AsyncSession, origin: Origin, user_id: str, *, keep_password: bool) -> None:
    """Mark the address as verified, and revoke everything created before.

    Args:
        session: a transaction that called `apikeys.service.lock` first (C-27) and locks the user's row.
        origin: of the verification.
        user_id: the user.
        keep_password: whether this flow has set the password.
    """
    keys = await revoke_all_keys(session, origin, user_id, _REASON)
    sessions = await end_all(session, origin, user_id, reason=_REASON)
    await forget_all(session, user_id)
    if not keep_password:
        await credentials.wipe_password(session, user_id)
    await credentials.mark_verified(session, user_id)
    details = {"by": "link", "revoked_keys": keys, "ended_sessions": sessions, "password_kept": keep_password}
    record(session, origin, action="user.email_verified", user_id=user_id, details=details)
    publish(session, EventType.USER_EMAIL_VERIFIED, user_id=user_id)
