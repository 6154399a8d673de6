"""Tables of users, identities, roles and one-time tokens."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column
from uuid_utils.compat import uuid7

from idp import clock
from idp.db.base import Base, Timestamps, UUIDKey


class UserRow(Timestamps, Base):
    """A user. `id` is text, because imported users keep their old id (C-13)."""

    __tablename__ = "users"
    __table_args__ = (
        # One live user per address; deletion frees it.
        Index(
            "uq_users_email_key",
            "email_key",
            unique=True,
            postgresql_where=text("deleted_at IS NULL"),
        ),
        Index(
            "ix_users_delete_after",
            "delete_after",
            postgresql_where=text("delete_after IS NOT NULL AND deleted_at IS NULL"),
        ),
        # A change notification contains the user id and is limited to 8000 bytes.
        CheckConstraint("octet_length(id) <= 512", name="id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: str(uuid7()))
    email: Mapped[str | None]
    email_key: Mapped[str | None]
    email_verified: Mapped[bool] = mapped_column(default=False)
    name: Mapped[str | None]
    avatar_url: Mapped[str | None]
    login_type: Mapped[str] = mapped_column(default="email")
    password_hash: Mapped[str | None]
    # Increases with every new password, not with a rehash: a sign-in checked against an older version gets no session.
    password_version: Mapped[int] = mapped_column(default=1)
    plan: Mapped[str] = mapped_column(default="FREE")
    is_active: Mapped[bool] = mapped_column(default=True)
    version: Mapped[int] = mapped_column(default=1)
    deleted_at: Mapped[datetime | None]
    delete_after: Mapped[datetime | None]  # the user asked to delete the account then
    imported_from: Mapped[str | None]  # the source of the import that created the user


class UserAliasRow(Base):
    """A former id of a user: an import found two accounts of one person (docs/decisions/0054)."""

    __tablename__ = "user_aliases"
    __table_args__ = (CheckConstraint("octet_length(alias) <= 512", name="alias"),)

    alias: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey(UserRow.id, ondelete="CASCADE"), index=True)
    source: Mapped[str]  # the import
    created_at: Mapped[datetime] = mapped_column(default=clock.now)


class SignInFailuresRow(Base):
    """Consecutive wrong passwords of a user; no row for none."""

    __tablename__ = "sign_in_failures"

    user_id: Mapped[str] = mapped_column(ForeignKey(UserRow.id, ondelete="CASCADE"), primary_key=True)
    failures: Mapped[int]
    last_at: Mapped[datetime]


class IdentityRow(UUIDKey, Base):
    """A user's identity at another issuer: (provider, subject) is unique (SEC-15, SEC-69)."""

    __tablename__ = "identities"
    __table_args__ = (UniqueConstraint("provider", "subject"),)

    user_id: Mapped[str] = mapped_column(ForeignKey(UserRow.id, ondelete="CASCADE"), index=True)
    provider: Mapped[str]
    subject: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    # The newest token whose claims the rules have seen, and the digest of those claims.
    claims_issued_at: Mapped[datetime | None]
    claims_digest: Mapped[str | None]


class RoleRow(Base):
    """A role. idp uses `user` and `admin`; other services may use others."""

    __tablename__ = "roles"

    name: Mapped[str] = mapped_column(primary_key=True)
    description: Mapped[str] = mapped_column(default="")


class UserRoleRow(Base):
    """A role of a user."""

    __tablename__ = "user_roles"

    user_id: Mapped[str] = mapped_column(ForeignKey(UserRow.id, ondelete="CASCADE"), primary_key=True)
    role: Mapped[str] = mapped_column(ForeignKey(RoleRow.name), primary_key=True)
    source: Mapped[str | None]  # principal/sources.py


class _OneTimeToken(UUIDKey):
    """A one-time token of a mailed link, for a user and an address. Only its digest is stored."""

    user_id: Mapped[str] = mapped_column(ForeignKey(UserRow.id, ondelete="CASCADE"), index=True)
    purpose: Mapped[str]
    email: Mapped[str]
    digest: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(default=clock.now, index=True)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class EmailTokenRow(_OneTimeToken, Base):
    """Verifies an address: the user's current or new one."""

    __tablename__ = "email_verification_tokens"


class PasswordTokenRow(_OneTimeToken, Base):
    """Allows to set a password: a reset, or the first one."""

    __tablename__ = "password_reset_tokens"
