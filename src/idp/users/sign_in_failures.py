"""Consecutive wrong passwords of an account, over any time (SEC-8; decision 0021).

Stored in the database, so that neither a restart nor a lost cache resets the count, and in a separate table, so that a
guess changes no user row and no verdict.
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
_UNKNOWN_USER = ""  # no user has this id


async def count(session: AsyncSession, user_id: str | None) -> int:
    """Count a wrong password, and return the number of consecutive ones.

    For None (unknown user) the same statement runs and counts nothing, so that timing does not reveal accounts (SEC-9).
    """
    counted = await session.scalar(_COUNT, {"user_id": user_id or _UNKNOWN_USER, "now": clock.now()})
    return int(counted or 0)


async def read(session: AsyncSession, user_id: str) -> int:
    """Return the number of consecutive wrong passwords."""
    query = select(SignInFailuresRow.failures).where(SignInFailuresRow.user_id == user_id)
    return await session.scalar(query) or 0


async def forget(session: AsyncSession, user_id: str) -> None:
    """Reset the count, after a new password was set."""
    await session.execute(delete(SignInFailuresRow).where(SignInFailuresRow.user_id == user_id))
