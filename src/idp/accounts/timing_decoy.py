"""Decoy work for addresses without an account, rolled back, so that timing does not reveal accounts (SEC-9).

Responding first and working afterwards is not sufficient: an immediate second request waits for that work, and its time
reveals whether there was any.
"""

import secrets

from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

from idp.users import credentials
from idp.users import service as users
from idp.users.credentials import FIRST_PASSWORD, Holder


def decoy_address() -> str:
    """Return an unused, undeliverable address (RFC 6761 section 6.4)."""
    return f"{secrets.token_hex(16)}@nobody.invalid"


async def lock_user_or_decoy(session: AsyncSession, recipient: Holder | None) -> Holder:
    """Lock a user, or create a disabled decoy user; one statement each.

    Args:
        session: a savepoint, to be rolled back if the result is not `is_active`.
        recipient: the user found before, None for an address without an account.
    """
    holder = await credentials.hold(session, recipient.user_id) if recipient else None
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


async def flush_and_rollback(session: AsyncSession, savepoint: AsyncSessionTransaction) -> None:
    """Flush and roll back a savepoint, because a rollback without the writes would be faster."""
    await session.flush()
    await savepoint.rollback()
