"""The little that the directory reads of people, whose table belongs to `idp.users`."""

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
    """Check that a live user has this id.

    Raises:
        UserNotFound: nobody has.
    """
    if await session.scalar(select(PERSON.c.id).where(PERSON.c.id == user_id, IS_LIVE)) is None:
        raise UserNotFound
