"""Tables of the OpenID provider: clients, and the state of authorizations."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from idp import clock
from idp.db.base import Base, Timestamps, UUIDKey


class ClientRow(Timestamps, Base):
    """An OAuth client. Two secrets are valid while one replaces the other."""

    __tablename__ = "oauth_clients"
    __table_args__ = (CheckConstraint("octet_length(client_id) <= 128", name="client_id"),)

    client_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    application_type: Mapped[str]  # web | native
    auth_method: Mapped[str]  # at the token endpoint (RFC 7591 section 2)
    grant_types: Mapped[list[str]] = mapped_column(ARRAY(Text))
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    redirect_uris: Mapped[list[str]] = mapped_column(ARRAY(Text))
    post_logout_redirect_uris: Mapped[list[str]] = mapped_column(ARRAY(Text))
    resources: Mapped[list[str]] = mapped_column(ARRAY(Text))  # that it may request tokens for (RFC 8707)
    serves: Mapped[list[str]] = mapped_column(ARRAY(Text))  # resources whose tokens it may introspect
    id_token_alg: Mapped[str]
    require_pkce: Mapped[bool]
    skip_consent: Mapped[bool]
    declared: Mapped[bool]  # in config/clients.toml
    secret_digest: Mapped[str | None]  # None without a secret: public, or private_key_jwt
    secret_created_at: Mapped[datetime | None]
    former_secret_digest: Mapped[str | None]
    former_secret_until: Mapped[datetime | None]
    jwks: Mapped[Any] = mapped_column(JSONB(none_as_null=True), nullable=True)
    jwks_uri: Mapped[str | None]
    client_uri: Mapped[str | None]
    policy_uri: Mapped[str | None]
    tos_uri: Mapped[str | None]
    backchannel_logout_uri: Mapped[str | None]
    created_by: Mapped[str]


class AuthorizationRequestRow(UUIDKey, Base):
    """A valid authorization request whose user must still sign in or consent."""

    __tablename__ = "authorization_requests"
    __table_args__ = (Index("ix_authorization_requests_expires_at", "expires_at"),)

    client_id: Mapped[str] = mapped_column(ForeignKey(ClientRow.client_id, ondelete="CASCADE"))
    parameters: Mapped[Any] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    expires_at: Mapped[datetime]
    consented_user_id: Mapped[str | None]  # who approved this request
    chosen_session_id: Mapped[UUID | None]  # with which the user continues
    begun_session_id: Mapped[UUID | None]  # which the user began for this request
    completed_at: Mapped[datetime | None]


class AuthorizationCodeRow(Base):
    """An authorization code; only its digest is stored. `app_session_id` is the session that its exchange started."""

    __tablename__ = "authorization_codes"
    __table_args__ = (
        Index("ix_authorization_codes_expires_at", "expires_at"),
        Index("ix_authorization_codes_session_id", "session_id"),
    )

    digest: Mapped[str] = mapped_column(primary_key=True)
    client_id: Mapped[str] = mapped_column(ForeignKey(ClientRow.client_id, ondelete="CASCADE"))
    session_id: Mapped[UUID] = mapped_column(ForeignKey("idp.user_sessions.id", ondelete="CASCADE"))
    redirect_uri: Mapped[str]
    code_challenge: Mapped[str | None]
    nonce: Mapped[str | None]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    resources: Mapped[list[str]] = mapped_column(ARRAY(Text))
    claims: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    app_session_id: Mapped[UUID | None]


class ConsentRow(Timestamps, Base):
    """The scopes that a user granted to a client."""

    __tablename__ = "consents"

    user_id: Mapped[str] = mapped_column(ForeignKey("idp.users.id", ondelete="CASCADE"), primary_key=True)
    client_id: Mapped[str] = mapped_column(ForeignKey(ClientRow.client_id, ondelete="CASCADE"), primary_key=True)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))


class RevokedTokenRow(Base):
    """An access token of a client itself that was revoked (RFC 7009), until it expires."""

    __tablename__ = "revoked_tokens"
    __table_args__ = (Index("ix_revoked_tokens_expires_at", "expires_at"),)

    jti: Mapped[str] = mapped_column(primary_key=True)
    client_id: Mapped[str]
    expires_at: Mapped[datetime]


class ClientAssertionRow(Base):
    """A used assertion of a client (RFC 7523), until it expires (SEC-54)."""

    __tablename__ = "client_assertions"
    __table_args__ = (Index("ix_client_assertions_expires_at", "expires_at"),)

    digest: Mapped[str] = mapped_column(primary_key=True)
    expires_at: Mapped[datetime]


class LogoutNotificationRow(UUIDKey, Base):
    """A logout token to send to a client (OpenID Connect Back-Channel Logout 1.0)."""

    __tablename__ = "logout_notifications"
    __table_args__ = (Index("ix_logout_notifications_client_id_next_attempt_at", "client_id", "next_attempt_at"),)

    client_id: Mapped[str] = mapped_column(ForeignKey(ClientRow.client_id, ondelete="CASCADE"))
    user_id: Mapped[str]
    sid: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    next_attempt_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    last_error: Mapped[str | None]
