"""Request and response bodies of sign-up and sign-in. Unknown members are ignored on these old paths (C-16)."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from idp.authn.shapes import Act, UserOut
from idp.plain_text import LINE
from idp.sessions.apps import AppRecord
from idp.sessions.listing import SessionRecord

# The pattern is a rough check; `parse_email` validates.
Email = Annotated[str, Meta(min_length=3, max_length=254, pattern=r"^[^\s\x00-\x1f\x7f]+@[^\s\x00-\x1f\x7f]+(?!\n)$",
                            examples=["ada@example.com"])]  # fmt: skip
PersonName = Annotated[str, Meta(min_length=1, max_length=200, pattern=LINE, examples=["Ada Lovelace"])]
Password = Annotated[str, Meta(max_length=4096, examples=["correct horse battery"])]


DeviceInfo = Annotated[
    dict[str, Any] | Annotated[str, Meta(max_length=1000)] | None,
    Meta(description="Description of the client, an object or a string (C-32)."),
]
RefreshToken = Annotated[str, Meta(min_length=32, max_length=512, examples=["rt_…"])]


class RegisterIn(Struct, frozen=True):
    """A new account (S3-23)."""

    email: Email
    password: Password
    name: PersonName
    device_info: DeviceInfo = None

    def __repr__(self) -> str:
        return "RegisterIn(hidden)"


class LoginIn(Struct, frozen=True):
    """An address and a password (S3-27, S4-10)."""

    email: Annotated[str, Meta(max_length=4096, examples=["ada@example.com"])]
    password: Password
    remember_me: bool = False
    device_info: DeviceInfo = None

    def __repr__(self) -> str:
        return "LoginIn(hidden)"


class RefreshIn(Struct, frozen=True):
    """A refresh token to exchange (S4-19); without one the session cookie is used."""

    refresh_token: RefreshToken | None = None

    def __repr__(self) -> str:
        return "RefreshIn(hidden)"


class LogoutIn(Struct, frozen=True):
    """The session to end, if not that of the credential (S4-17)."""

    refresh_token: RefreshToken | None = None

    def __repr__(self) -> str:
        return "LogoutIn(hidden)"


class SessionOut(Struct, frozen=True):
    """A new or continued session. `expires_in` is the access token's lifetime in seconds.

    With `mode=cookie` a cookie continues the session; `refresh_token` is then null and `csrf_token` is the value for
    the header X-CSRF-Token. Verification returns `password_set`: false if the password was cleared because a stranger
    may have chosen it; `password_cleared` then explains how to set a new one.
    """

    access_token: str
    refresh_token: str | None
    token_type: Literal["bearer"]
    expires_in: int
    user_id: str
    session_id: str
    message: str
    user: UserOut
    csrf_token: str | UnsetType = UNSET
    password_set: bool | UnsetType = UNSET
    password_cleared: str | UnsetType = UNSET

    def __repr__(self) -> str:
        return f"SessionOut(user_id={self.user_id})"


class Message(Struct, frozen=True):
    """The result as a sentence."""

    message: str


class LoggedOut(Struct, frozen=True, omit_defaults=True):
    """The result as a sentence; a browser whose session began at another provider ends that one at `logout_url`."""

    message: str
    logout_url: str | None = None


class CsrfToken(Struct, frozen=True):
    """The value for the header X-CSRF-Token beside the session cookie."""

    csrf_token: str


class AppInfo(Struct, frozen=True):
    """An app that a session signed in to. `sid` is in its ID tokens, and ends it at `/api/auth/sessions/{sid}`.

    `client_name` is null if the client was deleted.
    """

    sid: UUID
    client_id: str
    client_name: str | None
    signed_in_at: datetime
    last_activity: datetime

    @classmethod
    def of(cls, app: AppRecord) -> Self:
        """Return what its user sees of it."""
        return cls(**{name: getattr(app, name) for name in cls.__struct_fields__})


class SessionInfo(Struct, frozen=True):
    """A session (S4-20) and its apps, newest first. `current` marks that of the request.

    `act` is present while an administrator acts as the user in it, for support.
    """

    session_id: UUID
    created_at: datetime
    last_activity: datetime
    expires_at: datetime
    device_info: Any
    user_agent: str | None
    ip_address: str | None
    amr: tuple[str, ...]
    current: bool
    apps: list[AppInfo]
    act: Act | UnsetType = UNSET

    @classmethod
    def of(cls, record: SessionRecord) -> Self:
        """Return what its user sees of it."""
        own = {name: getattr(record, name) for name in cls.__struct_fields__ if name not in {"apps", "act"}}
        act = Act(record.actor_id) if record.actor_id is not None else UNSET
        return cls(**own, apps=[AppInfo.of(each) for each in record.apps], act=act)


class SessionList(Struct, frozen=True):
    """The live sessions of a user, newest first (S4-20)."""

    sessions: list[SessionInfo]
