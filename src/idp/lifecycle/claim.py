"""Claiming an account that nobody had proven to be theirs (C-11).

Whoever registers somebody else's address and waits must own nothing of the account once its real owner arrives: not a
session, not a key, not a link in a mail, and not the password, unless the owner has just chosen it.
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
    """Call an unverified address verified, and end everything that was made before anyone proved to read it.

    Args:
        session: a transaction whose first statement was `apikeys.service.lock` (C-27), and that holds the user's row.
        origin: who proved that they read the address.
        user_id: whose account it is from now on.
        keep_password: whether this very journey has set the password.
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
