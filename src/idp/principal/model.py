"""The principal: the authenticated caller with roles, teams and domains.

Only `authn/resolve.py` and the tests' factory build it.
"""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from idp.principal.permissions import ADMIN

SINGLE_FACTOR, TWO_FACTORS = "1", "2"  # authentication context classes of our sign-ins (`acr`)
MULTI_FACTOR = "mfa"  # RFC 8176


class AuthMethod(StrEnum):
    """How the caller authenticated; a route's `accepts` lists these."""

    LOCAL_JWT = "local_jwt"
    SESSION_COOKIE = "session_cookie"
    API_KEY = "api_key"
    SERVICE_TOKEN = "service_token"  # noqa: S105
    OAUTH_TOKEN = "oauth_token"  # noqa: S105  an access token that a user granted to an app
    UPSTREAM_OIDC = "upstream_oidc"
    CLERK_JWT = "clerk_jwt"
    CLIENT = "client"
    ADMIN_TOKEN = "admin_token"  # noqa: S105
    DEV_HEADERS = "dev_headers"
    PLUGIN = "plugin"


class Team(Struct, frozen=True):
    """A team of the user; `role` is "admin", "member" or null (= member)."""

    id: UUID
    name: str
    external_ref: str | None
    is_active: bool
    role: str | None


class Domain(Struct, frozen=True):
    """A domain of the user."""

    id: UUID
    key: str
    name: str
    parent_domain_id: UUID | None
    is_active: bool


class User(Struct, frozen=True):
    """A user with roles and active teams and domains."""

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
        """The highest role, for clients that support only one."""
        return ADMIN if ADMIN in self.roles else "user"

    def administers(self, team_id: UUID) -> bool:
        """Whether the user is an admin of this team."""
        return any(team.id == team_id and team.role == "admin" for team in self.teams)


class Registration(Struct, frozen=True):
    """What an OAuth client is registered for (RFC 7591).

    Attributes:
        auth_method: at the token endpoint.
        grant_types: that it may use.
        resources: that it may request tokens for (RFC 8707).
        serves: resources whose tokens it may introspect.
        id_token_alg: signs its ID tokens.
        jwks: its keys, JSON, with which it signs assertions (RFC 7523); or
        jwks_uri: where they are.
    """

    auth_method: str
    grant_types: tuple[str, ...]
    resources: tuple[str, ...]
    serves: tuple[str, ...]
    id_token_alg: str
    jwks: str | None = None
    jwks_uri: str | None = None


class Credential(Struct, frozen=True):
    """The verified credential, without its secret.

    Attributes:
        method: its kind.
        id: the token's id (`jti`, or a key's id), None if it has none.
        name: a service credential's name.
        scopes: granted scopes (RFC 6749 section 3.3); users' rights come from roles.
        expires_at: expiry, None for never.
        shared_secret: signed with a secret that others know, so it never authorizes management (C-06b).
        session_id: its session, with which it ends; None without one.
        auth_time: time of the sign-in (OpenID Connect Core section 2); None if unknown.
        amr: authentication methods of the sign-in (RFC 8176).
        acr: authentication context class of the sign-in.
        identity: issuer and subject of another issuer's token, with whose link to the user it ends; None for others.
        impersonator: who acts as the user: the user id of our administrator, or the id at the issuer of a foreign
            token; None for the user. Audit records name it.
        client_id: the app that the user granted the token to (RFC 9068); None for our own tokens.
        audience: the resources that the token is for, if idp is not among them (RFC 8707); empty otherwise.
        registration: of an OAuth client that authenticated itself; None for its tokens and all others.
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
    identity: tuple[str, str] | None = None
    impersonator: str | None = None
    client_id: str | None = None
    audience: tuple[str, ...] = ()
    registration: Registration | None = None

    @property
    def is_for_support(self) -> bool:
        """Whether an administrator acts as the user in a session of this service, which may only read here."""
        return self.impersonator is not None and self.session_id is not None


class Principal(Struct, frozen=True):
    """The authenticated caller. `user` is None for a service."""

    user: User | None
    credential: Credential

    @property
    def user_id(self) -> str:
        """The user's id; only for principals with a user."""
        assert self.user is not None
        return self.user.id

    @property
    def actor(self) -> str:
        """The caller's name in audit records: `user:<id>` or `service:<id>`."""
        return f"user:{self.user.id}" if self.user else f"service:{self.credential.id}"
