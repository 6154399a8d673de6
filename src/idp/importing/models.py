"""The table of imports."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from idp import clock
from idp.db.base import Base, UUIDKey


class ImportRunRow(UUIDKey, Base):
    """An import. An unfinished one continues at `stage` and `position`, which each transaction moves on."""

    __tablename__ = "import_runs"
    __table_args__ = (Index("ix_import_runs_source_started_at", "source", "started_at"),)

    source: Mapped[str]
    digest: Mapped[str]  # SHA-256 of the file
    options: Mapped[dict[str, Any]] = mapped_column(JSONB)
    exported_at: Mapped[datetime]
    stage: Mapped[str]  # of `stages.STAGES`
    position: Mapped[int] = mapped_column(BigInteger)  # bytes of the file
    line: Mapped[int] = mapped_column(BigInteger)  # number of the line at `position`
    report: Mapped[dict[str, Any]] = mapped_column(JSONB)
    started_at: Mapped[datetime] = mapped_column(default=clock.now)
    finished_at: Mapped[datetime | None]
