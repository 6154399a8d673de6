"""Tables: what Clerk last said about each user, the deliveries of its webhook, and the comparisons with its list."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from idp import clock
from idp.db.base import Base, UUIDKey
from idp.users.models import UserRow


class ClerkUserRow(Base):
    """A user of Clerk, also one who was deleted before anything else was heard of them (a tombstone, C-14).

    Times of Clerk are milliseconds since 1970, compared with each other only.
    """

    __tablename__ = "clerk_users"

    clerk_id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str | None] = mapped_column(ForeignKey(UserRow.id, ondelete="CASCADE"), index=True)
    updated_at_ms: Mapped[int] = mapped_column(BigInteger, default=0)
    deleted_at_ms: Mapped[int | None] = mapped_column(BigInteger)
    # What Clerk made of the user here, to be undone when Clerk says so: `locked` or `banned`; a plan; a role.
    suspension: Mapped[str | None]
    plan: Mapped[str | None]
    role: Mapped[str | None]
    # The last repair that found the user in Clerk's list.
    seen_at: Mapped[datetime | None]


class ClerkDeliveryRow(Base):
    """A delivery that was processed; its id comes again when Clerk repeats it."""

    __tablename__ = "clerk_deliveries"

    id: Mapped[str] = mapped_column(primary_key=True)
    type: Mapped[str]
    received_at: Mapped[datetime] = mapped_column(default=clock.now, index=True)


class ClerkScanRow(UUIDKey, Base):
    """A comparison with Clerk's list, and what it found. An unfinished repair continues at `position`."""

    __tablename__ = "clerk_scans"

    kind: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(default=clock.now)
    position: Mapped[int] = mapped_column(default=0)
    finished_at: Mapped[datetime | None] = mapped_column(index=True)
    missing: Mapped[int] = mapped_column(default=0)
    changed: Mapped[int] = mapped_column(default=0)
    deleted: Mapped[int] = mapped_column(default=0)
    conflicting: Mapped[int] = mapped_column(default=0)
