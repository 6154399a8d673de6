"""Tables of webhook endpoints and of the events that they rejected."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from idp import clock
from idp.db.base import Base, Timestamps, UUIDKey


class WebhookRow(UUIDKey, Timestamps, Base):
    """An endpoint, and how far its deliveries are."""

    __tablename__ = "webhooks"
    __table_args__ = (CheckConstraint("is_active = (disabled_reason IS NULL)", name="disabled"),)

    url: Mapped[str]
    description: Mapped[str]
    types: Mapped[list[str]] = mapped_column(ARRAY(Text()))  # empty for all
    created_by: Mapped[str]
    sealed_secret: Mapped[str]
    former_sealed_secret: Mapped[str | None]
    former_until: Mapped[datetime | None]  # deliveries are signed with the former secret, too, until then
    is_active: Mapped[bool] = mapped_column(server_default=text("true"), default=True)
    disabled_reason: Mapped[str | None]  # "admin", "failing" or "gone"
    # The position of the last event that is done, as in `events/reading.py`.
    transaction: Mapped[int] = mapped_column(BigInteger)
    seq: Mapped[int] = mapped_column(BigInteger)
    attempts: Mapped[int] = mapped_column(server_default=text("0"), default=0)  # of the next event
    next_attempt_at: Mapped[datetime | None]
    failing_since: Mapped[datetime | None]
    last_error: Mapped[str | None]
    last_delivered_at: Mapped[datetime | None]


class WebhookRejectionRow(UUIDKey, Base):
    """An event that an endpoint rejected, and that was skipped after some attempts."""

    __tablename__ = "webhook_rejections"
    __table_args__ = (UniqueConstraint("webhook_id", "event_id"),)

    webhook_id: Mapped[UUID] = mapped_column(ForeignKey(WebhookRow.id, ondelete="CASCADE"))
    event_id: Mapped[UUID]
    event_type: Mapped[str]
    transaction: Mapped[int] = mapped_column(BigInteger)
    seq: Mapped[int] = mapped_column(BigInteger)
    error: Mapped[str]
    rejected_at: Mapped[datetime] = mapped_column(default=clock.now)
