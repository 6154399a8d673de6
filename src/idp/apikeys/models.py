"""The table of machine credentials, and the answers that are remembered for repeated requests."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from idp import clock
from idp.db.base import Base, UUIDKey


class ApiKeyRow(UUIDKey, Base):
    """A key of a user, or a token of a service. The secret itself is nowhere."""

    __tablename__ = "api_keys"
    __table_args__ = (
        UniqueConstraint("digest"),
        CheckConstraint("(kind = 'user_key') = (user_id IS NOT NULL)", name="kind"),
        CheckConstraint("scheme IN ('hmac', 'sha256', 'bcrypt')", name="scheme"),
        Index("ix_api_keys_user_id_created_at", "user_id", "created_at"),
        Index("ix_api_keys_created_at", "created_at", postgresql_where=text("kind = 'service_token'")),
        # One service at a time has a name; the single writer looks at expiry too, which no index can.
        Index("ix_api_keys_name", "name", postgresql_where=text("kind = 'service_token' AND revoked_at IS NULL")),
        Index("ix_api_keys_former_digest", "former_digest", postgresql_where=text("former_digest IS NOT NULL")),
        Index("ix_api_keys_prefix", "prefix", postgresql_where=text("scheme = 'bcrypt'")),
    )

    kind: Mapped[str]  # "user_key" or "service_token"
    user_id: Mapped[str | None] = mapped_column(ForeignKey("idp.users.id", ondelete="CASCADE"))
    name: Mapped[str]
    prefix: Mapped[str]  # the first 12 characters, for telling keys apart
    digest: Mapped[str]
    scheme: Mapped[str]  # how the digest was made: "hmac" under the pepper, or as it was imported
    pepper: Mapped[str | None]  # which pepper, for counting what still depends on an earlier one
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text()))
    details: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB, default=dict)
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    created_by: Mapped[str]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    revoked_reason: Mapped[str | None]
    former_digest: Mapped[str | None]  # of the secret before the last rotation
    former_until: Mapped[datetime | None]  # how long that one may still be used


class IdempotentAnswerRow(Base):
    """The answer to a creation, kept ten minutes for whoever asks again with the same Idempotency-Key."""

    __tablename__ = "idempotent_answers"

    key: Mapped[str] = mapped_column(primary_key=True)  # digest of who asked and their Idempotency-Key
    request: Mapped[str]  # digest of what they asked for
    sealed_answer: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=clock.now, index=True)
