"""Request and response bodies about users."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from idp.plain_text import LINE

PersonName = Annotated[str, Meta(min_length=1, max_length=200, pattern=LINE, examples=["Ada Lovelace"])]
Role = Annotated[
    str,
    Meta(
        max_length=64,
        pattern=r"^[a-z][a-z0-9._:-]*(?!\n)$",
        examples=["analyst"],
        description="idp uses `user` and `admin`; other services may use other roles.",
    ),
]
Roles = Annotated[list[Role], Meta(max_length=50, description="All roles of the user; missing ones are removed.")]
Plan = Literal["FREE", "BASIC", "PRO"]
# No credentials, and no characters that end an HTML attribute, because it is shown to other users as an image.
AvatarUrl = Annotated[
    str,
    Meta(
        max_length=2048,
        pattern=r"^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?([/?#][A-Za-z0-9._~:/?#\[\]@!$&()*+,;=%-]*)?(?!\n)$",
        examples=["https://images.example.com/ada.png"],
    ),
]


class ManagedUser(Struct, frozen=True):
    """A user, as shown to administrators (S4-23 and more)."""

    user_id: str
    email: str | None
    is_active: bool
    login_type: str
    created_at: datetime
    name: str | None
    roles: tuple[str, ...]
    plan: str
    email_verified: bool
    updated_at: datetime


class UserChange(Struct, frozen=True, forbid_unknown_fields=True):
    """Changes to a user; missing members stay. `is_active: false` also revokes all API keys."""

    roles: Roles | UnsetType = UNSET
    plan: Plan | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET
    name: PersonName | UnsetType = UNSET


class UserFilter(Struct, frozen=True):
    """Filter of a user list; None means no condition.

    Attributes:
        search: a part of the e-mail or name, case-insensitive, or the full id.
        role: a role of the user.
        is_active: whether the user is enabled.
    """

    search: str | None = None
    role: str | None = None
    is_active: bool | None = None


class RoleCount(Struct, frozen=True):
    """A role, and how many users have it."""

    name: str
    description: str
    users: int


class ProfileChange(Struct, frozen=True, forbid_unknown_fields=True):
    """Changes to the own profile; missing members stay, null removes the avatar."""

    name: PersonName | UnsetType = UNSET
    avatar_url: AvatarUrl | UnsetType | None = UNSET


class Identity(Struct, frozen=True):
    """A user's identity at another issuer."""

    provider: str
    subject: str
    created_at: datetime
