"""Users' own profiles. Every function works inside the caller's transaction."""

from msgspec import UNSET
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from idp.audit.record import Origin
from idp.users.models import IdentityRow
from idp.users.repository import UserRepository, change_fields
from idp.users.shapes import Identity, ProfileChange
from idp.users.user_events import publish_changed


async def edit_profile(session: AsyncSession, origin: Origin, user_id: str, requested: ProfileChange) -> None:
    """Change the given values.

    Raises:
        UserNotFound: the user was deleted.
    """
    row = await UserRepository(session).get_live(user_id, lock=True)
    if changed := change_fields(session, origin, row, name=requested.name, avatar_url=requested.avatar_url):
        await publish_changed(session, origin, user_id, *changed)


async def copy_profile(
    session: AsyncSession, origin: Origin, user_id: str, *, name: str | None, avatar_url: str | None, plan: str | None
) -> None:
    """Set what another service says about a user; None for a plan leaves it as it is.

    Raises:
        UserNotFound: the user was deleted.
    """
    row = await UserRepository(session).get_live(user_id, lock=True)
    given = {"name": name, "avatar_url": avatar_url, "plan": UNSET if plan is None else plan}
    if changed := change_fields(session, origin, row, **given):
        await publish_changed(session, origin, user_id, *changed)


async def list_identities(session: AsyncSession, user_id: str) -> list[Identity]:
    """Return a user's identities at other issuers, oldest first."""
    rows = await session.scalars(
        select(IdentityRow).where(IdentityRow.user_id == user_id).order_by(IdentityRow.created_at, IdentityRow.id)
    )
    return [Identity(row.provider, row.subject, row.created_at) for row in rows]
