"""The table of installation-wide values."""

from datetime import datetime

from sqlalchemy import func
from sqlalchemy.orm import Mapped, mapped_column

from idp.db.base import Base


class InstallationRow(Base):
    """A value of this installation, such as the salt of proofs (`db/installation.py`)."""

    __tablename__ = "installation"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
