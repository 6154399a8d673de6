"""The table of OAuth clients."""

from datetime import datetime

from sqlalchemy import CheckConstraint
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from idp.db.base import Base, Timestamps


class ClientRow(Timestamps, Base):
    """A confidential client. Two secrets are valid while one replaces the other."""

    __tablename__ = "oauth_clients"
    __table_args__ = (CheckConstraint("octet_length(client_id) <= 128", name="client_id"),)

    client_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    secret_digest: Mapped[str]
    secret_created_at: Mapped[datetime]
    former_secret_digest: Mapped[str | None]
    former_secret_until: Mapped[datetime | None]
    created_by: Mapped[str]
