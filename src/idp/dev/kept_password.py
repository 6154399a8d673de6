"""The passwords of demo users that `idp dev` keeps between starts."""

from msgspec import Struct


class KeptPassword(Struct, frozen=True):
    """A persona's printed password.

    Attributes:
        password: in clear; only the owner can read the file.
        version: the account's `password_version` at that time; a different one means that the password was changed.
    """

    password: str
    version: int
