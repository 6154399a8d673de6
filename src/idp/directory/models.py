"""Tables of the organisation: teams, domains, and who belongs to them (S3-10 to S3-13)."""

from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from idp.db.base import Base, Timestamps, UUIDKey


class TeamRow(UUIDKey, Timestamps, Base):
    """A team."""

    __tablename__ = "teams"
    __table_args__ = (UniqueConstraint("name"),)

    name: Mapped[str]
    external_ref: Mapped[str | None]
    is_active: Mapped[bool] = mapped_column(default=True)


class TeamMembershipRow(UUIDKey, Timestamps, Base):
    """A user is in a team. `role` is "admin", "member" or null, which means member (C-15)."""

    __tablename__ = "team_memberships"
    __table_args__ = (
        UniqueConstraint("user_id", "team_id"),
        CheckConstraint("role IN ('member', 'admin')", name="role"),
    )

    # The user's table belongs to another package: an id, not a relationship.
    user_id: Mapped[str] = mapped_column(ForeignKey("idp.users.id", ondelete="CASCADE"))
    team_id: Mapped[UUID] = mapped_column(ForeignKey(TeamRow.id, ondelete="CASCADE"), index=True)
    role: Mapped[str | None]


class DomainRow(UUIDKey, Timestamps, Base):
    """A field of work. Domains nest, but a parent does not imply its children (C-15)."""

    __tablename__ = "domains"
    __table_args__ = (UniqueConstraint("key"),)

    key: Mapped[str]
    name: Mapped[str]
    parent_domain_id: Mapped[UUID | None] = mapped_column(ForeignKey("idp.domains.id"), index=True)
    is_active: Mapped[bool] = mapped_column(default=True)


class UserDomainRow(UUIDKey, Timestamps, Base):
    """A user works in a domain."""

    __tablename__ = "user_domains"
    __table_args__ = (UniqueConstraint("user_id", "domain_id"),)

    user_id: Mapped[str] = mapped_column(ForeignKey("idp.users.id", ondelete="CASCADE"))
    domain_id: Mapped[UUID] = mapped_column(ForeignKey(DomainRow.id, ondelete="CASCADE"), index=True)
