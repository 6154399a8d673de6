"""The teams and domains of one user, active or not, as administrators see them."""

from uuid import UUID

from msgspec import Struct
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from idp.directory.models import DomainRow, TeamMembershipRow, TeamRow, UserDomainRow


class Membership(Struct, frozen=True):
    """A team or domain of a user.

    Attributes:
        name: of the team, or the key of the domain.
        role: in the team; None in a domain.
        source: where the membership comes from (`principal/sources.py`); None if that is unknown.
    """

    id: UUID
    name: str
    role: str | None
    source: str | None
    is_active: bool


async def teams_of(session: AsyncSession, user_id: str) -> list[Membership]:
    """Return the teams of a user by name."""
    role = func.coalesce(TeamMembershipRow.role, "member")
    query = select(TeamRow.id, TeamRow.name, role, TeamMembershipRow.source, TeamRow.is_active).join_from(
        TeamMembershipRow, TeamRow, TeamRow.id == TeamMembershipRow.team_id
    )
    rows = await session.execute(query.where(TeamMembershipRow.user_id == user_id).order_by(TeamRow.name))
    return [Membership(*row) for row in rows]


async def domains_of(session: AsyncSession, user_id: str) -> list[Membership]:
    """Return the domains of a user by key."""
    query = select(DomainRow.id, DomainRow.key, UserDomainRow.source, DomainRow.is_active).join_from(
        UserDomainRow, DomainRow, DomainRow.id == UserDomainRow.domain_id
    )
    rows = await session.execute(query.where(UserDomainRow.user_id == user_id).order_by(DomainRow.key))
    return [Membership(row.id, row.key, None, row.source, row.is_active) for row in rows]


async def find_team(session: AsyncSession, name: str) -> UUID | None:
    """Return the id of the team with this name."""
    return await session.scalar(select(TeamRow.id).where(TeamRow.name == name))


async def find_domain(session: AsyncSession, key: str) -> UUID | None:
    """Return the id of the domain with this key."""
    return await session.scalar(select(DomainRow.id).where(DomainRow.key == key))
