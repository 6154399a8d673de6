"""The records of the format `idp-import/1`: one JSON object per line, told apart by `kind`."""

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from msgspec import Meta, Struct

from idp.plain_text import unseen_character

FORMAT = "idp-import/1"
_MAX_ID_BYTES = 512  # the constraint of `users.id`
Text = Annotated[str, Meta(max_length=2000)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Role = Annotated[str, Meta(min_length=1, max_length=64)]
Number = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}(?!\n)$")]


class Record(Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    """A record. Times without a zone are UTC.

    Attributes:
        ids: names of the members that are ids of users.
        times: names of the members that are times.
    """

    ids: ClassVar[tuple[str, ...]] = ()
    times: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for name in self.times:
            setattr(self, name, _utc(name, getattr(self, name)))
        for name in self.ids:
            _check_id(name, getattr(self, name))

    @property
    def primary_id(self) -> str | None:
        """The primary id; two records of a file with the same one are an error."""
        return None


class Header(Record, tag="header", kw_only=True):
    """The first line of a file."""

    times: ClassVar[tuple[str, ...]] = ("exported_at",)

    format: str
    source: Name
    exported_at: datetime | None = None


class TotpApp(Struct, forbid_unknown_fields=True):
    """An authenticator app (RFC 6238). `repr` hides the secret.

    Attributes:
        secret: base32.
        period: of a time step, in seconds.
    """

    secret: Annotated[str, Meta(min_length=1, max_length=256)]
    algorithm: Literal["SHA1", "SHA256", "SHA512"] = "SHA1"
    digits: Literal[6, 7, 8] = 6
    period: Literal[15, 30, 60] = 30

    def __repr__(self) -> str:
        return "TotpApp(hidden)"


class User(Record, tag="user", kw_only=True):
    """A user. `phone` is accepted for completeness and not stored."""

    ids: ClassVar[tuple[str, ...]] = ("id",)
    times: ClassVar[tuple[str, ...]] = ("blocked_until", "created_at", "updated_at", "deleted_at")

    id: str
    email: Text | None = None
    name: Text | None = None
    password_hash: Text | None = None
    email_verified: bool = False
    role: Role | None = None
    roles: list[Role] = []
    plan: Text | None = None
    avatar_url: Text | None = None
    phone: Text | None = None
    login_type: Annotated[str, Meta(min_length=1, max_length=32)] | None = None
    totp: TotpApp | None = None
    is_active: bool = True
    blocked_until: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    deleted_at: datetime | None = None

    @property
    def primary_id(self) -> str:
        return self.id


class Identity(Record, tag="identity", kw_only=True):
    """A user's identity at another issuer: `clerk`, or the issuer's URL exactly as it is configured here."""

    ids: ClassVar[tuple[str, ...]] = ("user_id",)

    user_id: str
    provider: Name
    subject: Annotated[str, Meta(min_length=1, max_length=512)]

    @property
    def primary_id(self) -> str:
        return f"{self.provider} {self.subject}"


class Team(Record, tag="team", kw_only=True):
    """A team."""

    id: UUID
    name: Name
    external_ref: Text | None = None
    is_active: bool = True

    @property
    def primary_id(self) -> str:
        return str(self.id)


class Domain(Record, tag="domain", kw_only=True):
    """A domain. Its parent may come later in the file."""

    id: UUID
    key: Name
    name: Name
    parent_domain_id: UUID | None = None
    is_active: bool = True

    @property
    def primary_id(self) -> str:
        return str(self.id)


class TeamMembership(Record, tag="team_membership", kw_only=True):
    """A user's membership in a team."""

    ids: ClassVar[tuple[str, ...]] = ("user_id",)

    id: UUID | None = None
    user_id: str
    team_id: UUID
    role: Literal["member", "admin"] | None = None

    @property
    def primary_id(self) -> str:
        return f"{self.team_id} {self.user_id}"


class UserDomain(Record, tag="user_domain", kw_only=True):
    """The assignment of a user to a domain."""

    ids: ClassVar[tuple[str, ...]] = ("user_id",)

    id: UUID | None = None
    user_id: str
    domain_id: UUID

    @property
    def primary_id(self) -> str:
        return f"{self.domain_id} {self.user_id}"


class ApiKey(Record, tag="api_key", kw_only=True):
    """A user's key, stored as bcrypt; it is found by the first 7 or 12 characters of the key."""

    ids: ClassVar[tuple[str, ...]] = ("user_id",)
    times: ClassVar[tuple[str, ...]] = ("last_used_at", "expires_at", "created_at")

    id: UUID
    user_id: str
    name: Name
    key_prefix: Text
    key_hash: Text
    scopes: list[str] = []
    last_used_at: datetime | None = None
    expires_at: datetime | None = None
    is_revoked: bool = False
    created_at: datetime | None = None

    @property
    def primary_id(self) -> str:
        return str(self.id)


class Token(Record, tag="token", kw_only=True):
    """A service token, stored as the SHA-256 of the whole token in hexadecimal."""

    times: ClassVar[tuple[str, ...]] = ("created_at", "expires_at", "revoked_at")

    token_id: UUID
    token_hash: Digest
    name: Name
    scopes: list[str] = []
    created_at: datetime | None = None
    expires_at: datetime | None = None
    revoked: bool = False
    revoked_at: datetime | None = None
    metadata: dict[str, Any] = {}

    @property
    def primary_id(self) -> str:
        return str(self.token_id)


class Audit(Record, tag="audit", kw_only=True):
    """An audit record of the other service."""

    times: ClassVar[tuple[str, ...]] = ("timestamp",)

    id: Text | Number | None = None
    user_id: Text | None = None
    action: Name
    details: Any = None
    ip_address: Text | None = None
    user_agent: Text | None = None
    timestamp: datetime | None = None

    @property
    def primary_id(self) -> str | None:
        return None if self.id is None else str(self.id)


class PendingToken(Record, tag="pending_token", kw_only=True):
    """A link that was mailed and not used, stored as the SHA-256 of its token in hexadecimal."""

    ids: ClassVar[tuple[str, ...]] = ("user_id",)
    times: ClassVar[tuple[str, ...]] = ("expires_at",)

    type: Literal["password_reset", "email_verification"]
    token_hash: Digest
    user_id: str
    expires_at: datetime

    @property
    def primary_id(self) -> str:
        return self.token_hash


AnyRecord = (
    Header | User | Identity | Team | Domain | TeamMembership | UserDomain | ApiKey | Token | Audit | PendingToken
)
KINDS: dict[str, type[Record]] = {
    "user": User,
    "identity": Identity,
    "team": Team,
    "domain": Domain,
    "team_membership": TeamMembership,
    "user_domain": UserDomain,
    "api_key": ApiKey,
    "token": Token,
    "audit": Audit,
    "pending_token": PendingToken,
}


def _utc(name: str, value: datetime | None) -> datetime | None:
    if value is None:
        return None
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{name} is out of range") from None


def _check_id(name: str, value: str) -> None:
    if not value or value != value.strip():
        raise ValueError(f"{name} is empty, or begins or ends with a space")
    if found := unseen_character(value):
        raise ValueError(f"{name} contains the character {found}")
    if len(value.encode()) > _MAX_ID_BYTES:
        raise ValueError(f"{name} has more than {_MAX_ID_BYTES} bytes")
