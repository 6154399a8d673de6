"""All mails: their values, subjects, and the page that the link leads to (C-31).

Links use the URL in the settings, never a request's Host (SEC-10). `repr` hides the tokens (SEC-74).
"""

from datetime import datetime
from typing import Any, ClassVar, Literal

from msgspec import Struct

_HIDDEN = "hidden"


class Mail(Struct, frozen=True):
    """A mail to one recipient.

    Attributes:
        template: the name of its templates.
        subject: one line; `{service}` is this installation's name.
        page: the path of its link, None without a link.
        leads_home: whether it links to the front end, if one is configured.
        name: of the recipient, untrusted user input or None.
    """

    template: ClassVar[str]
    subject: ClassVar[str]
    page: ClassVar[str | None] = None
    leads_home: ClassVar[bool] = False

    name: str | None

    @property
    def values(self) -> dict[str, Any]:
        """The template's variables."""
        return {field: getattr(self, field) for field in self.__struct_fields__}

    def __repr__(self) -> str:
        shown = ", ".join(f"{field}={value!r}" for field, value in self.__rich_repr__())
        return f"{type(self).__name__}({shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(field, _HIDDEN if field == "token" else value) for field, value in self.values.items()]


class VerifyEmail(Mail, frozen=True):
    """Asks to confirm the address after a registration. The link is valid for `hours`."""

    template, subject, page = "verify_email", "Confirm your e-mail address", "/verify-email"
    token: str
    hours: int


class AlreadyRegistered(Mail, frozen=True):
    """Tells the owner that someone tried to register the address again (C-30)."""

    template, subject, page = "already_registered", "You already have an account", "/reset-password"
    leads_home = True


class LinkAccount(Mail, frozen=True):
    """Asks whether an identity at `provider` may sign in to the account. The link is valid for `hours`."""

    template, subject, page = "link_account", "Connect a sign-in to your account", "/link-account"
    token: str
    provider: str
    hours: int


class ResetPassword(Mail, frozen=True):
    """A link to set a new password, valid for `minutes`."""

    template, subject, page = "reset_password", "Choose a new password", "/reset-password"
    token: str
    minutes: int


class PasswordChanged(Mail, frozen=True):
    """Tells that the password was changed; `device` comes from `device_name`."""

    template, subject, page = "password_changed", "Your password was changed", "/reset-password"
    at: datetime
    device: str | None
    ip_address: str | None


class ConfirmNewEmail(Mail, frozen=True):
    """To a new address: asks to confirm it. The link is valid for `hours`."""

    template, subject, page = "confirm_new_email", "Confirm your new e-mail address", "/change-email"
    token: str
    new_email: str
    hours: int


class EmailChangeRequested(Mail, frozen=True):
    """To the old address: a change of address was requested."""

    template, subject, page = (
        "email_change_requested",
        "A change of your e-mail address was requested",
        "/reset-password",
    )
    new_email: str


class EmailChanged(Mail, frozen=True):
    """To the old address: the address was changed."""

    template, subject = "email_changed", "Your e-mail address was changed"
    new_email: str


class NewDevice(Mail, frozen=True):
    """A sign-in from an unknown device; `device` comes from `device_name`."""

    template, subject, page = "new_device", "A sign-in from a new device", "/reset-password"
    at: datetime
    device: str | None
    ip_address: str | None


class SignInLocked(Mail, frozen=True):
    """After too many consecutive wrong passwords the password works only on known devices (SEC-8)."""

    template, subject, page = "sign_in_locked", "Sign-in from new devices is locked", "/reset-password"
    failures: int


FactorChange = Literal[
    "totp_added",
    "totp_replaced",
    "totp_removed",
    "passkey_added",
    "passkey_removed",
    "recovery_codes_renewed",
    "reset",
]
_FACTOR_CHANGES: dict[FactorChange, str] = {
    "totp_added": "An authenticator app was set up as second factor of the account",
    "totp_replaced": "The authenticator app was replaced by another one, for the account",
    "totp_removed": "The authenticator app was removed from the account",
    "passkey_added": "A passkey was added to the account",
    "passkey_removed": "A passkey was removed from the account",
    "recovery_codes_renewed": "New recovery codes were created, and earlier ones no longer work, for the account",
    "reset": "An administrator removed all second factors and recovery codes, and ended all sessions, of the account",
}


class SecondFactorChange(Mail, frozen=True):
    """Tells that a second factor was added or removed."""

    template, subject, page = (
        "second_factor_changed",
        "The second factor of your account was changed",
        "/reset-password",
    )
    what: FactorChange
    at: datetime
    device: str | None
    ip_address: str | None

    @property
    def values(self) -> dict[str, Any]:
        return super().values | {"what": _FACTOR_CHANGES[self.what]}


class RecoveryCodeUsed(Mail, frozen=True):
    """Tells that a recovery code was used instead of the second factor; `left` are unused."""

    template, subject, page = "recovery_code_used", "A recovery code of your account was used", "/reset-password"
    at: datetime
    left: int


class Invitation(Mail, frozen=True):
    """An administrator created the account; the link, valid for `days`, sets its first password."""

    template, subject, page = "invitation", "You are invited to {service}", "/reset-password"
    token: str
    invited_by: str | None
    days: int


class Welcome(Mail, frozen=True):
    """The address was confirmed; tells whether the password was cleared because a stranger may have chosen it."""

    template, subject = "welcome", "Welcome to {service}"
    leads_home = True
    password_cleared: bool = False


class DeletionScheduled(Mail, frozen=True):
    """The user asked to delete the account, which happens at a time; signing in until then keeps it."""

    template, subject, page = "deletion_scheduled", "Your account will be deleted", "/account/keep"
    at: datetime


class AccountKept(Mail, frozen=True):
    """The user withdrew the deletion."""

    template, subject, page = "account_kept", "Your account stays", "/account"


class ActedForSupport(Mail, frozen=True):
    """An administrator acts as the user for support; `acted_by` is their name or address, `reason` what they gave."""

    template, subject, page = "acted_for_support", "An administrator used your account for support", "/account/activity"
    acted_by: str | None
    reason: str
    at: datetime
    minutes: int


MAILS: tuple[type[Mail], ...] = (
    VerifyEmail,
    LinkAccount,
    AlreadyRegistered,
    ResetPassword,
    PasswordChanged,
    ConfirmNewEmail,
    EmailChangeRequested,
    EmailChanged,
    NewDevice,
    SignInLocked,
    SecondFactorChange,
    RecoveryCodeUsed,
    Invitation,
    Welcome,
    DeletionScheduled,
    AccountKept,
    ActedForSupport,
)
