"""Every mail there is: what it needs, what its subject says, and which page of ours its link leads to (C-31).

A link is made of the address in the settings, never of a request's Host (SEC-10). `repr` hides the tokens (SEC-74).
"""

from datetime import datetime
from typing import Any, ClassVar

from msgspec import Struct

_HIDDEN = "hidden"


class Mail(Struct, frozen=True):
    """A mail to one person.

    Attributes:
        template: its templates' name.
        subject: one line; `{service}` is this installation's name.
        page: the path its link leads to, None where it has none.
        leads_home: whether it leads to the application that people sign in to, where one is set.
        name: of whom it is for; anything somebody typed, or nothing.
    """

    template: ClassVar[str]
    subject: ClassVar[str]
    page: ClassVar[str | None] = None
    leads_home: ClassVar[bool] = False

    name: str | None

    @property
    def values(self) -> dict[str, Any]:
        """What the template is given."""
        return {field: getattr(self, field) for field in self.__struct_fields__}

    def __repr__(self) -> str:
        shown = ", ".join(f"{field}={value!r}" for field, value in self.__rich_repr__())
        return f"{type(self).__name__}({shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(field, _HIDDEN if field == "token" else value) for field, value in self.values.items()]


class VerifyEmail(Mail, frozen=True):
    """After a registration: the address's owner says that it is theirs. The link works for so many hours."""

    template, subject, page = "verify_email", "Confirm your e-mail address", "/verify-email"
    token: str
    hours: int


class AlreadyRegistered(Mail, frozen=True):
    """Somebody wanted an address that has an account; only its owner learns that (C-30)."""

    template, subject, page = "already_registered", "You already have an account", "/reset-password"
    leads_home = True


class ResetPassword(Mail, frozen=True):
    """Somebody asked for a new password. The link works for so many minutes."""

    template, subject, page = "reset_password", "Choose a new password", "/reset-password"
    token: str
    minutes: int


class PasswordChanged(Mail, frozen=True):
    """The password is another one now; `device` is what `device_name` made of it."""

    template, subject, page = "password_changed", "Your password was changed", "/reset-password"
    at: datetime
    device: str | None
    ip_address: str | None


class ConfirmNewEmail(Mail, frozen=True):
    """To a new address: its owner says that it is theirs. The link works for so many hours."""

    template, subject, page = "confirm_new_email", "Confirm your new e-mail address", "/change-email"
    token: str
    new_email: str
    hours: int


class EmailChangeRequested(Mail, frozen=True):
    """To the old address: somebody wants another one."""

    template, subject, page = (
        "email_change_requested",
        "A change of your e-mail address was requested",
        "/reset-password",
    )
    new_email: str


class EmailChanged(Mail, frozen=True):
    """To the old address, for the last time."""

    template, subject = "email_changed", "Your e-mail address was changed"
    new_email: str


class NewDevice(Mail, frozen=True):
    """A sign-in from a device that this account has not been seen on; `device` is what `device_name` made of it."""

    template, subject, page = "new_device", "A sign-in from a new device", "/reset-password"
    at: datetime
    device: str | None
    ip_address: str | None


class SignInLocked(Mail, frozen=True):
    """So many wrong passwords came one after the other that only known devices may still use it (SEC-8)."""

    template, subject, page = "sign_in_locked", "Sign-in from new devices is locked", "/reset-password"
    failures: int


class Invitation(Mail, frozen=True):
    """An administrator made the account; the link, for so many days, chooses its first password."""

    template, subject, page = "invitation", "You are invited to {service}", "/reset-password"
    token: str
    invited_by: str | None
    days: int


class Welcome(Mail, frozen=True):
    """The address is confirmed, and whether a password that somebody else may have chosen was cleared with it."""

    template, subject = "welcome", "Welcome to {service}"
    leads_home = True
    password_cleared: bool = False


MAILS: tuple[type[Mail], ...] = (
    VerifyEmail,
    AlreadyRegistered,
    ResetPassword,
    PasswordChanged,
    ConfirmNewEmail,
    EmailChangeRequested,
    EmailChanged,
    NewDevice,
    SignInLocked,
    Invitation,
    Welcome,
)
