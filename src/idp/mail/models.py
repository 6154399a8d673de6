"""The table of the mail outbox."""

from datetime import datetime

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from idp import clock
from idp.db.base import Base, UUIDKey


class MailRow(UUIDKey, Base):
    """A mail. Its text contains one-time links, so it is encrypted, and deleted after sending."""

    __tablename__ = "mail_outbox"
    __table_args__ = (
        Index("ix_mail_outbox_due_at", "due_at", postgresql_where=text("sent_at IS NULL AND failed_at IS NULL")),
        Index("ix_mail_outbox_created_at", "created_at"),
    )

    template: Mapped[str]
    sealed_message: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    due_at: Mapped[datetime] = mapped_column(default=clock.now)
    attempts: Mapped[int] = mapped_column(default=0)
    last_error: Mapped[str | None]
    sent_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
