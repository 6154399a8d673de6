"""The tables of installation-wide values and of leases."""

from datetime import datetime

from sqlalchemy import BigInteger, func
from sqlalchemy.orm import Mapped, mapped_column

from idp.db.base import Base


class InstallationRow(Base):
    """A value of this installation, such as the salt of proofs (`db/installation.py`)."""

    __tablename__ = "installation"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class LeaseRow(Base):
    """Which process leads, for each name (`db/lease.py`). The row stays when nobody leads, so the token never falls."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    token: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[datetime]


class ChangeRow(Base):
    """A change that affects verdicts, if the change log is on (`db/polling.py`). Unlogged: lost in a crash."""

    __tablename__ = "change_log"
    __table_args__ = ({"prefixes": ["UNLOGGED"]},)

    transaction: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
