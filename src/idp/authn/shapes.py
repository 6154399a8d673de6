"""Request and response bodies of validation, introspection and "me"."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from idp.principal.model import AuthMethod, Credential, Domain, Principal, Team, User

Kind = Literal["user", "api_key", "service_token"]
VerdictCode = Literal[
    "token_not_found",
    "token_revoked",
    "token_expired",
    "insufficient_scopes",
    "token_invalid",
    "user_inactive",
]
Scope = Annotated[str, Meta(max_length=256)]


class ValidateIn(Struct, frozen=True):
    """A credential to validate. Unknown members are ignored, because old clients send some (C-16)."""

    token: Annotated[str, Meta(max_length=100_000, examples=["eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9…"])]
    required_scopes: Annotated[list[Scope], Meta(max_length=1000)] = field(default_factory=list)
    service_name: Annotated[str, Meta(max_length=1000)] | None = None
    action_name: Annotated[str, Meta(max_length=1000)] | None = None

    def __repr__(self) -> str:
        return "ValidateIn(token hidden)"


class UserOut(Struct, frozen=True):
    """A user in the responses of login, registration and validation."""

    id: str
    email: str | None
    email_verified: bool
    name: str | None
    avatar_url: str | None
    created_at: datetime
    teams: tuple[Team, ...]
    domains: tuple[Domain, ...]
    roles: tuple[str, ...]

    @classmethod
    def of(cls, user: User) -> "UserOut":
        return cls(**{name: getattr(user, name) for name in cls.__struct_fields__})


class Act(Struct, frozen=True):
    """The administrator who acts as the user for support (RFC 8693 section 4.1)."""

    sub: str

    @classmethod
    def of(cls, credential: Credential) -> "Act | UnsetType":
        """Return who acts in a session of support; UNSET for all other credentials."""
        return cls(credential.impersonator or "") if credential.is_for_support else UNSET


class ValidateOut(Struct, frozen=True):
    """The verdict; every member is always present (C-01)."""

    valid: bool
    kind: Kind | None
    scopes: tuple[str, ...]
    token_id: str | None
    name: str | None
    client_id: str | None
    user: UserOut | None
    expires_at: datetime | None
    error: VerdictCode | None
    detail: str | None


class ValidateKeyIn(Struct, frozen=True):
    """A key to validate (S0-28)."""

    key: Annotated[str, Meta(max_length=100_000, examples=["sk_live_…"])]

    def __repr__(self) -> str:
        return "ValidateKeyIn(key hidden)"


KeyVerdictCode = Literal["key_not_found", "key_revoked", "key_expired", "key_invalid", "user_deleted"]


class ValidateKeyOut(Struct, frozen=True):
    """The verdict for the Ingestion API (S0-29 to S0-31)."""

    valid: bool
    user_id: str | None
    scopes: tuple[str, ...]
    rate_limit_tier: str | None
    key_id: str | None
    expires_at: datetime | None
    error: KeyVerdictCode | None


class IntrospectOut(Struct, frozen=True, omit_defaults=True):
    """An active credential (RFC 7662 section 2.2) with the principal as in validate; else only `active`.

    `client_id`, `aud` and `iat` are those of an access token; a client that asks gets no `kind`, `name` and `user`.
    """

    active: bool
    scope: str | None = None
    token_type: str | None = None
    exp: int | None = None
    sub: str | None = None
    iss: str | None = None
    jti: str | None = None
    username: str | None = None
    kind: Kind | None = None
    name: str | None = None
    user: UserOut | None = None
    client_id: str | None = None
    aud: str | tuple[str, ...] | None = None
    iat: int | None = None
    act: Act | UnsetType = UNSET


class Me(Struct, frozen=True):
    """The caller's profile, with roles, teams and domains (C-18); `act` only in a session of support."""

    id: str
    user_id: str
    email: str | None
    name: str | None
    avatar_url: str | None
    role: str
    roles: tuple[str, ...]
    is_active: bool
    email_verified: bool
    login_type: str
    plan: str
    teams: tuple[Team, ...]
    domains: tuple[Domain, ...]
    created_at: datetime
    updated_at: datetime
    act: Act | UnsetType = UNSET


class MeV1(Me, frozen=True, kw_only=True):
    """The same with S1's spelling: `createdAt`, `updatedAt` and an upper-case `role` (S1-17)."""

    createdAt: datetime  # noqa: N815
    updatedAt: datetime  # noqa: N815


class MeApi(Me, frozen=True):
    """The same with S4's message (S4-16)."""

    message: str = "Authentication successful!"


def me_of(principal: Principal) -> dict[str, object]:
    """Return the members that all variants of "me" share, of a user."""
    user = principal.user
    assert user is not None
    own = {name: getattr(user, name) for name in Me.__struct_fields__ if name not in {"user_id", "act"}}
    return {**own, "user_id": user.id, "act": Act.of(principal.credential)}


def kind_of(principal: Principal) -> Kind:
    """Return the credential's kind, which the caller cannot choose (C-01)."""
    if principal.user is None:
        return "service_token"
    return "api_key" if principal.credential.method == AuthMethod.API_KEY else "user"
