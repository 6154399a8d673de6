"""The columns of users that the directory reads; the table belongs to `idp.users`."""

from sqlalchemy import column, select, table
from sqlalchemy.ext.asyncio import AsyncSession

from idp.db.base import SCHEMA
from idp.errors import UserNotFound

PERSON = table(
    "users",
    column("id"),
    column("email"),
    column("email_key"),
    column("name"),
    column("deleted_at"),
    schema=SCHEMA,
)
IS_LIVE = PERSON.c.deleted_at.is_(None)


async def require(session: AsyncSession, user_id: str) -> None:
    """Check that a user exists and is not deleted.

    Raises:
        UserNotFound: there is no such user.
    """
    if await session.scalar(select(PERSON.c.id).where(PERSON.c.id == user_id, IS_LIVE)) is None:
        raise UserNotFound
