"""Tables of audit records and of the hash chain."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Index, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from idp import clock
from idp.db.base import Base, UUIDKey


class AuditRow(UUIDKey, Base):
    """An audit record. Ids are not foreign keys: a record outlives the rows it refers to."""

    __tablename__ = "audit_logs"
    __table_args__ = (
        Index("ix_audit_logs_timestamp", "timestamp"),
        Index("ix_audit_logs_user_id_timestamp", "user_id", "timestamp"),
        Index("ix_audit_logs_target_timestamp", "target", "timestamp"),
        Index("ix_audit_logs_actor_timestamp", "actor", "timestamp"),
    )

    timestamp: Mapped[datetime] = mapped_column(default=clock.now)
    action: Mapped[str]
    actor: Mapped[str]  # "user:<id>", "service:<id>", "anonymous" or "system"
    user_id: Mapped[str | None]  # the user affected
    target: Mapped[str | None]  # "team:<id>", "domain:<id>", "signing_key:<kid>"
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    ip_address: Mapped[str | None]
    user_agent: Mapped[str | None]
    request_id: Mapped[str | None]


class AuditLinkRow(Base):
    """A link of the hash chain: its hash covers the record and the previous hash."""

    __tablename__ = "audit_chain"
    __table_args__ = (UniqueConstraint("audit_id"),)

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    audit_id: Mapped[UUID]
    hash: Mapped[str]
    chained_at: Mapped[datetime] = mapped_column(default=clock.now)
