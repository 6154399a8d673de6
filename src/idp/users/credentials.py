"""A user's address and password, for account flows. Every function works in the caller's transaction.

`idp.lifecycle` revokes what depends on them.
"""

from msgspec import Struct
from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import ColumnElement

from idp import clock
from idp.db.engine import sqlstate
from idp.db.reads import Reads
from idp.errors import EmailTaken
from idp.users.email import email_key
from idp.users.models import UserRow

# The initial password version of an account.
FIRST_PASSWORD = 1
# A live user has the address: unique_violation; two users swap addresses concurrently: deadlock_detected.
_TAKEN = frozenset({"23505", "40P01"})


class Holder(Struct, frozen=True):
    """A live user's account data for flows. `repr` hides the hash."""

    user_id: str
    email: str | None
    name: str | None
    email_verified: bool
    is_active: bool
    password_hash: str | None
    password_version: int
    failures: int = 0  # consecutive wrong passwords; only set by `look_up`

    def __repr__(self) -> str:
        return f"Holder({self.user_id})"


_COLUMNS = (
    UserRow.id,
    UserRow.email,
    UserRow.name,
    UserRow.email_verified,
    UserRow.is_active,
    UserRow.password_hash,
    UserRow.password_version,
)


_LOOK_UP = (
    f"SELECT {', '.join(column.key for column in _COLUMNS)}, "  # noqa: S608  names of columns
    "coalesce((SELECT failures FROM idp.sign_in_failures WHERE user_id = users.id), 0) FROM idp.users "
    "WHERE email_key = $1 AND deleted_at IS NULL"
)


async def look_up(reads: Reads, email: str) -> Holder | None:
    """Return the live user with this address, without a lock; only for reading.

    Raises:
        DatabaseUnavailable: PostgreSQL is away.
    """
    row = await reads.fetchrow(_LOOK_UP, email_key(email))
    return Holder(*row) if row else None


async def find_by_email(session: AsyncSession, email: str) -> Holder | None:
    """Return the live user with this address."""
    return await _find(session, UserRow.email_key == email_key(email))


async def find_by_id(session: AsyncSession, user_id: str) -> Holder | None:
    """Return the live user with this id."""
    return await _find(session, UserRow.id == user_id)


async def hold(session: AsyncSession, user_id: str) -> Holder | None:
    """Lock and return the live user with this id; no change and no sign-in until the commit.

    Every flow that changes an account begins with this, so concurrent flows run one after another.
    """
    return await _find(session, UserRow.id == user_id, lock=True)


async def hold_by_email(session: AsyncSession, email: str) -> Holder | None:
    """Lock and return the live user with this address."""
    return await _find(session, UserRow.email_key == email_key(email), lock=True)


async def _find(session: AsyncSession, condition: ColumnElement[bool], *, lock: bool = False) -> Holder | None:
    query = select(*_COLUMNS).where(condition, UserRow.deleted_at.is_(None))
    row = (await session.execute(query.with_for_update(key_share=True) if lock else query)).first()
    return Holder(*row) if row else None


async def mark_verified(session: AsyncSession, user_id: str) -> None:
    """Mark a user's address as verified."""
    await _change(session, user_id, email_verified=True)


async def wipe_password(session: AsyncSession, user_id: str) -> None:
    """Remove a user's password; pending sign-ins with it fail."""
    await _change(session, user_id, password_hash=None, password_version=UserRow.password_version + 1)


async def invalidate_pending_sign_ins(session: AsyncSession, user_id: str) -> None:
    """Make sign-ins fail whose password was checked before this, because the account was claimed."""
    await _count_password(session, user_id, by=1)


async def mark_contested(session: AsyncSession, user_id: str, *, contested: bool) -> None:
    """Mark an unverified account as registered with different passwords: verification then clears the password (C-11).

    The statement also runs for `contested=False`, so that timing reveals nothing (SEC-9).
    """
    await _count_password(session, user_id, by=int(contested))


async def set_email(session: AsyncSession, user_id: str, email: str, *, verified: bool = True) -> None:
    """Set a user's new address.

    Args:
        session: the caller's transaction, usable after an error.
        user_id: the user.
        email: as `parse_email` returned it.
        verified: whether the user has proved to own it.

    Raises:
        EmailTaken: a live user has this address.
    """
    try:
        async with session.begin_nested():
            await _change(session, user_id, email=email, email_key=email_key(email), email_verified=verified)
    except DBAPIError as error:
        if sqlstate(error) not in _TAKEN:
            raise
        raise EmailTaken from None


async def _count_password(session: AsyncSession, user_id: str, *, by: int) -> None:
    """Raise the password version only: for others the user is unchanged, so no event is published."""
    version, unchanged = UserRow.password_version + by, UserRow.updated_at
    await session.execute(
        update(UserRow).where(UserRow.id == user_id).values(password_version=version, updated_at=unchanged)
    )


async def clear_email(session: AsyncSession, user_id: str) -> None:
    """Remove a user's address."""
    await _change(session, user_id, email=None, email_key=None, email_verified=False)


async def _change(session: AsyncSession, user_id: str, **values: object) -> None:
    await session.execute(update(UserRow).where(UserRow.id == user_id).values(updated_at=clock.now(), **values))
