"""The tables of the outbox."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Identity, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from idp import clock
from idp.db.base import Base, UUIDKey


class EventRow(UUIDKey, Base):
    """An event, which never changes. It contains no secrets, hashes, tokens or IP addresses."""

    __tablename__ = "outbox"
    __table_args__ = (
        UniqueConstraint("seq"),
        Index("ix_outbox_transaction_seq", "transaction", "seq"),
    )
    __mapper_args__ = {"eager_defaults": False}  # noqa: RUF012  an INSERT returns nothing

    # Rises in the order of the insertions; those of one subject wait for each other, so it is their order.
    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    # With `seq` the position for readers: no event appears later before the oldest running transaction.
    transaction: Mapped[int] = mapped_column(BigInteger, server_default=text("(pg_current_xact_id()::text)::bigint"))
    type: Mapped[str]
    subject: Mapped[str]  # the user's id, or `team:<id>`, `domain:<id>`, `service_token:<id>`; Kafka's key
    sequence: Mapped[int | None] = mapped_column(BigInteger)  # the version of the user, team, domain or key
    data: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    created_at: Mapped[datetime] = mapped_column(default=clock.now)


class UnpublishedEventRow(Base):
    """An event that Kafka does not have; a trigger adds it with the event, the relay deletes it.

    A table of its own, because marking an event in its own row would write the whole row and its index entries again.
    """

    __tablename__ = "outbox_unpublished"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    parked_at: Mapped[datetime | None]
    error: Mapped[str | None]
