"""Tables of logins at other providers: on their way, and the sessions that they began."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from idp import clock
from idp.db.base import Base, UUIDKey


class FederatedLoginRow(UUIDKey, Base):
    """A login that was sent to a provider. Its `state` is a random secret, of which only the digest is stored."""

    __tablename__ = "federated_logins"
    __table_args__ = (
        UniqueConstraint("state_digest"),
        Index("ix_federated_logins_expires_at", "expires_at"),
        Index(
            "ix_federated_logins_code_digest",
            "code_digest",
            unique=True,
            postgresql_where=text("code_digest IS NOT NULL"),
        ),
    )

    provider: Mapped[str]  # its name in the settings
    state_digest: Mapped[str]
    browser_digest: Mapped[str]  # of the cookie of the browser that began it
    journey: Mapped[Any] = mapped_column(JSONB)  # where it goes on
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    expires_at: Mapped[datetime]
    consumed_at: Mapped[datetime | None]
    # Of a consumed one: the identity that is not linked yet, and the code that a single-page app exchanges.
    outcome: Mapped[Any] = mapped_column(JSONB(none_as_null=True), nullable=True)
    code_digest: Mapped[str | None]
    finished_at: Mapped[datetime | None]


class FederatedSessionRow(Base):
    """The login at a provider that began a session, for the logout at either side."""

    __tablename__ = "federated_sessions"
    __table_args__ = (
        Index("ix_federated_sessions_provider_subject", "provider", "subject"),
        Index("ix_federated_sessions_provider_sid", "provider", "sid"),
    )

    session_id: Mapped[UUID] = mapped_column(ForeignKey("idp.user_sessions.id", ondelete="CASCADE"), primary_key=True)
    provider: Mapped[str]
    subject: Mapped[str]
    sid: Mapped[str | None]
    sealed_id_token: Mapped[str | None]  # hint for the logout there
