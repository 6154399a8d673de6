"""What people change and read about themselves. Every function works inside the caller's transaction."""

from typing import Any

from msgspec import UNSET
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from idp.audit.record import Origin, record
from idp.errors import UserNotFound
from idp.users.models import IdentityRow, UserRow
from idp.users.shapes import Identity, ProfileChange


async def edit_profile(session: AsyncSession, origin: Origin, user_id: str, wanted: ProfileChange) -> None:
    """Change what is given.

    Raises:
        UserNotFound: the user is gone by now.
    """
    row = await session.scalar(
        select(UserRow).where(UserRow.id == user_id, UserRow.deleted_at.is_(None)).with_for_update(key_share=True)
    )
    if row is None:
        raise UserNotFound
    given = {"name": wanted.name, "avatar_url": wanted.avatar_url}
    changed: dict[str, Any] = {
        field: [getattr(row, field), value]
        for field, value in given.items()
        if value is not UNSET and value != getattr(row, field)
    }
    for field, (_, value) in changed.items():
        setattr(row, field, value)
    if changed:
        record(session, origin, action="user.changed", user_id=user_id, details=changed)
    await session.flush()


async def list_identities(session: AsyncSession, user_id: str) -> list[Identity]:
    """Return what other issuers call a user, the first one first."""
    rows = await session.scalars(
        select(IdentityRow).where(IdentityRow.user_id == user_id).order_by(IdentityRow.created_at, IdentityRow.id)
    )
    return [Identity(row.provider, row.subject, row.created_at) for row in rows]
