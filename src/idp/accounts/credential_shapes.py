"""What clients send and read about their address and password.

The old service's shapes ignore unknown members, the new ones refuse them (C-16).
"""

from typing import Annotated

from msgspec import Meta, Struct

from idp.accounts.shapes import DeviceInfo, Email, Password, SessionOut

# The text of a mail's link. Whatever is no token of ours is answered as one that does not work: 400 (S4-12, S4-13).
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
    """The same for every address (C-30)."""

    message: str
    email: str


class VerifyIn(_Hidden, frozen=True):
    """The link that verifies an address (S4-13)."""

    token: LinkToken
    device_info: DeviceInfo = None


class VerifiedOut(SessionOut, frozen=True, kw_only=True):
    """A session, and where the front end is (S4-14)."""

    redirect_url: str


class AddressIn(_Hidden, frozen=True):
    """An address to send a link to, if it has an account (S4-11)."""

    email: AnyAddress


class ResendIn(AddressIn, frozen=True, forbid_unknown_fields=True):
    """An address to send another link to, if it waits to be verified."""


class ResetIn(_Hidden, frozen=True):
    """The link of a reset or an invitation, and the password that it chooses (S4-12)."""

    token: LinkToken
    new_password: Password


class ChangePasswordIn(_Hidden, frozen=True, forbid_unknown_fields=True):
    """The present password and the next."""

    current_password: Password
    new_password: Password


class ChangeEmailIn(_Hidden, frozen=True, forbid_unknown_fields=True):
    """The next address, and the present password."""

    new_email: Email
    current_password: Password


class ConfirmEmailIn(_Hidden, frozen=True, forbid_unknown_fields=True):
    """The link that was sent to the new address."""

    token: LinkToken
