"""Events about teams, domains and their members."""

from typing import Any, Literal
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from idp.directory.models import DomainRow, TeamRow
from idp.events.catalogue import EventType
from idp.events.outbox import publish
from idp.events.shapes import (
    DomainChanged,
    DomainState,
    DomainUserChanged,
    TeamChanged,
    TeamMemberChanged,
    TeamState,
)

_CREATED = {"team": EventType.TEAM_CREATED, "domain": EventType.DOMAIN_CREATED}
_UPDATED = {"team": EventType.TEAM_UPDATED, "domain": EventType.DOMAIN_UPDATED}


def publish_group(session: AsyncSession, row: TeamRow | DomainRow, *changed: str) -> None:
    """Publish a team or domain: a new one, or one whose given columns changed and whose version was raised."""
    noun = "team" if isinstance(row, TeamRow) else "domain"
    type_ = (_UPDATED if changed else _CREATED)[noun]
    if isinstance(row, TeamRow):
        publish(session, type_, TeamChanged(team=_state(TeamState, row), changed=changed), **_about(noun, row))
    else:
        publish(session, type_, DomainChanged(domain=_state(DomainState, row), changed=changed), **_about(noun, row))


def _state(shape: Any, row: TeamRow | DomainRow) -> Any:
    return shape(**{name: getattr(row, name) for name in shape.__struct_fields__})


def _about(noun: str, row: TeamRow | DomainRow) -> dict[str, Any]:
    return {"subject": f"{noun}:{row.id}", "sequence": row.version}


def publish_member(
    session: AsyncSession, type_: EventType, team_id: UUID, user_id: str, role: Literal["member", "admin"] | None
) -> None:
    """Publish a change of a user's membership in a team; the role is None after the removal."""
    publish(session, type_, TeamMemberChanged(user_id=user_id, team_id=team_id, role=role), subject=user_id)


def publish_domain_user(session: AsyncSession, type_: EventType, domain_id: UUID, user_id: str) -> None:
    """Publish that a user was assigned to a domain, or removed from it."""
    publish(session, type_, DomainUserChanged(user_id=user_id, domain_id=domain_id), subject=user_id)
