"""What clients send and read when people sign up and in. Unknown members are ignored on these old paths (C-16)."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from idp.authn.shapes import UserOut

_LINE = r"^[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*(?!\n)$"
# The pattern says what an address looks like from outside; `parse_email` has the last word.
Email = Annotated[str, Meta(min_length=3, max_length=254, pattern=r"^[^\s\x00-\x1f\x7f]+@[^\s\x00-\x1f\x7f]+(?!\n)$",
                            examples=["ada@example.com"])]  # fmt: skip
PersonName = Annotated[str, Meta(min_length=1, max_length=200, pattern=_LINE, examples=["Ada Lovelace"])]
Password = Annotated[str, Meta(max_length=4096, examples=["correct horse battery"])]


class RegisterIn(Struct, frozen=True):
    """A new account (S3-23)."""

    email: Email
    password: Password
    name: PersonName

    def __repr__(self) -> str:
        return "RegisterIn(hidden)"


class LoginIn(Struct, frozen=True):
    """An address and a password (S3-27)."""

    email: Annotated[str, Meta(max_length=4096, examples=["ada@example.com"])]
    password: Password

    def __repr__(self) -> str:
        return "LoginIn(hidden)"


class SessionOut(Struct, frozen=True):
    """What registering and signing in answer. `expires_in` is in seconds."""

    access_token: str
    token_type: Literal["bearer"]
    expires_in: int
    user_id: str
    message: str
    user: UserOut

    def __repr__(self) -> str:
        return f"SessionOut(user_id={self.user_id})"
