"""The common operations of the routes of teams and domains; each method runs one transaction.

Every change takes its locks and then authorizes the caller again in the same transaction
(docs/decisions/0029-reauthorization-inside-the-transaction.md).
"""

from typing import Any, Generic, TypeVar
from uuid import UUID

from litestar import Response
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.directory.groups import Groups
from idp.directory.members import Members
from idp.directory.shapes import MemberRole, Removed
from idp.ops.paging import page
from idp.principal.reauthorize import reauthorize
from idp.principal.requests import AnyRequest

Out = TypeVar("Out", bound=Struct)
Shown = TypeVar("Shown", bound=Struct)


class Management(Generic[Out, Shown]):
    """Teams and their members, or domains and their users.

    Args:
        groups: teams or domains.
        members: of these groups.
        have_admins: whether a group has its own administrators, as teams do.
    """

    def __init__(self, groups: Groups[Any, Out], members: Members[Any, Shown], *, have_admins: bool) -> None:
        self._groups = groups
        self._members = members
        self._have_admins = have_admins

    async def list_active(
        self, request: AnyRequest, database: Database, *, limit: int | None, offset: int
    ) -> Response[list[Out]]:
        """Return active groups, all or one page."""
        async with database.transaction() as session:
            items, total = await self._groups.list_active(session, limit=limit, offset=offset)
        return page(request, items, total=total, limit=limit, offset=offset)

    async def create(self, request: AnyRequest, database: Database, new: Struct) -> Out:
        """Create a group; administrators only."""
        async with database.transaction() as session:
            created = await self._groups.create(session, origin_of(request), new)
            await reauthorize(session, request.user, manages=True)
            return created

    async def get(self, database: Database, group_id: UUID) -> Out:
        """Return a group, active or not."""
        async with database.transaction() as session:
            return await self._groups.get(session, group_id)

    async def change(self, request: AnyRequest, database: Database, group_id: UUID, change: Struct) -> Out:
        """Apply a change; unset fields stay as they are."""
        async with database.transaction() as session:
            await self._groups.lock(session, group_id, change)
            await self._reauthorize(session, request, group_id)
            return await self._groups.change(session, origin_of(request), group_id, change)

    async def list_members(
        self, request: AnyRequest, database: Database, group_id: UUID, *, limit: int, offset: int
    ) -> Response[list[Shown]]:
        """Return a page of a group's members."""
        async with database.transaction() as session:
            items, total = await self._members.page(session, group_id, limit=limit, offset=offset)
        return page(request, items, total=total, limit=limit, offset=offset)

    async def get_member(self, database: Database, group_id: UUID, user_id: str) -> Shown:
        """Return one membership."""
        async with database.transaction() as session:
            return await self._members.get(session, group_id, user_id)

    async def remove_member(self, request: AnyRequest, database: Database, group_id: UUID, user_id: str) -> Removed:
        """Remove a user from a group; removing them again is not an error."""
        async with database.transaction() as session:
            await self._members.lock(session, group_id, user_id)
            await self._reauthorize(session, request, group_id)
            removed = await self._members.remove(session, origin_of(request), group_id, user_id)
        return Removed(removed)

    async def put_member(
        self, request: AnyRequest, database: Database, group_id: UUID, user_id: str, *, role: MemberRole | None = None
    ) -> Shown:
        """Add a user to a group, or change their role in a team."""
        async with database.transaction() as session:
            await self._members.lock(session, group_id, user_id)
            await self._reauthorize(session, request, group_id)
            return await self._members.put(session, origin_of(request), group_id, user_id, role)

    async def _reauthorize(self, session: AsyncSession, request: AnyRequest, group_id: UUID) -> None:
        """Authorize the caller again for a team or domain.

        Raises:
            AdminRequired, TeamAdminRequired: the caller is no longer authorized; see also `reauthorize`.
        """
        if self._have_admins:
            await reauthorize(session, request.user, team=group_id)
        else:
            await reauthorize(session, request.user, manages=True)
