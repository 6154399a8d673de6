"""Request and response bodies for addresses and passwords.

Bodies of the old service ignore unknown members, new ones refuse them (C-16).
"""

from typing import Annotated

from msgspec import Meta, Struct

from idp.accounts.shapes import DeviceInfo, Email, Password, SessionOut

# The token of a mail's link. A malformed token is treated like an invalid one: 400 (S4-12, S4-13).
LinkToken = Annotated[
    str, Meta(examples=["5f1d…"], description="64 hexadecimal characters, from the link in the mail.")
]
AnyAddress = Annotated[str, Meta(max_length=4096, examples=["ada@example.com"])]


class _Hidden(Struct, frozen=True):
    def __repr__(self) -> str:
        return f"{type(self).__name__}(hidden)"


class RegisterEmailIn(_Hidden, frozen=True):
    """A new account, whose address is verified by mail (S4-09)."""

    email: Email
    password: Password
    device_info: DeviceInfo = None


class RegisterEmailOut(Struct, frozen=True):
    """The response is the same for every address (C-30)."""

    message: str
    email: str


class VerifyIn(_Hidden, frozen=True):
    """The token that verifies an address (S4-13)."""

    token: LinkToken
    device_info: DeviceInfo = None


class VerifiedOut(SessionOut, frozen=True, kw_only=True):
    """A session and the front end's URL (S4-14)."""

    redirect_url: str


class AddressIn(_Hidden, frozen=True):
    """An address to send a link to, if it has an account (S4-11)."""

    email: AnyAddress


class ResendIn(AddressIn, frozen=True, forbid_unknown_fields=True):
    """An unverified address to send a new link to."""


class ResetIn(_Hidden, frozen=True):
    """The token of a reset or an invitation, and the new password (S4-12)."""

    token: LinkToken
    new_password: Password


class ChangePasswordIn(_Hidden, frozen=True, forbid_unknown_fields=True):
    """The current and the new password."""

    current_password: Password
    new_password: Password


class ChangeEmailIn(_Hidden, frozen=True, forbid_unknown_fields=True):
    """The new address and the current password."""

    new_email: Email
    current_password: Password


class ConfirmEmailIn(_Hidden, frozen=True, forbid_unknown_fields=True):
    """The token that was sent to the new address."""

    token: LinkToken
