"""What administrators, and people themselves, send and read about users."""

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
        description="`user` and `admin` mean something here; any other is the business of other services.",
    ),
]
Roles = Annotated[list[Role], Meta(max_length=50, description="All roles of the user; what is left out is taken away.")]
Plan = Literal["FREE", "BASIC", "PRO"]
# No credentials before the host, nothing that ends an attribute of HTML: this is shown to others as a picture.
AvatarUrl = Annotated[
    str,
    Meta(
        max_length=2048,
        pattern=r"^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?([/?#][A-Za-z0-9._~:/?#\[\]@!$&()*+,;=%-]*)?(?!\n)$",
        examples=["https://images.example.com/ada.png"],
    ),
]


class ManagedUser(Struct, frozen=True):
    """A user, as administrators see them (S4-23 and more)."""

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
    """What to change about a user; what is left out stays. `is_active: false` also ends all their API keys."""

    roles: Roles | UnsetType = UNSET
    plan: Plan | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET
    name: PersonName | UnsetType = UNSET


class UserFilter(Struct, frozen=True):
    """Which users to list; None is no condition.

    Attributes:
        search: a part of the e-mail or of the name, in any case, or the whole id.
        role: a role they hold.
        is_active: whether they are enabled.
    """

    search: str | None = None
    role: str | None = None
    is_active: bool | None = None


class ProfileChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What to change about oneself; what is left out stays, and null takes the picture away."""

    name: PersonName | UnsetType = UNSET
    avatar_url: AvatarUrl | UnsetType | None = UNSET


class Identity(Struct, frozen=True):
    """What another issuer calls a person."""

    provider: str
    subject: str
    created_at: datetime
