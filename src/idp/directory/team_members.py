"""The members of teams and their roles."""

from uuid import UUID

from sqlalchemy import case, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from idp import clock
from idp.audit.record import Origin
from idp.db.repository import Repository
from idp.directory.group_events import publish_member
from idp.directory.members import BY_ADDRESS, Members
from idp.directory.models import TeamMembershipRow
from idp.directory.people import require
from idp.directory.shapes import Member, MemberRole
from idp.directory.teams import TEAMS
from idp.events.catalogue import EventType
from idp.principal import sources


class TeamMembershipRepository(Repository[TeamMembershipRow]):
    """Memberships in teams, by e-mail address."""

    model_type = TeamMembershipRow
    ordering = BY_ADDRESS


class TeamMembers(Members[TeamMembershipRow, Member]):
    """The members of teams; each has a role."""

    groups = TEAMS
    repository = TeamMembershipRepository
    group_column = "team_id"
    shown = Member
    columns = (TeamMembershipRow.role, TeamMembershipRow.created_at)
    noun = "member"

    async def lock(self, session: AsyncSession, group_id: UUID, user_id: str) -> None:
        """Lock a team and a membership in it until the commit.

        Raises:
            TeamNotFound: there is no such team.
        """
        await super().lock(session, group_id, user_id)
        await session.execute(select(TeamMembershipRow.id).where(self._of(group_id, user_id)).with_for_update())

    async def put(
        self,
        session: AsyncSession,
        origin: Origin,
        group_id: UUID,
        user_id: str,
        role: MemberRole | None = None,
        *,
        source: str = sources.ADMIN,
    ) -> Member:
        """Add a user to a team, or change their role in it.

        Args:
            session: the caller's transaction.
            origin: the request's origin.
            group_id: the team.
            user_id: the user.
            role: in the team; None means member.
            source: where the membership comes from (`principal/sources.py`).

        Raises:
            TeamNotFound: there is no such team.
            UserNotFound: there is no such user.
        """
        await self.groups.get(session, group_id)
        await require(session, user_id)
        role_before = select(func.coalesce(TeamMembershipRow.role, "member")).where(self._of(group_id, user_id))
        before = await session.scalar(role_before.with_for_update())
        now, after = clock.now(), role or "member"
        kept = case((func.coalesce(TeamMembershipRow.role, "member") == after, TeamMembershipRow.role), else_=role)
        await session.execute(
            insert(TeamMembershipRow)
            .values(
                id=uuid7(),
                user_id=user_id,
                team_id=group_id,
                role=role,
                source=source,
                created_at=now,
                updated_at=now,
            )
            .on_conflict_do_update(
                index_elements=["user_id", "team_id"], set_={"role": kept, "source": source, "updated_at": now}
            )
        )
        if before != after:
            self._record(session, origin, "changed" if before else "added", group_id, user_id, role=[before, after])
            type_ = EventType.TEAM_MEMBER_CHANGED if before else EventType.TEAM_MEMBER_ADDED
            publish_member(session, type_, group_id, user_id, after)
        return await self.get(session, group_id, user_id)

    def _publish_removal(self, session: AsyncSession, group_id: UUID, user_id: str) -> None:
        publish_member(session, EventType.TEAM_MEMBER_REMOVED, group_id, user_id, None)


TEAM_MEMBERS = TeamMembers()
