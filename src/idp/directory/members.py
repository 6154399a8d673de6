"""Who is in which team and which domain. Every function works inside the caller's transaction."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from idp import clock
from idp.audit.record import Origin, record
from idp.directory import domains, teams
from idp.directory.models import DomainRow, TeamMembershipRow, TeamRow, UserDomainRow
from idp.directory.people import IS_LIVE, PERSON, require
from idp.directory.shapes import DomainUser, Member, MemberRole
from idp.errors import MembershipNotFound

_NAMED = (PERSON.c.id, PERSON.c.email, PERSON.c.name)


async def join_defaults(session: AsyncSession, user_id: str, *, teams: Sequence[str], domains: Sequence[str]) -> None:
    """Put a new user into the teams and domains of these names and keys, where they exist and are active (S3-25)."""
    team_ids = await session.scalars(select(TeamRow.id).where(TeamRow.name.in_(teams), TeamRow.is_active))
    session.add_all([TeamMembershipRow(user_id=user_id, team_id=team_id) for team_id in team_ids])
    domain_ids = await session.scalars(select(DomainRow.id).where(DomainRow.key.in_(domains), DomainRow.is_active))
    session.add_all([UserDomainRow(user_id=user_id, domain_id=domain_id) for domain_id in domain_ids])
    await session.flush()


async def list_team(session: AsyncSession, team_id: UUID, *, limit: int, offset: int) -> tuple[list[Member], int]:
    """Return a page of a team's members, by address, and how many there are.

    Raises:
        TeamNotFound: there is none of this id.
    """
    await teams.get(session, team_id)
    mine = (TeamMembershipRow.team_id == team_id, IS_LIVE)
    joined = select(*_NAMED, TeamMembershipRow.role, TeamMembershipRow.created_at).join(
        PERSON, PERSON.c.id == TeamMembershipRow.user_id
    )
    total = await session.scalar(select(func.count()).select_from(joined.where(*mine).subquery()))
    rows = await session.execute(
        joined.where(*mine).order_by(PERSON.c.email_key, PERSON.c.id).limit(limit).offset(offset)
    )
    return [Member(*row) for row in rows], total or 0


async def get_team_member(session: AsyncSession, team_id: UUID, user_id: str) -> Member:
    """Return one membership.

    Raises:
        TeamNotFound: there is no such team.
        MembershipNotFound: the user is not in it, or does not exist.
    """
    await teams.get(session, team_id)
    row = (
        await session.execute(
            select(*_NAMED, TeamMembershipRow.role, TeamMembershipRow.created_at)
            .join(PERSON, PERSON.c.id == TeamMembershipRow.user_id)
            .where(TeamMembershipRow.team_id == team_id, PERSON.c.id == user_id, IS_LIVE)
        )
    ).first()
    if row is None:
        raise MembershipNotFound
    return Member(*row)


async def hold_team_member(session: AsyncSession, team_id: UUID, user_id: str) -> None:
    """Let nobody else change a team or this membership of it until the commit.

    Raises:
        TeamNotFound: there is no such team.
    """
    await teams.hold(session, team_id)
    mine = (TeamMembershipRow.team_id == team_id, TeamMembershipRow.user_id == user_id)
    await session.execute(select(TeamMembershipRow.id).where(*mine).with_for_update())


async def set_team_member(
    session: AsyncSession, origin: Origin, *, team_id: UUID, user_id: str, role: MemberRole | None
) -> Member:
    """Put a user into a team, or change their role in it.

    Raises:
        TeamNotFound: there is no such team.
        UserNotFound: there is no such user.
    """
    await teams.get(session, team_id)
    await require(session, user_id)
    now = clock.now()
    before = await session.scalar(
        select(func.coalesce(TeamMembershipRow.role, "member"))
        .where(TeamMembershipRow.team_id == team_id, TeamMembershipRow.user_id == user_id)
        .with_for_update()
    )
    await session.execute(
        insert(TeamMembershipRow)
        .values(id=uuid7(), user_id=user_id, team_id=team_id, role=role, created_at=now, updated_at=now)
        .on_conflict_do_update(index_elements=["user_id", "team_id"], set_={"role": role, "updated_at": now})
    )
    if before != (role or "member"):
        record(
            session,
            origin,
            action="team.member_changed" if before else "team.member_added",
            user_id=user_id,
            target=f"team:{team_id}",
            details={"role": [before, role or "member"]},
        )
    return await get_team_member(session, team_id, user_id)


async def remove_team_member(session: AsyncSession, origin: Origin, *, team_id: UUID, user_id: str) -> bool:
    """Take a user out of a team; False if they were not in it.

    Raises:
        TeamNotFound: there is no such team.
    """
    await teams.get(session, team_id)
    gone = await session.scalar(
        delete(TeamMembershipRow)
        .where(TeamMembershipRow.team_id == team_id, TeamMembershipRow.user_id == user_id)
        .returning(literal(True))
    )
    if gone:
        record(session, origin, action="team.member_removed", user_id=user_id, target=f"team:{team_id}")
    return bool(gone)


async def list_domain(
    session: AsyncSession, domain_id: UUID, *, limit: int, offset: int
) -> tuple[list[DomainUser], int]:
    """Return a page of a domain's users, by address, and how many there are.

    Raises:
        DomainNotFound: there is none of this id.
    """
    await domains.get(session, domain_id)
    mine = (UserDomainRow.domain_id == domain_id, IS_LIVE)
    joined = select(*_NAMED, UserDomainRow.created_at).join(PERSON, PERSON.c.id == UserDomainRow.user_id)
    total = await session.scalar(select(func.count()).select_from(joined.where(*mine).subquery()))
    rows = await session.execute(
        joined.where(*mine).order_by(PERSON.c.email_key, PERSON.c.id).limit(limit).offset(offset)
    )
    return [DomainUser(*row) for row in rows], total or 0


async def get_domain_user(session: AsyncSession, domain_id: UUID, user_id: str) -> DomainUser:
    """Return one assignment.

    Raises:
        DomainNotFound: there is no such domain.
        MembershipNotFound: the user is not in it, or does not exist.
    """
    await domains.get(session, domain_id)
    row = (
        await session.execute(
            select(*_NAMED, UserDomainRow.created_at)
            .join(PERSON, PERSON.c.id == UserDomainRow.user_id)
            .where(UserDomainRow.domain_id == domain_id, PERSON.c.id == user_id, IS_LIVE)
        )
    ).first()
    if row is None:
        raise MembershipNotFound
    return DomainUser(*row)


async def add_domain_user(session: AsyncSession, origin: Origin, *, domain_id: UUID, user_id: str) -> DomainUser:
    """Assign a user to a domain.

    Raises:
        DomainNotFound: there is no such domain.
        UserNotFound: there is no such user.
    """
    await domains.get(session, domain_id)
    await require(session, user_id)
    now = clock.now()
    added = await session.scalar(
        insert(UserDomainRow)
        .values(id=uuid7(), user_id=user_id, domain_id=domain_id, created_at=now, updated_at=now)
        .on_conflict_do_nothing()
        .returning(literal(True))
    )
    if added:
        record(session, origin, action="domain.user_added", user_id=user_id, target=f"domain:{domain_id}")
    return await get_domain_user(session, domain_id, user_id)


async def remove_domain_user(session: AsyncSession, origin: Origin, *, domain_id: UUID, user_id: str) -> bool:
    """Take a user out of a domain; False if they were not in it.

    Raises:
        DomainNotFound: there is no such domain.
    """
    await domains.get(session, domain_id)
    gone = await session.scalar(
        delete(UserDomainRow)
        .where(UserDomainRow.domain_id == domain_id, UserDomainRow.user_id == user_id)
        .returning(literal(True))
    )
    if gone:
        record(session, origin, action="domain.user_removed", user_id=user_id, target=f"domain:{domain_id}")
    return bool(gone)
