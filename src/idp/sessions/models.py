"""Tables of sessions and refresh tokens."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from idp import clock
from idp.db.base import Base, UUIDKey


class SessionRow(UUIDKey, Base):
    """A session. It expires after its idle timeout, at the latest at `expires_at`.

    An app that a user signs in to with OpenID Connect gets a session of its own, whose `parent_id` is the browser's; it
    ends with that one.
    """

    __tablename__ = "user_sessions"
    __table_args__ = (
        UniqueConstraint("cookie_digest"),
        Index("ix_user_sessions_user_id_created_at", "user_id", "created_at"),
        Index("ix_user_sessions_user_id_live", "user_id", postgresql_where=text("ended_at IS NULL")),
        Index("ix_user_sessions_expires_at", "expires_at"),
        Index("ix_user_sessions_parent_id", "parent_id", postgresql_where=text("parent_id IS NOT NULL")),
        Index("ix_user_sessions_client_id", "client_id", postgresql_where=text("client_id IS NOT NULL")),
        CheckConstraint("(ended_at IS NULL) = (ended_reason IS NULL)", name="ended"),
    )

    user_id: Mapped[str] = mapped_column(ForeignKey("idp.users.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    last_seen_at: Mapped[datetime] = mapped_column(default=clock.now)
    idle_seconds: Mapped[int]
    idle_expires_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    ended_reason: Mapped[str | None]
    cookie_digest: Mapped[str | None]
    device_info: Mapped[Any] = mapped_column(JSONB(none_as_null=True), nullable=True)
    user_agent: Mapped[str | None]
    ip_address: Mapped[str | None]
    # Authentication methods and time (RFC 8176, OpenID Connect Core section 2).
    amr: Mapped[list[str]] = mapped_column(ARRAY(Text()))
    acr: Mapped[str]
    auth_time: Mapped[datetime]
    # The administrator who acts as the user in this session, and why (RFC 8693 section 4.1); otherwise null.
    actor_id: Mapped[str | None]
    actor_reason: Mapped[str | None]
    # Of an app's session: the browser's session, the client, the `sid` of its ID tokens, and what the user granted.
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("idp.user_sessions.id", ondelete="CASCADE"))
    client_id: Mapped[str | None]
    client_sid: Mapped[UUID | None]
    scopes: Mapped[list[str] | None] = mapped_column(ARRAY(Text()))
    resources: Mapped[list[str] | None] = mapped_column(ARRAY(Text()))
    claims: Mapped[list[str] | None] = mapped_column(ARRAY(Text()))


class RefreshTokenRow(UUIDKey, Base):
    """A refresh token in a session's chain; only its digest is stored. The last one is not rotated yet."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (UniqueConstraint("digest"), UniqueConstraint("session_id", "generation"))

    session_id: Mapped[UUID] = mapped_column(ForeignKey(SessionRow.id, ondelete="CASCADE"))
    generation: Mapped[int]
    digest: Mapped[str]
    client_id: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    expires_at: Mapped[datetime]
    rotated_at: Mapped[datetime | None]
    # When it was returned again to a late retry of its predecessor; from then on two clients may have it.
    repeated_at: Mapped[datetime | None]


class PendingSignInRow(UUIDKey, Base):
    """A sign-in whose first factor was right, and that waits for the second. Its token's digest is stored."""

    __tablename__ = "pending_sign_ins"
    __table_args__ = (UniqueConstraint("digest"),)

    user_id: Mapped[str] = mapped_column(ForeignKey("idp.users.id", ondelete="CASCADE"), index=True)
    digest: Mapped[str]
    password_version: Mapped[int]
    amr: Mapped[list[str]] = mapped_column(ARRAY(Text()))
    remember: Mapped[bool]
    wrong_codes: Mapped[int] = mapped_column(default=0)
    details: Mapped[Any] = mapped_column(JSONB())  # of the request: device, response mode, token format
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    expires_at: Mapped[datetime] = mapped_column(index=True)
