"""Request and response bodies of API keys and service tokens."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta, Struct, field

from idp.apikeys.models import ApiKeyRow
from idp.apikeys.scopes import Scopes
from idp.plain_text import LINE, REMARK

Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=LINE, examples=["laptop"])]
Days = Annotated[int, Meta(ge=1, le=3650, examples=[30])]
Reason = Annotated[str, Meta(max_length=500, pattern=REMARK)]
_WEEK = 7 * 24 * 3600


def key_id(row_id: UUID) -> str:
    """Return the public id of a user's key (S0-18)."""
    return f"key_{row_id.hex}"


class NewKey(Struct, frozen=True):
    """A new key (S0-16). Without `expires_in_days` it does not expire."""

    name: Name
    scopes: Scopes
    expires_in_days: Days | None = None


class KeyChange(Struct, frozen=True, forbid_unknown_fields=True):
    """A change of a key."""

    name: Name


class Rotation(Struct, frozen=True, forbid_unknown_fields=True):
    """Rotation options: the old secret is revoked immediately, or after `overlap_seconds`."""

    overlap_seconds: Annotated[int, Meta(ge=0, le=_WEEK, description="Seconds, at most a week.")] = 0


class KeySecret(Struct, frozen=True):
    """A key with its secret, which is returned only once (S0-17, S0-21)."""

    key_id: str
    secret: str
    prefix: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None

    def __repr__(self) -> str:
        return "KeySecret(secret hidden)"

    @classmethod
    def of(cls, row: ApiKeyRow, secret: str) -> "KeySecret":
        return cls(
            key_id=key_id(row.id),
            secret=secret,
            prefix=row.prefix,
            name=row.name,
            scopes=tuple(row.scopes),
            created_at=row.created_at,
            expires_at=row.expires_at,
        )


class KeyOut(Struct, frozen=True):
    """A key without its secret (S0-23)."""

    key_id: str
    name: str
    prefix: str
    scopes: tuple[str, ...]
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    is_revoked: bool
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: ApiKeyRow) -> "KeyOut":
        return cls(
            key_id=key_id(row.id),
            name=row.name,
            prefix=row.prefix,
            scopes=tuple(row.scopes),
            created_at=row.created_at,
            last_used_at=row.last_used_at,
            expires_at=row.expires_at,
            is_revoked=row.revoked_at is not None,
            revoked_at=row.revoked_at,
        )


class OwnedKey(Struct, frozen=True):
    """A key and its user."""

    user_id: str
    key: KeyOut


class NewToken(Struct, frozen=True):
    """A new service token (S2-20). Without `ttl_days` it does not expire."""

    name: Name
    scopes: Scopes
    ttl_days: Days | None = None
    metadata: dict[str, Any] | None = field(default_factory=dict)


class TokenSecret(Struct, frozen=True):
    """A service token with its secret, which is returned only once (S2-36)."""

    token: str
    token_id: UUID
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None

    def __repr__(self) -> str:
        return "TokenSecret(token hidden)"

    @classmethod
    def of(cls, row: ApiKeyRow, secret: str) -> "TokenSecret":
        return cls(
            token=secret,
            token_id=row.id,
            name=row.name,
            scopes=tuple(row.scopes),
            created_at=row.created_at,
            expires_at=row.expires_at,
        )


class TokenOut(Struct, frozen=True):
    """A service token without its secret (S2-22)."""

    token_id: UUID
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked: bool
    revoked_at: datetime | None
    metadata: dict[str, Any]
    prefix: str
    last_used_at: datetime | None

    @classmethod
    def of(cls, row: ApiKeyRow) -> "TokenOut":
        return cls(
            token_id=row.id,
            name=row.name,
            scopes=tuple(row.scopes),
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked=row.revoked_at is not None,
            revoked_at=row.revoked_at,
            metadata=row.details,
            prefix=row.prefix,
            last_used_at=row.last_used_at,
        )


class TokenList(Struct, frozen=True):
    """Service tokens, newest first (S2-21)."""

    tokens: list[TokenOut]
    total: int


class Revocation(Struct, frozen=True):
    """The reason for revoking a token (S2-23)."""

    reason: Reason | None = None


class Revoked(Struct, frozen=True):
    """The time at which a token was revoked."""

    success: bool
    token_id: UUID
    revoked_at: datetime


class Extension(Struct, frozen=True):
    """The number of days to extend a token by (S2-24)."""

    extend_days: Days


class Extended(Struct, frozen=True):
    """The new expiry of a token."""

    success: bool
    token_id: UUID
    expires_at: datetime
