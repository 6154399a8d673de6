"""The outbox table."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Identity, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from idp import clock
from idp.db.base import Base, UUIDKey


class EventRow(UUIDKey, Base):
    """An event. It contains no secrets, hashes, tokens or addresses."""

    __tablename__ = "outbox"
    __table_args__ = (
        UniqueConstraint("seq"),
        Index("ix_outbox_unpublished", "seq", postgresql_where=text("published_at IS NULL")),
    )

    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    type: Mapped[str]
    subject: Mapped[str]  # the user's id
    data: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    published_at: Mapped[datetime | None]
