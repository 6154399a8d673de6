"""Tables of people: users, the identities that name them elsewhere, and their roles."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column
from uuid_utils.compat import uuid7

from idp import clock
from idp.db.base import Base, Timestamps, UUIDKey


class UserRow(Timestamps, Base):
    """A person. `id` is text, because imported people keep the id their old service gave them (C-13)."""

    __tablename__ = "users"
    __table_args__ = (
        # One live user an address; a deleted one frees it.
        Index(
            "uq_users_email_key",
            "email_key",
            unique=True,
            postgresql_where=text("deleted_at IS NULL"),
        ),
        # An announcement of a change names the user, and has room for 8000 bytes.
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
    # Rises with every new password, not with a stronger hash of the same: a sign-in that was checked against an older
    # one makes no session any more.
    password_version: Mapped[int] = mapped_column(default=1)
    plan: Mapped[str] = mapped_column(default="FREE")
    is_active: Mapped[bool] = mapped_column(default=True)
    version: Mapped[int] = mapped_column(default=1)
    deleted_at: Mapped[datetime | None]


class SignInFailuresRow(Base):
    """How many wrong passwords came for a user since the last right one; no row for none."""

    __tablename__ = "sign_in_failures"

    user_id: Mapped[str] = mapped_column(ForeignKey(UserRow.id, ondelete="CASCADE"), primary_key=True)
    failures: Mapped[int]
    last_at: Mapped[datetime]


class IdentityRow(UUIDKey, Base):
    """What another issuer calls this person: (provider, subject) is theirs alone (SEC-15, SEC-69)."""

    __tablename__ = "identities"
    __table_args__ = (UniqueConstraint("provider", "subject"),)

    user_id: Mapped[str] = mapped_column(ForeignKey(UserRow.id, ondelete="CASCADE"), index=True)
    provider: Mapped[str]
    subject: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=clock.now)


class RoleRow(Base):
    """A role a user can hold. `user` and `admin` mean something here; others are the business of other services."""

    __tablename__ = "roles"

    name: Mapped[str] = mapped_column(primary_key=True)
    description: Mapped[str] = mapped_column(default="")


class UserRoleRow(Base):
    """A user holds a role."""

    __tablename__ = "user_roles"

    user_id: Mapped[str] = mapped_column(ForeignKey(UserRow.id, ondelete="CASCADE"), primary_key=True)
    role: Mapped[str] = mapped_column(ForeignKey(RoleRow.name), primary_key=True)


class _OneTimeToken(UUIDKey):
    """What a link in a mail proves: who, and which address. Only its digest is stored."""

    user_id: Mapped[str] = mapped_column(ForeignKey(UserRow.id, ondelete="CASCADE"), index=True)
    purpose: Mapped[str]
    email: Mapped[str]
    digest: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(default=clock.now, index=True)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class EmailTokenRow(_OneTimeToken, Base):
    """Proves that an address can be read: the user's own, or the one they want instead."""

    __tablename__ = "email_verification_tokens"


class PasswordTokenRow(_OneTimeToken, Base):
    """Lets whoever reads the address choose a password: one they forgot, or their first."""

    __tablename__ = "password_reset_tokens"
