"""Wrong passwords of an account, one time after the other, whatever the time between them (SEC-8; decision 0021).

Kept in the database, so that neither a restart nor a lost cache gives an attacker attempts back, and in a table of its
own, so that a guess changes no user and no verdict.
"""

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.users.models import SignInFailuresRow


async def count(session: AsyncSession, user_id: str) -> int:
    """Count a wrong password, and return how many there were since the last right one."""
    now = clock.now()
    counting = insert(SignInFailuresRow).values(user_id=user_id, failures=1, last_at=now)
    counting = counting.on_conflict_do_update(
        index_elements=[SignInFailuresRow.user_id],
        set_={"failures": SignInFailuresRow.failures + 1, "last_at": now},
    )
    failures: int = (await session.execute(counting.returning(SignInFailuresRow.failures))).scalar_one()
    return failures


async def read(session: AsyncSession, user_id: str) -> int:
    """Return how many there were since the last right one."""
    wanted = select(SignInFailuresRow.failures).where(SignInFailuresRow.user_id == user_id)
    return await session.scalar(wanted) or 0


async def forget(session: AsyncSession, user_id: str) -> None:
    """Begin anew: the account has another password, which was chosen with a mailed link or the one before."""
    await session.execute(delete(SignInFailuresRow).where(SignInFailuresRow.user_id == user_id))
