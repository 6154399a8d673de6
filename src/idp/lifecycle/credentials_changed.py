"""What ends when somebody has another password or another address: other sessions, and every link in a mail (SEC-6)."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from idp.audit.record import Origin
from idp.sessions.service import end_all
from idp.users import credentials, sign_in_failures
from idp.users import service as users
from idp.users.one_time_tokens import forget_all


async def change_password(
    session: AsyncSession, origin: Origin, user_id: str, password_hash: str, *, keep: UUID | None = None
) -> int:
    """Give a user another password, and end what the one before had opened.

    Args:
        session: a transaction that holds the user's row.
        origin: who chose it.
        user_id: whose it is.
        password_hash: from `Passwords.hash`.
        keep: the session to keep, which is the one that the change was made in.

    Returns:
        How many sessions were ended.
    """
    await users.set_password(session, user_id, password_hash)
    await forget_all(session, user_id)
    await sign_in_failures.forget(session, user_id)
    return await end_all(session, origin, user_id, reason="password changed", keep=keep)


async def change_email(
    session: AsyncSession, origin: Origin, user_id: str, email: str, *, keep: UUID | None = None
) -> int:
    """Give a user another address, which they have proven to read; the rest is as for `change_password`.

    Raises:
        EmailTaken: somebody has it by now; nothing was changed.
    """
    await credentials.set_email(session, user_id, email)
    await credentials.invalidate_pending_sign_ins(session, user_id)
    await forget_all(session, user_id)
    return await end_all(session, origin, user_id, reason="e-mail address changed", keep=keep)
