"""Tables of second factors."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import BigInteger, Text

from idp import clock
from idp.db.base import Base, UUIDKey
from idp.users.models import UserRow


class PasskeyRow(UUIDKey, Base):
    """A passkey (WebAuthn credential) of a user.

    `user_handle` is the same random value in all passkeys of a user; it tells an authenticator nothing about them.
    """

    __tablename__ = "passkeys"
    __table_args__ = (UniqueConstraint("credential_id"),)

    user_id: Mapped[str] = mapped_column(ForeignKey(UserRow.id, ondelete="CASCADE"), index=True)
    credential_id: Mapped[bytes]
    user_handle: Mapped[bytes]
    public_key: Mapped[bytes]  # COSE
    sign_count: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str]
    transports: Mapped[list[str]] = mapped_column(ARRAY(Text()))
    aaguid: Mapped[UUID]
    backup_eligible: Mapped[bool]
    backed_up: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    last_used_at: Mapped[datetime | None]


class TotpRow(Base):
    """The authenticator app of a user (RFC 6238). Codes of time steps up to `last_step` are used up."""

    __tablename__ = "totp_secrets"

    user_id: Mapped[str] = mapped_column(ForeignKey(UserRow.id, ondelete="CASCADE"), primary_key=True)
    secret: Mapped[str]  # encrypted (signing/sealing.py)
    algorithm: Mapped[str]
    digits: Mapped[int]
    period: Mapped[int]  # seconds
    last_step: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    last_used_at: Mapped[datetime | None]


class RecoveryCodeRow(UUIDKey, Base):
    """A recovery code; only its keyed digest is stored."""

    __tablename__ = "recovery_codes"
    __table_args__ = (UniqueConstraint("user_id", "digest"),)

    user_id: Mapped[str] = mapped_column(ForeignKey(UserRow.id, ondelete="CASCADE"))
    digest: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    used_at: Mapped[datetime | None]


class SecondFactorDeadlineRow(Base):
    """When a user of whom the policy requires a second factor must have one."""

    __tablename__ = "second_factor_deadlines"

    user_id: Mapped[str] = mapped_column(ForeignKey(UserRow.id, ondelete="CASCADE"), primary_key=True)
    due_at: Mapped[datetime]


class UsedChallengeRow(Base):
    """A challenge that an authenticator has signed, until it expires, so that nobody uses it again."""

    __tablename__ = "used_challenges"

    digest: Mapped[str] = mapped_column(primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)
