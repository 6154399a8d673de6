"""Rows of users, as administration and profiles read and change them."""

from typing import Any

from advanced_alchemy.filters import NullFilter, OrderBy
from msgspec import UNSET
from sqlalchemy.ext.asyncio import AsyncSession

from idp.audit.record import Origin, record
from idp.db.repository import Repository
from idp.errors import UserNotFound
from idp.users.models import UserRow


class UserRepository(Repository[UserRow]):
    """Users, newest first; deleted ones too, where no filter leaves them out."""

    model_type = UserRow
    ordering = (OrderBy("created_at", "desc"), OrderBy("id", "desc"))

    async def get_live(self, user_id: str, *, lock: bool = False) -> UserRow:
        """Return a user who is not deleted.

        Args:
            user_id: the user.
            lock: let no other transaction change them until the commit.

        Raises:
            UserNotFound: there is no such user, or no more.
        """
        row = await self.get_one_or_none(
            NullFilter("deleted_at"), id=user_id, with_for_update={"key_share": True} if lock else None
        )
        if row is None:
            raise UserNotFound
        return row


def change_fields(session: AsyncSession, origin: Origin, row: UserRow, **given: Any) -> tuple[str, ...]:
    """Set what differs from what a user has, and record it; UNSET changes nothing. Return the names of the changes."""
    changed = {
        name: [getattr(row, name), value]
        for name, value in given.items()
        if value is not UNSET and value != getattr(row, name)
    }
    for name, (_, value) in changed.items():
        setattr(row, name, value)
    if changed:
        record(session, origin, action="user.changed", user_id=row.id, details=changed)
    return tuple(changed)
