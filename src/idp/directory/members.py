"""Who is in which team and which domain. Every function works inside the caller's transaction."""

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar
from uuid import UUID

from advanced_alchemy.filters import CollectionFilter, OrderBy
from msgspec import Struct
from sqlalchemy import ColumnElement, Select, and_, delete, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Bundle, InstrumentedAttribute
from uuid_utils.compat import uuid7

from idp import clock
from idp.audit.record import Origin, record
from idp.db.repository import Repository
from idp.directory.domains import DOMAINS, DomainRepository
from idp.directory.groups import Groups
from idp.directory.models import TeamMembershipRow, UserDomainRow
from idp.directory.people import IS_LIVE, PERSON, require
from idp.directory.shapes import DomainUser, Member, MemberRole
from idp.directory.teams import TEAMS, TeamRepository
from idp.errors import MembershipNotFound

Row = TypeVar("Row", TeamMembershipRow, UserDomainRow)
Shown = TypeVar("Shown", bound=Struct)

_BY_ADDRESS = (OrderBy(PERSON.c.email_key), OrderBy(PERSON.c.id))


class Members(Generic[Row, Shown]):
    """The members of teams, or the users of domains.

    Attributes:
        groups: the teams or the domains.
        repository: the rows that say who is in which.
        group_column: the name of their column with the team or domain.
        shown: what clients read: the user's id, address and name, and then `columns`.
        columns: further columns of the rows.
        noun: what a member is called in audit records.
    """

    groups: ClassVar[Groups[Any, Any]]
    repository: type[Repository[Row]]
    group_column: ClassVar[str]
    shown: type[Shown]
    columns: ClassVar[tuple[InstrumentedAttribute[Any], ...]]
    noun: ClassVar[str]

    async def page(self, session: AsyncSession, group_id: UUID, *, limit: int, offset: int) -> tuple[list[Shown], int]:
        """Return a page of the members of one, by address, and how many there are.

        Raises:
            TeamNotFound, DomainNotFound: there is none of this id.
        """
        await self.groups.get(session, group_id)
        wanted = {self.group_column: group_id}
        rows, total = await self.repository(session).page(
            IS_LIVE, limit=limit, offset=offset, statement=self._with_person(), **wanted
        )
        return [self._shown(row) for row in rows], total

    async def get(self, session: AsyncSession, group_id: UUID, user_id: str) -> Shown:
        """Return one membership.

        Raises:
            TeamNotFound, DomainNotFound: there is no such team or domain.
            MembershipNotFound: the user is not in it, or does not exist.
        """
        await self.groups.get(session, group_id)
        wanted: dict[str, Any] = {self.group_column: group_id, "user_id": user_id}
        row = await self.repository(session).get_one_or_none(IS_LIVE, statement=self._with_person(), **wanted)
        if row is None:
            raise MembershipNotFound
        return self._shown(row)

    async def lock(self, session: AsyncSession, group_id: UUID, user_id: str) -> None:  # noqa: ARG002  teams need it
        """Lock a team or domain, and this membership if it can be changed, until the commit.

        Raises:
            TeamNotFound, DomainNotFound: there is no such team or domain.
        """
        await self.groups.lock(session, group_id)

    async def remove(self, session: AsyncSession, origin: Origin, group_id: UUID, user_id: str) -> bool:
        """Remove a user; False if they were not in it.

        Raises:
            TeamNotFound, DomainNotFound: there is no such team or domain.
        """
        await self.groups.get(session, group_id)
        rows = delete(self.repository.model_type).where(self._of(group_id, user_id))
        removed = await session.scalar(rows.returning(literal(True)))
        if removed:
            self._record(session, origin, "removed", group_id, user_id)
        return bool(removed)

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
        """Select what is shown of a membership, as one column: a repository's statement has no more."""
        model = self.repository.model_type
        shown: Bundle[Any] = Bundle("shown", PERSON.c.id, PERSON.c.email, PERSON.c.name, *self.columns)
        return select(shown).join_from(model, PERSON, PERSON.c.id == model.user_id)

    def _shown(self, row: Any) -> Shown:
        return self.shown(*row)


