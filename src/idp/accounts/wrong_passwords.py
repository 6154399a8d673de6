"""Count consecutive wrong passwords, at sign-in and before changes (decision 0021)."""

from sqlalchemy.ext.asyncio import AsyncSession

from idp.mail.messages import SignInLocked
from idp.mail.outbox import Mailer
from idp.users import sign_in_failures
from idp.users.credentials import Holder


async def count_wrong_password(session: AsyncSession, mailer: Mailer, holder: Holder | None, *, limit: int) -> bool:
    """Count a wrong password, and return whether the limit is reached; the owner gets one mail.

    Args:
        session: the caller's transaction.
        mailer: queues the mail.
        holder: the user; None for an unknown address, which takes equally long (SEC-9).
        limit: limit of consecutive wrong passwords (SEC-8).
    """
    failures = await sign_in_failures.count(session, holder.user_id if holder else None)
    if holder is None:
        return False
    # The response stays that of a wrong password and reveals nothing about the account (SEC-9).
    if failures == limit and holder.email is not None and holder.email_verified:
        mailer.post(session, SignInLocked(name=holder.name, failures=failures), to=holder.email)
    return failures >= limit
