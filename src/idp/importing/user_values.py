"""The values of an imported user, checked before they are stored."""

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import get_args

from msgspec import Struct
from msgspec.structs import replace

from idp.importing.batch import Batch
from idp.importing.import_file import Numbered
from idp.importing.records import TotpApp, User
from idp.plain_text import unseen_character, without_unseen
from idp.principal.permissions import ADMIN, USER
from idp.users.email import email_key, parse_email
from idp.users.password_worker import Cost, unverifiable_reason
from idp.users.shapes import Plan

_MIN_TOTP_BYTES = 10  # 80 bits, as some services have
_MAX_NAME = 200  # characters, as in the API
_PLANS = get_args(Plan)
_NO_COST = Cost(1, 8, 1)  # only the absolute limits count


class UserValues(Struct):
    """What is stored of a user."""

    id: str
    email: str | None
    email_key: str | None
    email_verified: bool
    name: str | None
    avatar_url: str | None
    login_type: str
    password_hash: str | None
    plan: str
    is_active: bool
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    imported_from: str
    roles: tuple[str, ...]
    totp: TotpApp | None = None


COLUMNS = tuple(name for name in UserValues.__struct_fields__ if name not in {"roles", "totp"})


class Refused(Exception):
    """A value cannot be stored. The arguments are those of `Batch.conflict`: code, seen, exists, action."""


def values_of(batch: Batch, record: Numbered) -> UserValues:
    """Return what to store.

    Raises:
        Refused: a value is not accepted.
    """
    user = record.record
    assert isinstance(user, User)
    email = _email(user)
    roles = _roles(batch, user, email)
    is_deleted = user.deleted_at is not None
    _remark(batch, user)
    written = min(user.updated_at or batch.exported_at, batch.now)
    return UserValues(
        id=user.id,
        email=email,
        email_key=None if email is None else email_key(email),
        email_verified=user.email_verified and email is not None,
        name=_name(user),
        avatar_url=_avatar(batch, user),
        login_type=user.login_type or ("email" if user.password_hash else "import"),
        password_hash=None if is_deleted else _password_hash(user),
        plan=_plan(user),
        is_active=user.is_active and not is_deleted and not _is_blocked(batch, user),
        created_at=min(user.created_at or written, batch.now),
        updated_at=written,
        deleted_at=user.deleted_at,
        imported_from=batch.source,
        roles=() if is_deleted else roles,
        totp=None if is_deleted else _totp(batch, user),
    )


def _email(user: User) -> str | None:
    if user.email is None or not user.email.strip():
        return None
    try:
        return parse_email(user.email.strip())
    except ValueError as error:
        raise Refused(
            "email_invalid", user.email, f"not an e-mail address: {error}", "correct it, or set it to null"
        ) from None


def _name(user: User) -> str | None:
    name = without_unseen(user.name or "").strip()
    if len(name) > _MAX_NAME:
        raise Refused("name_too_long", f"{len(name)} characters", f"at most {_MAX_NAME}", "shorten the name")
    return name or None


def _avatar(batch: Batch, user: User) -> str | None:
    url = user.avatar_url or None
    if url is None:
        return None
    if not url.startswith(("https://", "http://")) or unseen_character(url):
        batch.report.note("avatar_url left out: it is not an http or https URL")
        return None
    return url


def _password_hash(user: User) -> str | None:
    if not user.password_hash:
        return None
    reason = unverifiable_reason(user.password_hash, _NO_COST)
    if reason is not None:
        scheme = user.password_hash[:7]
        raise Refused(
            "password_refused", f"password_hash {scheme}…", reason, "set it to null; the user then resets the password"
        )
    return user.password_hash


def _totp(batch: Batch, user: User) -> TotpApp | None:
    """Return the authenticator app; a user is never imported without the second factor that they have there."""
    if user.totp is None:
        return None
    secret = "".join(user.totp.secret.split()).replace("-", "").upper().rstrip("=")
    try:
        size = len(base64.b32decode(secret + "=" * (-len(secret) % 8)))
    except ValueError:
        size = 0
    if size < _MIN_TOTP_BYTES:
        expected = f"a base32 secret of {_MIN_TOTP_BYTES} or more bytes"
        raise Refused("totp_refused", "totp.secret", expected, "correct it, or leave totp out if the app is gone")
    if batch.seal is None:
        expected = "IDP_SECRET_KEY of the service, which encrypts it here"
        raise Refused("totp_refused", "totp without a root secret", expected, "set IDP_SECRET_KEY and import again")
    return replace(user.totp, secret=secret)


def _plan(user: User) -> str:
    plan = (user.plan or "FREE").upper()
    if plan not in _PLANS:
        raise Refused("plan_unknown", repr(user.plan), f"known plans: {', '.join(_PLANS)}", "map it to one of them")
    return plan


def _roles(batch: Batch, user: User, email: str | None) -> tuple[str, ...]:
    given = {each for each in (user.role, *user.roles) if each}
    for role in given:
        if unseen_character(role) or role != role.strip():
            raise Refused("role_invalid", repr(role), "one line of visible text", "correct the role")
    roles = {role.lower() if role.lower() in {ADMIN, USER} else role for role in given} or {USER}
    if email is not None and email_key(email) in batch.options.admin_keys:
        if user.email_verified:
            roles.add(ADMIN)
        else:
            text = "--admin-emails: the address is not verified, so its user is not made an administrator"
            batch.report.note(f"{text}: {email}")
    return tuple(sorted(roles))


def _is_blocked(batch: Batch, user: User) -> bool:
    return user.blocked_until is not None and user.blocked_until > batch.now


def _remark(batch: Batch, user: User) -> None:
    if user.phone:
        batch.report.note("phone left out: it is not stored here")
    if _is_blocked(batch, user):
        batch.report.note("blocked_until in the future: imported as disabled; `idp users enable` enables")


def difference(values: UserValues, row: Mapping[str, object]) -> set[str]:
    """Return the names of the members that differ from a stored user, without the times of change."""
    compared = set(COLUMNS) - {"id", "created_at", "updated_at", "email_key", "imported_from"}
    changed = {name for name in compared if getattr(values, name) != row[name]}
    stored = row["roles"]
    assert isinstance(stored, list)
    return changed | ({"roles"} if set(values.roles) != set(stored) else set())
