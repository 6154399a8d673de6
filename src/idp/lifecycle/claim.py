"""Claims an unverified account for the person who proved to own its address (C-11).

An attacker may have registered the address before its owner (pre-hijacking). Once the owner verifies it, no earlier
session, key, link or identity at another issuer is valid, and neither is the password, unless the owner has just chosen
it.
"""

from sqlalchemy.ext.asyncio import AsyncSession

from idp.apikeys.service import revoke_all_keys
from idp.audit.record import Origin, record
from idp.events.catalogue import EventType
from idp.sessions.service import end_all
from idp.users import credentials, identities
from idp.users.one_time_tokens import revoke_all
from idp.users.user_events import publish_changed

_REASON = "address claimed"


async def claim(session: AsyncSession, origin: Origin, user_id: str, *, keep_password: bool) -> None:
    """Mark an address as verified, and revoke every credential that was created before.

    Args:
        session: a transaction whose first statement was `apikeys.service.lock` (C-27), and that locks the user's row.
        origin: the request that proved ownership of the address.
        user_id: of the account.
        keep_password: whether the same request has set the password.
    """
    keys = await revoke_all_keys(session, origin, user_id, _REASON)
    sessions = await end_all(session, origin, user_id, reason=_REASON)
    await revoke_all(session, user_id)
    unlinked = await identities.unlink_all(session, user_id)
    if not keep_password:
        await credentials.wipe_password(session, user_id)
    await credentials.mark_verified(session, user_id)
    details = {
        "by": "link",
        "revoked_keys": keys,
        "ended_sessions": sessions,
        "unlinked_identities": unlinked,
        "password_kept": keep_password,
    }
    record(session, origin, action="user.email_verified", user_id=user_id, details=details)
    changed = ("email_verified",) if keep_password else ("email_verified", "password")
    await publish_changed(session, origin, user_id, *changed, also=EventType.USER_EMAIL_VERIFIED)
