"""Adds new users to the default teams and domains (S3-25)."""

from collections.abc import Sequence

from advanced_alchemy.filters import CollectionFilter
from sqlalchemy.ext.asyncio import AsyncSession

from idp.directory.domains import DomainRepository
from idp.directory.group_events import publish_domain_user, publish_member
from idp.directory.models import TeamMembershipRow, UserDomainRow
from idp.directory.teams import TeamRepository
from idp.events.catalogue import EventType
from idp.principal import sources


async def join_defaults(session: AsyncSession, user_id: str, *, teams: Sequence[str], domains: Sequence[str]) -> None:
    """Add a user to the teams with these names and the domains with these keys that exist and are active (S3-25)."""
    for team in await TeamRepository(session).get_many(CollectionFilter("name", teams), is_active=True):
        session.add(TeamMembershipRow(user_id=user_id, team_id=team.id, source=sources.DEFAULT))
        publish_member(session, EventType.TEAM_MEMBER_ADDED, team.id, user_id, "member")
    for domain in await DomainRepository(session).get_many(CollectionFilter("key", domains), is_active=True):
        session.add(UserDomainRow(user_id=user_id, domain_id=domain.id, source=sources.DEFAULT))
        publish_domain_user(session, EventType.DOMAIN_USER_ADDED, domain.id, user_id)
    await session.flush()
