"""Wrong passwords of an account, one time after the other, whatever the time between them (SEC-8; decision 0021).

Kept in the database, so that neither a restart nor a lost cache gives an attacker attempts back, and in a table of its
own, so that a guess changes no user and no verdict.
"""

from sqlalchemy import delete, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.users.models import SignInFailuresRow

_COUNT = text("""
INSERT INTO idp.sign_in_failures (user_id, failures, last_at)
SELECT id, 1, :now FROM idp.users WHERE id = :user_id
ON CONFLICT (user_id) DO UPDATE SET failures = sign_in_failures.failures + 1, last_at = :now
RETURNING failures
""")
_NOBODY = ""  # no user has this id


async def count(session: AsyncSession, user_id: str | None) -> int:
    """Count a wrong password, and return how many there were since the last right one.

    The same statement for nobody, None, which counts nothing: otherwise the time would tell who has an account (SEC-9).
    """
    counted = await session.scalar(_COUNT, {"user_id": user_id or _NOBODY, "now": clock.now()})
    return int(counted or 0)


async def read(session: AsyncSession, user_id: str) -> int:
    """Return how many there were since the last right one."""
    wanted = select(SignInFailuresRow.failures).where(SignInFailuresRow.user_id == user_id)
    return await session.scalar(wanted) or 0


async def forget(session: AsyncSession, user_id: str) -> None:
    """Begin anew: the account has another password, which was chosen with a mailed link or the one before."""
    await session.execute(delete(SignInFailuresRow).where(SignInFailuresRow.user_id == user_id))
