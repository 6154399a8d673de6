"""Tables of machine credentials and of answers stored for `Idempotency-Key`."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from idp import clock
from idp.db.base import Base, UUIDKey


class ApiKeyRow(UUIDKey, Base):
    """A key of a user, or a token of a service. The secret itself is not stored."""

    __tablename__ = "api_keys"
    __table_args__ = (
        UniqueConstraint("digest"),
        CheckConstraint("(kind = 'user_key') = (user_id IS NOT NULL)", name="kind"),
        CheckConstraint("scheme IN ('hmac', 'sha256', 'bcrypt')", name="scheme"),
        Index("ix_api_keys_user_id_created_at", "user_id", "created_at"),
        Index("ix_api_keys_created_at", "created_at", postgresql_where=text("kind = 'service_token'")),
        # Names of live tokens are unique. The single writer checks it, since an index cannot depend on expiry.
        Index("ix_api_keys_name", "name", postgresql_where=text("kind = 'service_token' AND revoked_at IS NULL")),
        Index("ix_api_keys_former_digest", "former_digest", postgresql_where=text("former_digest IS NOT NULL")),
        Index("ix_api_keys_prefix", "prefix", postgresql_where=text("scheme = 'bcrypt'")),
    )

    kind: Mapped[str]  # "user_key" or "service_token"
    user_id: Mapped[str | None] = mapped_column(ForeignKey("idp.users.id", ondelete="CASCADE"))
    name: Mapped[str]
    prefix: Mapped[str]  # the first 12 characters, for display
    digest: Mapped[str]
    scheme: Mapped[str]  # of the digest: "hmac" with the pepper, or as it was imported
    pepper: Mapped[str | None]  # id of the pepper, for counting keys that depend on an earlier one
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text()))
    details: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB, default=dict)
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    created_by: Mapped[str]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    revoked_reason: Mapped[str | None]
    former_digest: Mapped[str | None]  # of the secret before the last rotation
    former_until: Mapped[datetime | None]  # the former secret is accepted until then
    version: Mapped[int] = mapped_column(default=1, server_default=text("1"))  # increases with each published change


class IdempotentAnswerRow(Base):
    """The answer to a creation, stored for ten minutes for requests with the same Idempotency-Key."""

    __tablename__ = "idempotent_answers"

    key: Mapped[str] = mapped_column(primary_key=True)  # digest of the actor, the answer's type and the Idempotency-Key
    request: Mapped[str]  # digest of the body
    sealed_answer: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=clock.now, index=True)
