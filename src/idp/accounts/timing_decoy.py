"""What is done for nobody: the same as for somebody, and undone, so that no time tells who has an account (SEC-9).

To answer first and work afterwards is not enough. Whoever asks for something else right then waits for that work, and
learns whether there was any.
"""

import secrets

from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

from idp.users import credentials
from idp.users import service as users
from idp.users.credentials import FIRST_PASSWORD, Holder


def decoy_address() -> str:
    """Return an address that nobody has, and that no mail reaches (RFC 6761 section 6.4)."""
    return f"{secrets.token_hex(16)}@nobody.invalid"


async def lock_user_or_decoy(session: AsyncSession, found: Holder | None) -> Holder:
    """Hold a user, or make one who is disabled; a statement each.

    Args:
        session: a savepoint, which has to be undone for whoever `is_active` is false of.
        found: whom a look before has found, None for an address without an account.
    """
    holder = await credentials.hold(session, found.user_id) if found else None
    if holder is not None:
        return holder
    email = decoy_address()
    user_id = await users.create(session, email=email, name=None, password_hash=None, roles=())
    return Holder(
        user_id=user_id,
        email=email,
        name=None,
        email_verified=False,
        is_active=False,
        password_hash=None,
        password_version=FIRST_PASSWORD,
    )


async def undo(session: AsyncSession, savepoint: AsyncSessionTransaction) -> None:
    """Roll a savepoint back when everything in it was written: what is only rolled back costs less."""
    await session.flush()
    await savepoint.rollback()
