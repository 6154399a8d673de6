"""Request and response bodies of passkeys."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from idp.accounts.shapes import DeviceInfo, SessionOut
from idp.plain_text import LINE
from idp.users.factors.passkeys import Passkey

PasskeyName = Annotated[str, Meta(min_length=1, max_length=100, pattern=LINE, examples=["Laptop"])]
BrowserCredential = Annotated[
    dict[str, Any],
    Meta(
        description="What `navigator.credentials` returned, as its `toJSON()` (WebAuthn Level 3 section 5.1).",
        examples=[{"id": "…", "rawId": "…", "type": "public-key", "response": {"clientDataJSON": "…"}}],
    ),
]


class NewPasskey(Struct, frozen=True, forbid_unknown_fields=True):
    """A passkey to register."""

    credential: BrowserCredential
    name: PasskeyName = "Passkey"


class PasskeyChange(Struct, frozen=True, forbid_unknown_fields=True):
    """A passkey's new name."""

    name: PasskeyName


class PasskeyLogin(Struct, frozen=True, forbid_unknown_fields=True):
    """A sign-in with a passkey, without a name."""

    credential: BrowserCredential
    remember_me: bool = False
    device_info: DeviceInfo = None


class PasskeyList(Struct, frozen=True):
    """The passkeys of a user, oldest first, and what browsers need to forget removed ones (WebAuthn Signal API).

    `user_handle` is base64url, null without a passkey.
    """

    passkeys: list[Passkey]
    user_handle: str | None
    rp_id: str


class PasskeyRegistered(Struct, frozen=True):
    """The passkey is registered. `recovery_codes` are shown once, and empty if there were some; `session` replaces that
    of the request, and is null for a caller without one.
    """

    passkey: Passkey
    recovery_codes: list[str]
    session: SessionOut | None


class WebAuthnOptions(Struct, frozen=True, rename="camel"):
    """Options for `navigator.credentials.create` or `get`: pass `publicKey` through its `parse…OptionsFromJSON`."""

    public_key: dict[str, Any]
