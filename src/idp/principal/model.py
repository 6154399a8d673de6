"""Principal: who is calling, and what are they in this organisation.

Built only in `authn/resolve.py` and by the tests' factory.
"""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from idp.principal.permissions import ADMIN


class AuthMethod(StrEnum):
    """How the caller proved who they are; a route's `accepts` speaks in these."""

    LOCAL_JWT = "local_jwt"
    SESSION_COOKIE = "session_cookie"
    API_KEY = "api_key"
    SERVICE_TOKEN = "service_token"  # noqa: S105
    UPSTREAM_OIDC = "upstream_oidc"
    CLERK_JWT = "clerk_jwt"
    ADMIN_TOKEN = "admin_token"  # noqa: S105
    DEV_HEADERS = "dev_headers"
    PLUGIN = "plugin"


class Team(Struct, frozen=True):
    """A team the user is in; `role` is "admin", "member" or null (= member)."""

    id: UUID
    name: str
    external_ref: str | None
    is_active: bool
    role: str | None


class Domain(Struct, frozen=True):
    """A domain the user works in."""

    id: UUID
    key: str
    name: str
    parent_domain_id: UUID | None
    is_active: bool


class User(Struct, frozen=True):
    """The person behind the call, with what they are in this organisation. Inactive teams and domains are left out."""

    id: str
    email: str | None
    email_verified: bool
    name: str | None
    avatar_url: str | None
    login_type: str
    plan: str
    is_active: bool
    roles: tuple[str, ...]
    teams: tuple[Team, ...]
    domains: tuple[Domain, ...]
    created_at: datetime
    updated_at: datetime

    @property
    def role(self) -> str:
        """The strongest role, for clients that know one only."""
        return ADMIN if ADMIN in self.roles else "user"

    def administers(self, team_id: UUID) -> bool:
        """Whether the user is an admin of this team."""
        return any(team.id == team_id and team.role == "admin" for team in self.teams)


class Credential(Struct, frozen=True):
    """What the caller presented, without its secret.

    Attributes:
        method: how it was proven.
        id: the token's own id (`jti`, or a key's id), None where it has none.
        name: a service credential's name.
        scopes: what the credential may do (RFC 6749 section 3.3); a user's rights come from roles instead.
        expires_at: when it ends, None for never.
        shared_secret: signed with a secret that others hold too, so it may never manage anything (C-06b).
        session_id: the session it belongs to, with which it ends; None where it belongs to none.
        auth_time: when the person proved who they are (OpenID Connect Core section 2); None where nobody knows.
        amr: how they did (RFC 8176).
        acr: how sure that makes us.
    """

    method: AuthMethod
    id: str | None = None
    name: str | None = None
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None
    shared_secret: bool = False
    session_id: str | None = None
    auth_time: datetime | None = None
    amr: tuple[str, ...] = ()
    acr: str | None = None


class Principal(Struct, frozen=True):
    """Who is calling. `user` is None for a service."""

    user: User | None
    credential: Credential

    @property
    def user_id(self) -> str:
        """The person's id, where it is certain that a person calls."""
        assert self.user is not None
        return self.user.id

    @property
    def actor(self) -> str:
        """The caller's name in audit records: `user:<id>` or `service:<id>`."""
        return f"user:{self.user.id}" if self.user else f"service:{self.credential.id}"
