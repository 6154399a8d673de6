"""Tables of teams, domains and their members (S3-10 to S3-13)."""

from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from idp.db.base import Base, Timestamps, UUIDKey


class TeamRow(UUIDKey, Timestamps, Base):
    """A team."""

    __tablename__ = "teams"
    __table_args__ = (UniqueConstraint("name"),)

    name: Mapped[str]
    external_ref: Mapped[str | None]
    is_active: Mapped[bool] = mapped_column(default=True)
    version: Mapped[int] = mapped_column(default=1, server_default=text("1"))  # increases with each change


class TeamMembershipRow(UUIDKey, Timestamps, Base):
    """A user's membership in a team. `role` is "admin", "member" or null, which means member (C-15)."""

    __tablename__ = "team_memberships"
    __table_args__ = (
        UniqueConstraint("user_id", "team_id"),
        CheckConstraint("role IN ('member', 'admin')", name="role"),
    )

    # No relationship: the table of users belongs to another package.
    user_id: Mapped[str] = mapped_column(ForeignKey("idp.users.id", ondelete="CASCADE"))
    team_id: Mapped[UUID] = mapped_column(ForeignKey(TeamRow.id, ondelete="CASCADE"), index=True)
    role: Mapped[str | None]
    source: Mapped[str | None]  # principal/sources.py


class DomainRow(UUIDKey, Timestamps, Base):
    """A field of work. Domains can be nested; membership in a parent does not include its children (C-15)."""

    __tablename__ = "domains"
    __table_args__ = (UniqueConstraint("key"),)

    key: Mapped[str]
    name: Mapped[str]
    parent_domain_id: Mapped[UUID | None] = mapped_column(ForeignKey("idp.domains.id"), index=True)
    is_active: Mapped[bool] = mapped_column(default=True)
    version: Mapped[int] = mapped_column(default=1, server_default=text("1"))  # increases with each change


class UserDomainRow(UUIDKey, Timestamps, Base):
    """The assignment of a user to a domain."""

    __tablename__ = "user_domains"
    __table_args__ = (UniqueConstraint("user_id", "domain_id"),)

    user_id: Mapped[str] = mapped_column(ForeignKey("idp.users.id", ondelete="CASCADE"))
    domain_id: Mapped[UUID] = mapped_column(ForeignKey(DomainRow.id, ondelete="CASCADE"), index=True)
    source: Mapped[str | None]
