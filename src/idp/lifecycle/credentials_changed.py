"""Changes a password or an address, and revokes the user's other sessions and all links in mails (SEC-6)."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from idp.audit.record import Origin
from idp.events.catalogue import EventType
from idp.sessions.service import end_all
from idp.users import credentials, sign_in_failures
from idp.users import service as users
from idp.users.one_time_tokens import revoke_all
from idp.users.user_events import publish_changed


async def change_password(
    session: AsyncSession,
    origin: Origin,
    user_id: str,
    password_hash: str,
    *,
    keep: UUID | None = None,
    also: EventType | None = None,
) -> int:
    """Set a user's password, and revoke their sessions and links.

    Args:
        session: a transaction that locks the user's row.
        origin: of the request.
        user_id: the user.
        password_hash: from `Passwords.hash`.
        keep: a session to keep: that of the request.
        also: a further event, such as `idp.user.password_reset`.

    Returns:
        The number of revoked sessions.
    """
    await users.set_password(session, user_id, password_hash)
    await publish_changed(session, origin, user_id, "password", also=also)
    await revoke_all(session, user_id)
    await sign_in_failures.forget(session, user_id)
    return await end_all(session, origin, user_id, reason="password changed", keep=keep)


async def change_email(
    session: AsyncSession, origin: Origin, user_id: str, email: str, *, keep: UUID | None = None
) -> int:
    """Set a user's address, which they have verified; otherwise like `change_password`.

    Raises:
        EmailTaken: another user has this address; nothing was changed.
    """
    await credentials.set_email(session, user_id, email)
    await publish_changed(session, origin, user_id, "email", "email_verified")
    await credentials.invalidate_pending_sign_ins(session, user_id)
    await revoke_all(session, user_id)
    return await end_all(session, origin, user_id, reason="e-mail address changed", keep=keep)
