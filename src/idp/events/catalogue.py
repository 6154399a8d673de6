"""The catalogue: every type of event, and the struct of its data.

`docs/events/` has a JSON Schema for each type, generated from here (`idp events schemas`).
"""

from enum import StrEnum

from idp.events.shapes import (
    ApiKeyChanged,
    DomainChanged,
    DomainUserChanged,
    EventData,
    IdentityChanged,
    ServiceTokenChanged,
    SessionsRevoked,
    TeamChanged,
    TeamMemberChanged,
    UserChanged,
    UserDeleted,
)


class EventType(StrEnum):
    """The CloudEvents `type` of an event. The meaning of a type never changes; a breaking change is `….v2`."""

    USER_CREATED = "idp.user.created"
    USER_UPDATED = "idp.user.updated"
    USER_DELETED = "idp.user.deleted"
    USER_EMAIL_VERIFIED = "idp.user.email_verified"
    USER_PASSWORD_RESET = "idp.user.password_reset"  # noqa: S105 - the name of an event
    IDENTITY_LINKED = "idp.identity.linked"
    IDENTITY_UNLINKED = "idp.identity.unlinked"
    TEAM_CREATED = "idp.team.created"
    TEAM_UPDATED = "idp.team.updated"
    TEAM_MEMBER_ADDED = "idp.team.member_added"
    TEAM_MEMBER_CHANGED = "idp.team.member_changed"
    TEAM_MEMBER_REMOVED = "idp.team.member_removed"
    DOMAIN_CREATED = "idp.domain.created"
    DOMAIN_UPDATED = "idp.domain.updated"
    DOMAIN_USER_ADDED = "idp.domain.user_added"
    DOMAIN_USER_REMOVED = "idp.domain.user_removed"
    API_KEY_CREATED = "idp.api_key.created"
    API_KEY_UPDATED = "idp.api_key.updated"
    API_KEY_ROTATED = "idp.api_key.rotated"
    API_KEY_REVOKED = "idp.api_key.revoked"
    SERVICE_TOKEN_CREATED = "idp.service_token.created"  # noqa: S105
    SERVICE_TOKEN_UPDATED = "idp.service_token.updated"  # noqa: S105
    SERVICE_TOKEN_REVOKED = "idp.service_token.revoked"  # noqa: S105
    SESSION_REVOKED = "idp.session.revoked"


DATA: dict[EventType, type[EventData]] = {
    EventType.USER_CREATED: UserChanged,
    EventType.USER_UPDATED: UserChanged,
    EventType.USER_DELETED: UserDeleted,
    EventType.USER_EMAIL_VERIFIED: UserChanged,
    EventType.USER_PASSWORD_RESET: UserChanged,
    EventType.IDENTITY_LINKED: IdentityChanged,
    EventType.IDENTITY_UNLINKED: IdentityChanged,
    EventType.TEAM_CREATED: TeamChanged,
    EventType.TEAM_UPDATED: TeamChanged,
    EventType.TEAM_MEMBER_ADDED: TeamMemberChanged,
    EventType.TEAM_MEMBER_CHANGED: TeamMemberChanged,
    EventType.TEAM_MEMBER_REMOVED: TeamMemberChanged,
    EventType.DOMAIN_CREATED: DomainChanged,
    EventType.DOMAIN_UPDATED: DomainChanged,
    EventType.DOMAIN_USER_ADDED: DomainUserChanged,
    EventType.DOMAIN_USER_REMOVED: DomainUserChanged,
    EventType.API_KEY_CREATED: ApiKeyChanged,
    EventType.API_KEY_UPDATED: ApiKeyChanged,
    EventType.API_KEY_ROTATED: ApiKeyChanged,
    EventType.API_KEY_REVOKED: ApiKeyChanged,
    EventType.SERVICE_TOKEN_CREATED: ServiceTokenChanged,
    EventType.SERVICE_TOKEN_UPDATED: ServiceTokenChanged,
    EventType.SERVICE_TOKEN_REVOKED: ServiceTokenChanged,
    EventType.SESSION_REVOKED: SessionsRevoked,
}
