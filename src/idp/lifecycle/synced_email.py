"""The address of a user whom another service manages, and the account that loses it to them.

An address belongs to one account. So when the other service says that its user has verified an address, its previous
user at that service gives it up, and so does an account that never proved to own it (C-11).
"""

from collections.abc import Awaitable, Callable
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncSession

from idp.apikeys.service import revoke_all_keys
from idp.audit.record import Origin, record
from idp.errors import EmailTaken
from idp.sessions.service import end_all
from idp.users import credentials
from idp.users.credentials import Holder
from idp.users.email import email_key
from idp.users.one_time_tokens import revoke_all
from idp.users.user_events import publish_changed

_REASON = "e-mail address changed"
# What the address's present holder does: keeps it; gives it up; gives it up with all that it was used for.
Yields = Literal["keeps", "releases", "loses everything"]
Decide = Callable[[Holder], Awaitable[Yields]]


async def set_synced_email(
    session: AsyncSession, origin: Origin, user: Holder, email: str | None, *, verified: bool, decide: Decide
) -> bool:
    """Give a user the address that the other service names; sessions and links of an earlier one end.

    Args:
        session: a transaction whose first statement was `apikeys.service.lock` (C-27).
        origin: of the message.
        user: locked.
        email: as `parse_email` returned it; None if the user has none there.
        verified: whether the other service has verified it; only then may it be taken from another account.
        decide: what another account with this address does.

    Returns:
        False if another account keeps the address; the user then has none.
    """
    if (user.email, user.email_verified) == (email, verified and email is not None):
        return True
    holder = None if email is None else await credentials.hold_by_email(session, email)
    is_free = holder is None or holder.user_id == user.user_id
    if holder is not None and not is_free and verified and (yields := await decide(holder)) != "keeps":
        await _release(session, origin, holder, everything=yields == "loses everything")
        is_free = True
    if is_free and email is not None:
        try:
            await credentials.set_email(session, user.user_id, email, verified=verified)
        except EmailTaken:  # by a concurrent registration
            is_free = False
    after = email if is_free else None
    if after is None and user.email is not None:
        await credentials.clear_email(session, user.user_id)
    if (user.email, user.email_verified) != (after, verified and after is not None):
        await _end_former(session, origin, user, after, verified=verified)
    return is_free


async def _end_former(
    session: AsyncSession, origin: Origin, user: Holder, after: str | None, *, verified: bool
) -> None:
    """Record a change; if it is another mailbox, end what depends on the former one."""
    details: dict[str, object] = {"email": [user.email, after], "verified": verified}
    if user.email is not None and (after is None or email_key(after) != email_key(user.email)):
        await credentials.invalidate_pending_sign_ins(session, user.user_id)
        await revoke_all(session, user.user_id)
        details["ended_sessions"] = await end_all(session, origin, user.user_id, reason=_REASON)
    record(session, origin, action="user.email_changed", user_id=user.user_id, details=details)
    await publish_changed(session, origin, user.user_id, "email", "email_verified")


async def _release(session: AsyncSession, origin: Origin, holder: Holder, *, everything: bool) -> None:
    """Take the address from an account, and all that was done with it without a proof (C-11)."""
    details: dict[str, object] = {"email": [holder.email, None]}
    await revoke_all(session, holder.user_id)
    if everything:
        details["revoked_keys"] = await revoke_all_keys(session, origin, holder.user_id, _REASON)
        details["ended_sessions"] = await end_all(session, origin, holder.user_id, reason=_REASON)
        await credentials.wipe_password(session, holder.user_id)
    await credentials.clear_email(session, holder.user_id)
    record(session, origin, action="user.email_changed", user_id=holder.user_id, details=details)
    await publish_changed(session, origin, holder.user_id, "email", *(("password",) if everything else ()))
