"""The base class of team members and domain users. All methods use the caller's transaction."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar
from uuid import UUID

from advanced_alchemy.filters import OrderBy
from msgspec import Struct
from sqlalchemy import ColumnElement, Select, and_, delete, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Bundle, InstrumentedAttribute

from idp.audit.record import Origin, record
from idp.db.repository import Repository
from idp.directory.groups import Groups
from idp.directory.models import TeamMembershipRow, UserDomainRow
from idp.directory.people import IS_LIVE, PERSON
from idp.directory.shapes import MemberRole
from idp.errors import MembershipNotFound

Row = TypeVar("Row", TeamMembershipRow, UserDomainRow)
Shown = TypeVar("Shown", bound=Struct)

BY_ADDRESS = (OrderBy(PERSON.c.email_key), OrderBy(PERSON.c.id))


class Members(ABC, Generic[Row, Shown]):
    """The members of teams, or the users of domains.

    Attributes:
        groups: teams or domains.
        repository: of the memberships.
        group_column: the column with the id of the team or domain.
        shown: the response type: the user's id, address and name, followed by `columns`.
        columns: more columns of a membership.
        noun: a member's name in audit records.
    """

    groups: ClassVar[Groups[Any, Any]]
    repository: type[Repository[Row]]
    group_column: ClassVar[str]
    shown: type[Shown]
    columns: ClassVar[tuple[InstrumentedAttribute[Any], ...]]
    noun: ClassVar[str]

    async def page(self, session: AsyncSession, group_id: UUID, *, limit: int, offset: int) -> tuple[list[Shown], int]:
        """Return a page of a group's members, by address, and their total number.

        Raises:
            TeamNotFound, DomainNotFound: there is no group with this id.
        """
        await self.groups.get(session, group_id)
        criteria = {self.group_column: group_id}
        rows, total = await self.repository(session).page(
            IS_LIVE, limit=limit, offset=offset, statement=self._with_person(), **criteria
        )
        return [self._shown(row) for row in rows], total

    async def list_after(
        self, session: AsyncSession, group_id: UUID, *, after: str | None, limit: int
    ) -> tuple[list[Shown], str | None]:
        """Return a group's members by address, those without one last, without counting.

        Args:
            session: the caller's transaction.
            group_id: the team or domain.
            after: the id of the last member of the page before; None for the first page.
            limit: size of a page.

        Returns:
            The page, and the id after which the next one begins; None if this is the last.
        """
        query = self._with_person().where(getattr(self.repository.model_type, self.group_column) == group_id, IS_LIVE)
        if after is not None:
            place = await session.scalar(select(PERSON.c.email_key).where(PERSON.c.id == after))
            behind = and_(PERSON.c.email_key.is_not_distinct_from(place), PERSON.c.id > after)
            if place is not None:
                behind = or_(PERSON.c.email_key > place, PERSON.c.email_key.is_(None), behind)
            query = query.where(behind)
        rows = (await session.scalars(query.order_by(PERSON.c.email_key, PERSON.c.id).limit(limit + 1))).all()
        more = rows[limit - 1][0] if len(rows) > limit else None
        return [self._shown(row) for row in rows[:limit]], more

    async def get(self, session: AsyncSession, group_id: UUID, user_id: str) -> Shown:
        """Return a membership.

        Raises:
            TeamNotFound, DomainNotFound: there is no such team or domain.
            MembershipNotFound: the user is not a member, or does not exist.
        """
        await self.groups.get(session, group_id)
        criteria: dict[str, Any] = {self.group_column: group_id, "user_id": user_id}
        row = await self.repository(session).get_one_or_none(IS_LIVE, statement=self._with_person(), **criteria)
        if row is None:
            raise MembershipNotFound
        return self._shown(row)

    async def lock(self, session: AsyncSession, group_id: UUID, user_id: str) -> None:  # noqa: ARG002  teams need it
        """Lock a team or domain until the commit; also the membership, if it can be changed.

        Raises:
            TeamNotFound, DomainNotFound: there is no such team or domain.
        """
        await self.groups.lock(session, group_id)

    @abstractmethod
    async def put(
        self, session: AsyncSession, origin: Origin, group_id: UUID, user_id: str, role: MemberRole | None = None
    ) -> Shown:
        """Add a user, or change their role."""

    async def remove(self, session: AsyncSession, origin: Origin, group_id: UUID, user_id: str) -> bool:
        """Remove a user; False if they were not a member.

        Raises:
            TeamNotFound, DomainNotFound: there is no such team or domain.
        """
        await self.groups.get(session, group_id)
        rows = delete(self.repository.model_type).where(self._of(group_id, user_id))
        removed = await session.scalar(rows.returning(literal(True)))
        if removed:
            self._record(session, origin, "removed", group_id, user_id)
            self._publish_removal(session, group_id, user_id)
        return bool(removed)

    @abstractmethod
    def _publish_removal(self, session: AsyncSession, group_id: UUID, user_id: str) -> None:
        """Publish that a user was removed."""

    def _record(
        self, session: AsyncSession, origin: Origin, verb: str, group_id: UUID, user_id: str, **details: Any
    ) -> None:
        noun = self.groups.noun
        action, target = f"{noun}.{self.noun}_{verb}", f"{noun}:{group_id}"
        record(session, origin, action=action, user_id=user_id, target=target, details=details)

    def _of(self, group_id: UUID, user_id: str) -> ColumnElement[bool]:
        model = self.repository.model_type
        return and_(getattr(model, self.group_column) == group_id, model.user_id == user_id)

    def _with_person(self) -> Select[Any]:
        """Select memberships with their users, as a single column, which is what a repository supports."""
        model = self.repository.model_type
        shown: Bundle[Any] = Bundle("shown", PERSON.c.id, PERSON.c.email, PERSON.c.name, *self.columns)
        return select(shown).join_from(model, PERSON, PERSON.c.id == model.user_id)

    def _shown(self, row: Any) -> Shown:
        return self.shown(*row)
