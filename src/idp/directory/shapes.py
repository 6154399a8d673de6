"""Request and response bodies of teams and domains."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from idp.plain_text import LINE

Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=LINE, examples=["Platform"])]
Reference = Annotated[str, Meta(min_length=1, max_length=200, pattern=LINE, examples=["plat"])]
Key = Annotated[
    str,
    Meta(
        max_length=100,
        pattern=r"^[a-z0-9][a-z0-9._-]*(?!\n)$",
        examples=["platform"],
        description="Lower case letters, digits, dot, dash and underscore.",
    ),
]
MemberRole = Literal["member", "admin"]


class TeamOut(Struct, frozen=True):
    """A team (S3-31)."""

    id: UUID
    name: str
    external_ref: str | None
    is_active: bool


class NewTeam(Struct, frozen=True, forbid_unknown_fields=True):
    """A new team."""

    name: Name
    external_ref: Reference | None = None


class TeamChange(Struct, frozen=True, forbid_unknown_fields=True):
    """A change of a team; omitted fields stay as they are."""

    name: Name | UnsetType = UNSET
    external_ref: Reference | UnsetType | None = UNSET
    is_active: bool | UnsetType = UNSET


class DomainOut(Struct, frozen=True):
    """A domain (S3-33)."""

    id: UUID
    key: str
    name: str
    parent_domain_id: UUID | None
    is_active: bool


class NewDomain(Struct, frozen=True, forbid_unknown_fields=True):
    """A new domain."""

    key: Key
    name: Name
    parent_domain_id: UUID | None = None


class DomainChange(Struct, frozen=True, forbid_unknown_fields=True):
    """A change of a domain; omitted fields stay as they are, and a null parent moves it to the top level."""

    name: Name | UnsetType = UNSET
    parent_domain_id: UUID | UnsetType | None = UNSET
    is_active: bool | UnsetType = UNSET


class NewMembership(Struct, frozen=True, forbid_unknown_fields=True):
    """A new or changed membership; a null role means member."""

    role: MemberRole | None = None


class Member(Struct, frozen=True):
    """A user in a team; a null role means member."""

    user_id: str
    email: str | None
    name: str | None
    role: MemberRole | None
    since: datetime


class DomainUser(Struct, frozen=True):
    """A user in a domain."""

    user_id: str
    email: str | None
    name: str | None
    since: datetime


class Removed(Struct, frozen=True):
    """Whether something was removed; removing it again is not an error."""

    removed: bool
