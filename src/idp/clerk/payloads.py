"""What Clerk says about a user, in webhooks and in its list: every member but the id is optional."""

import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from msgspec import Struct

from idp.clerk.json_text import text_of
from idp.plain_text import without_unseen
from idp.users.email import parse_email
from idp.users.shapes import AvatarUrl, Plan

_MAX_ID = 255
_MAX_TEXT = 1000
_MAX_NAME = 200
_LATEST = 253_402_300_799_000  # milliseconds, 9999-12-31
_PLANS = ("FREE", "BASIC", "PRO")
_IS_ROLE = re.compile(r"[a-z][a-z0-9._:-]{0,63}").fullmatch


class ClerkProfile(Struct, frozen=True):
    """A user at Clerk.

    Attributes:
        id: Clerk's id.
        updated_at: of this state, in milliseconds since 1970.
        email: the primary address as `parse_email` returns it; None without one, as after a sign-up by phone.
        email_verified: whether Clerk has verified it.
        name: first and last name, else user name, else the local part of the address.
        avatar_url: an https URL.
        plan: `public_metadata.plan` (C-26); None if it names none.
        role: `public_metadata.role`; None if it names none. `unsafe_metadata` is never read: users write it.
        is_banned: by an administrator at Clerk.
        is_locked: after failed sign-ins there.
    """

    id: str
    updated_at: int
    email: str | None = None
    email_verified: bool = False
    name: str | None = None
    avatar_url: str | None = None
    plan: Plan | None = None
    role: str | None = None
    is_banned: bool = False
    is_locked: bool = False


def id_of(data: Mapping[str, Any]) -> str | None:
    """Return the id of the object of a message, None if there is none that can be stored."""
    found = text_of(data.get("id"), max_length=_MAX_ID)
    return found if found is not None and found.isascii() and found.isprintable() else None


def milliseconds(value: object) -> int | None:
    """Return a time of Clerk, None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _LATEST:
        return None
    return int(value)


def profile_of(data: Mapping[str, Any], *, sent_at: int) -> ClerkProfile | None:
    """Return the user of `user.created`, `user.updated` or a list entry; None without a usable id.

    Args:
        data: the object.
        sent_at: the time of the message in milliseconds, where the object has no `updated_at`.
    """
    clerk_id = id_of(data)
    if clerk_id is None:
        return None
    email, is_verified = _primary_email(data)
    metadata = data.get("public_metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    return ClerkProfile(
        id=clerk_id,
        updated_at=milliseconds(data.get("updated_at")) or sent_at,
        email=email,
        email_verified=is_verified,
        name=_name(data) or (email or "").partition("@")[0][:_MAX_NAME] or None,
        avatar_url=_avatar(data.get("image_url")),
        plan=_plan(metadata.get("plan")),
        role=_role(metadata.get("role")),
        is_banned=data.get("banned") is True,
        is_locked=data.get("locked") is True,
    )


def _primary_email(data: Mapping[str, Any]) -> tuple[str | None, bool]:
    """Return the primary address, else the first verified, else the first, and whether it is verified."""
    listed = data.get("email_addresses")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    primary = data.get("primary_email_address_id")
    ordered = [
        *(entry for entry in entries if primary is not None and entry.get("id") == primary),
        *(entry for entry in entries if _is_verified(entry)),
        *entries,
    ]
    for entry in ordered:
        try:
            return parse_email(text_of(entry.get("email_address"), max_length=_MAX_TEXT) or ""), _is_verified(entry)
        except ValueError:
            continue
    return None, False


def _is_verified(entry: Mapping[str, Any]) -> bool:
    verification = entry.get("verification")
    return isinstance(verification, dict) and verification.get("status") == "verified"


def _name(data: Mapping[str, Any]) -> str | None:
    parts = [_line(data.get(member)) for member in ("first_name", "last_name")]
    return " ".join(part for part in parts if part)[:_MAX_NAME].strip() or _line(data.get("username"))


def _line(value: object) -> str:
    return without_unseen(text_of(value, max_length=_MAX_TEXT) or "").strip(" \t\u200c\u200d")[:_MAX_NAME].strip()


def _avatar(value: object) -> str | None:
    try:
        return msgspec.convert(value, AvatarUrl)
    except msgspec.ValidationError:
        return None


def _plan(value: object) -> Plan | None:
    plan = value.upper() if isinstance(value, str) else None
    return cast("Plan", plan) if plan in _PLANS else None


def _role(value: object) -> str | None:
    role = value.lower() if isinstance(value, str) else ""
    return role if _IS_ROLE(role) else None
