"""The base class of teams and domains. All methods use the caller's transaction."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar
from uuid import UUID

from msgspec import UNSET, Struct
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from idp.audit.record import Origin, record
from idp.db.repository import Repository, unique
from idp.directory.group_events import publish_group
from idp.directory.models import DomainRow, TeamRow
from idp.errors import IdpError

Row = TypeVar("Row", TeamRow, DomainRow)
Out = TypeVar("Out", bound=Struct)


class Groups(ABC, Generic[Row, Out]):
    """Teams or domains.

    Attributes:
        noun: its name in audit records.
        repository: of its rows.
        out: the response type; its fields are columns.
        not_found: raised for an unknown id.
        name_column: the unique column, also shown in audit records; inactive groups keep their names.
        taken: raised for a name in use.
    """

    noun: ClassVar[str]
    repository: type[Repository[Row]]
    out: type[Out]
    not_found: ClassVar[type[IdpError]]
    name_column: ClassVar[str]
    taken: ClassVar[type[IdpError]]

    async def list_active(self, session: AsyncSession, *, limit: int | None, offset: int) -> tuple[list[Out], int]:
        """Return active groups by name, all or one page, and their total number."""
        rows, total = await self.repository(session).page(limit=limit, offset=offset, is_active=True)
        return [self._out(row) for row in rows], total

    async def list_after(
        self, session: AsyncSession, *, search: str | None, after: str | None, limit: int
    ) -> tuple[list[Out], str | None]:
        """Return active and inactive groups by name or key, without counting.

        Args:
            session: the caller's transaction.
            search: a part of the name or key, case-insensitive; None for all.
            after: the name or key of the last group of the page before; None for the first page.
            limit: size of a page.

        Returns:
            The page, and the name or key after which the next one begins; None if this is the last.
        """
        model = self.repository.model_type
        column = getattr(model, self.name_column)
        conditions = [column > after] if after is not None else []
        if search is not None:
            columns = {self.name_column: column, "name": model.name}.values()
            conditions.append(or_(*(each.icontains(search, autoescape=True) for each in columns)))
        rows = (await session.scalars(select(model).where(*conditions).order_by(column).limit(limit + 1))).all()
        more = getattr(rows[limit - 1], self.name_column) if len(rows) > limit else None
        return [self._out(row) for row in rows[:limit]], more

    async def get(self, session: AsyncSession, group_id: UUID) -> Out:
        """Return a group, active or not.

        Raises:
            TeamNotFound, DomainNotFound: there is no group with this id.
        """
        return self._out(await self._get(session, group_id))

    async def lock(
        self,
        session: AsyncSession,
        group_id: UUID,
        change: Struct | None = None,  # noqa: ARG002  domains need it
    ) -> Row:
        """Lock a group and its members until the commit. Concurrent changes wait, and see the previous change.

        Args:
            session: the caller's transaction.
            group_id: the team or domain.
            change: the change to make, for locks that only some changes need.

        Raises:
            TeamNotFound, DomainNotFound: there is no group with this id.
        """
        return await self._get(session, group_id, lock=True)

    async def create(self, session: AsyncSession, origin: Origin, new: Any) -> Out:
        """Create a group.

        Raises:
            TeamNameTaken, DomainKeyTaken: another group has this name or key, active or not.
            DomainNotFound, DomainCycle: the parent of a domain does not exist, or the tree would be too deep.
        """
        row = await self._make(session, new)
        with unique(self._constraint, self.taken):
            await self.repository(session).add(row)
        details = {self.name_column: getattr(row, self.name_column)}
        record(session, origin, action=f"{self.noun}.created", target=f"{self.noun}:{row.id}", details=details)
        publish_group(session, row)
        return self._out(row)

    async def change(self, session: AsyncSession, origin: Origin, group_id: UUID, change: Struct) -> Out:
        """Apply a change; unset fields stay as they are.

        Raises:
            TeamNotFound, DomainNotFound: there is no group with this id, or the new parent does not exist.
            TeamNameTaken: another team has this name.
            DomainCycle: the new parent lies inside this domain, or the tree would be too deep.
        """
        row = await self.lock(session, group_id, change)
        before = self._out(row)
        for name in change.__struct_fields__:
            value = getattr(change, name)
            if value is not UNSET:
                await self._set(session, row, name, value)
        with unique(self._constraint, self.taken):
            await session.flush()
        after = self._out(row)
        if changed := _changes(before, after):
            action = f"{self.noun}.{self._verb(changed)}"
            record(session, origin, action=action, target=f"{self.noun}:{row.id}", details=changed)
            row.version += 1
            publish_group(session, row, *changed)
        return after

    @abstractmethod
    async def _make(self, session: AsyncSession, new: Any) -> Row:
        """Return the row of a new one, checked and not added yet."""

    async def _set(self, session: AsyncSession, row: Row, name: str, value: Any) -> None:  # noqa: ARG002  domains do
        setattr(row, name, value)

    def _verb(self, changed: dict[str, Any]) -> str:
        if "is_active" in changed:
            return "activated" if changed["is_active"][1] else "deactivated"
        return "renamed" if "name" in changed else "changed"

    @property
    def _constraint(self) -> str:
        return f"uq_{self.repository.model_type.__tablename__}_{self.name_column}"

    async def _get(self, session: AsyncSession, group_id: UUID, *, lock: bool = False) -> Row:
        row = await self.repository(session).find(group_id, lock=lock)
        if row is None:
            raise self.not_found
        return row

    def _out(self, row: Row) -> Out:
        return self.out(**{name: getattr(row, name) for name in self.out.__struct_fields__})


def _changes(before: Struct, after: Struct) -> dict[str, Any]:
    pairs = {name: (getattr(before, name), getattr(after, name)) for name in before.__struct_fields__}
    return {name: [_plain(old), _plain(new)] for name, (old, new) in pairs.items() if old != new}


def _plain(value: object) -> object:
    return str(value) if isinstance(value, UUID) else value
