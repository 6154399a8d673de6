"""Wrong passwords in a row, wherever one is asked for: at sign-in, and once more before a change (decision 0021)."""

from sqlalchemy.ext.asyncio import AsyncSession

from idp.mail.messages import SignInLocked
from idp.mail.outbox import Mailer
from idp.users import sign_in_failures
from idp.users.credentials import Holder


async def count_wrong_password(session: AsyncSession, mailer: Mailer, holder: Holder | None, *, most: int) -> bool:
    """Count a wrong password, and return whether there are too many in a row now; the owner is told once.

    Args:
        session: the caller's transaction.
        mailer: posts the mail.
        holder: whose password it was not; None for nobody, which takes as long (SEC-9).
        most: how many in a row lock the account (SEC-8).
    """
    failures = await sign_in_failures.count(session, holder.user_id if holder else None)
    if holder is None:
        return False
    # The answer stays that of a wrong password, which says nothing about the account (SEC-9).
    if failures == most and holder.email is not None and holder.email_verified:
        mailer.post(session, SignInLocked(name=holder.name, failures=failures), to=holder.email)
    return failures >= most
