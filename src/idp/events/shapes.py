"""The data of events: one struct per `dataschema`.

No secrets, hashes, tokens or IP addresses. Members are only added; a breaking change is a new struct, a new
`dataschema` and a new type.
"""

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from msgspec import Struct

# How a user came to be, or who changed them: the user, an administrator, or the service itself.
UserOrigin = Literal["register", "oidc", "clerk", "dev_header", "import", "self", "admin", "system"]


class EventData(Struct, frozen=True, kw_only=True):
    """The base of all event data.

    Attributes:
        dataschema: the CloudEvents attribute.
    """

    dataschema: ClassVar[str]


class UserState(Struct, frozen=True, kw_only=True):
    """A user after the change.

    Attributes:
        role: `admin` for administrators, else `user`.
        roles: all roles.
        version: increases by one with each change; equal to the event's `sequence`.
    """

    id: str
    email: str | None
    email_verified: bool
    name: str | None
    avatar_url: str | None
    role: str
    roles: tuple[str, ...]
    plan: str
    is_active: bool
    created_at: datetime
    updated_at: datetime
    version: int


class UserChanged(EventData, frozen=True, kw_only=True):
    """A user was created or changed.

    Attributes:
        changed: names of the changed members of `user`, `password` or `second_factors`; empty for a new user.
        deleted_at: always null; `idp.user.deleted` has a time.
    """

    dataschema: ClassVar[str] = "urn:idp:event:user:1"

    user: UserState
    origin: UserOrigin
    changed: tuple[str, ...] = ()
    deleted_at: None = None


class UserReference(Struct, frozen=True, kw_only=True):
    """A deleted user."""

    id: str


class UserDeleted(EventData, frozen=True, kw_only=True):
    """A user was deleted with everything that belonged to them: identities, memberships, keys and sessions."""

    dataschema: ClassVar[str] = "urn:idp:event:user-deleted:1"

    user: UserReference
    origin: UserOrigin
    deleted_at: datetime


class IdentityChanged(EventData, frozen=True, kw_only=True):
    """An identity at another issuer was linked to a user, or unlinked.

    Attributes:
        provider: the issuer.
        subject: the user's id at the issuer.
    """

    dataschema: ClassVar[str] = "urn:idp:event:identity:1"

    user_id: str
    provider: str
    subject: str


class TeamState(Struct, frozen=True, kw_only=True):
    """A team after the change; `version` as for users."""

    id: UUID
    name: str
    external_ref: str | None
    is_active: bool
    version: int


class TeamChanged(EventData, frozen=True, kw_only=True):
    """A team was created or changed; it is deactivated, never deleted."""

    dataschema: ClassVar[str] = "urn:idp:event:team:1"

    team: TeamState
    changed: tuple[str, ...] = ()


class TeamMemberChanged(EventData, frozen=True, kw_only=True):
    """A user was added to a team or removed from it, or has another role in it.

    Attributes:
        role: `member` or `admin`; null after the removal.
    """

    dataschema: ClassVar[str] = "urn:idp:event:team-member:1"

    user_id: str
    team_id: UUID
    role: Literal["member", "admin"] | None


class DomainState(Struct, frozen=True, kw_only=True):
    """A domain after the change; `version` as for users."""

    id: UUID
    key: str
    name: str
    parent_domain_id: UUID | None
    is_active: bool
    version: int


class DomainChanged(EventData, frozen=True, kw_only=True):
    """A domain was created or changed; it is deactivated, never deleted."""

    dataschema: ClassVar[str] = "urn:idp:event:domain:1"

    domain: DomainState
    changed: tuple[str, ...] = ()


class DomainUserChanged(EventData, frozen=True, kw_only=True):
    """A user was assigned to a domain, or the assignment was removed."""

    dataschema: ClassVar[str] = "urn:idp:event:domain-user:1"

    user_id: str
    domain_id: UUID


class KeyState(Struct, frozen=True, kw_only=True):
    """An API key or a service token after the change, without its secret; `version` as for users.

    Attributes:
        id: public id.
        prefix: the first 12 characters, for display.
        revoked_at: null if it is not revoked.
    """

    id: str
    name: str
    prefix: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    version: int


class ApiKeyChanged(EventData, frozen=True, kw_only=True):
    """A user's API key was created, renamed, rotated or revoked."""

    dataschema: ClassVar[str] = "urn:idp:event:api-key:1"

    user_id: str
    api_key: KeyState


class ServiceTokenChanged(EventData, frozen=True, kw_only=True):
    """A service token was created, extended or revoked."""

    dataschema: ClassVar[str] = "urn:idp:event:service-token:1"

    service_token: KeyState


class SessionsRevoked(EventData, frozen=True, kw_only=True):
    """Sessions of a user were ended before their time, also by the user.

    Attributes:
        sessions: their ids, as the claim `sid` of access tokens has them.
        reason: such as `logged_out`.
    """

    dataschema: ClassVar[str] = "urn:idp:event:session:1"

    user_id: str
    sessions: tuple[str, ...]
    reason: str