class TeamMembershipRepository(Repository[TeamMembershipRow]):
    """Rows that say who is in which team."""

    model_type = TeamMembershipRow
    ordering = _BY_ADDRESS


class UserDomainRepository(Repository[UserDomainRow]):
    """Rows that say who works in which domain."""

    model_type = UserDomainRow
    ordering = _BY_ADDRESS


class TeamMembers(Members[TeamMembershipRow, Member]):
    """The members of teams; each has a role."""

    groups = TEAMS
    repository = TeamMembershipRepository
    group_column = "team_id"
    shown = Member
    columns = (TeamMembershipRow.role, TeamMembershipRow.created_at)
    noun = "member"

    async def lock(self, session: AsyncSession, group_id: UUID, user_id: str) -> None:
        """Lock a team and this membership of it until the commit.

        Raises:
            TeamNotFound: there is no such team.
        """
        await super().lock(session, group_id, user_id)
        await session.execute(select(TeamMembershipRow.id).where(self._of(group_id, user_id)).with_for_update())

    async def put(
        self, session: AsyncSession, origin: Origin, team_id: UUID, user_id: str, role: MemberRole | None
    ) -> Member:
        """Put a user into a team, or change their role in it.

        Raises:
            TeamNotFound: there is no such team.
            UserNotFound: there is no such user.
        """
        await self.groups.get(session, team_id)
        await require(session, user_id)
        held = select(func.coalesce(TeamMembershipRow.role, "member")).where(self._of(team_id, user_id))
        before = await session.scalar(held.with_for_update())
        now = clock.now()
        await session.execute(
            insert(TeamMembershipRow)
            .values(id=uuid7(), user_id=user_id, team_id=team_id, role=role, created_at=now, updated_at=now)
            .on_conflict_do_update(index_elements=["user_id", "team_id"], set_={"role": role, "updated_at": now})
        )
        after = role or "member"
        if before != after:
            self._record(session, origin, "changed" if before else "added", team_id, user_id, role=[before, after])
        return await self.get(session, team_id, user_id)


class DomainUsers(Members[UserDomainRow, DomainUser]):
    """The users of domains."""

    groups = DOMAINS
    repository = UserDomainRepository
    group_column = "domain_id"
    shown = DomainUser
    columns = (UserDomainRow.created_at,)
    noun = "user"

    async def put(self, session: AsyncSession, origin: Origin, domain_id: UUID, user_id: str) -> DomainUser:
        """Assign a user to a domain; assigning them twice changes nothing.

        Raises:
            DomainNotFound: there is no such domain.
            UserNotFound: there is no such user.
        """
        await self.groups.get(session, domain_id)
        await require(session, user_id)
        now = clock.now()
        added = await session.scalar(
            insert(UserDomainRow)
            .values(id=uuid7(), user_id=user_id, domain_id=domain_id, created_at=now, updated_at=now)
            .on_conflict_do_nothing()
            .returning(literal(True))
        )
        if added:
            self._record(session, origin, "added", domain_id, user_id)
        return await self.get(session, domain_id, user_id)


TEAM_MEMBERS = TeamMembers()
DOMAIN_USERS = DomainUsers()


async def join_defaults(session: AsyncSession, user_id: str, *, teams: Sequence[str], domains: Sequence[str]) -> None:
    """Put a new user into the teams and domains of these names and keys, where they exist and are active (S3-25)."""
    for team in await TeamRepository(session).get_many(CollectionFilter("name", teams), is_active=True):
        session.add(TeamMembershipRow(user_id=user_id, team_id=team.id))
    for domain in await DomainRepository(session).get_many(CollectionFilter("key", domains), is_active=True):
        session.add(UserDomainRow(user_id=user_id, domain_id=domain.id))
    await session.flush()
