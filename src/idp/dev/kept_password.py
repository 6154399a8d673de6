"""What `idp dev` remembers of a demo user's password from one start to the next."""

from msgspec import Struct


class KeptPassword(Struct, frozen=True):
    """A persona's password as the banner printed it.

    Attributes:
        password: in clear; the file is its owner's alone.
        version: the account's `password_version` at that time. Another one means that the password was changed since.
    """

    password: str
    version: int
