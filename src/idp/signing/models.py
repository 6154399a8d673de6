"""The table of signing keys."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from idp import clock
from idp.db.base import Base


class SigningKeyRow(Base):
    """A signing key: published at once, signing from `signs_from`, removed after `expires_at` (SEC-31)."""

    __tablename__ = "signing_keys"
    __table_args__ = (Index("ix_signing_keys_algorithm_signs_from", "algorithm", "signs_from"),)

    kid: Mapped[str] = mapped_column(primary_key=True)
    algorithm: Mapped[str]
    public_jwk: Mapped[dict[str, Any]] = mapped_column(JSONB)
    sealed_private_jwk: Mapped[str]  # JWE, A256KW and A256GCM, under a key derived from the root secret (SEC-32)
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    signs_from: Mapped[datetime]
    expires_at: Mapped[datetime | None]
