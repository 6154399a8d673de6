"""Auth0: NDJSON of the user export job, and of the password export that Auth0's support makes (bcrypt).

Give both files: the lines of a user are joined by id.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from idp.importing.readers import KNOWN_ISSUERS, BadExport, Row, Warn, record

_DATABASE = "auth0"  # the provider of users with a password


def records(paths: Sequence[Path], warn: Warn) -> Iterator[Row]:
    """Yield users and identities."""
    users: dict[str, Row] = {}
    for path in paths:
        for line in _lines(path):
            user_id = _id(line)
            if user_id is None:
                raise BadExport(f"{path} has a line without user_id and _id: {str(line)[:80]}")
            users[user_id] = users.get(user_id, {}) | line
    for user_id, user in users.items():
        yield _user(user_id, user)
        yield from _identities(user_id, user, warn)


def _lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise BadExport(f"{path}, line {number} is not JSON: {error}") from None
            if not isinstance(row, dict):
                raise BadExport(f"{path}, line {number} is not an object")
            yield row


def _id(line: Row) -> str | None:
    """Return the user id; the password export has only the part after `auth0|`, as MongoDB writes ids."""
    if isinstance(line.get("user_id"), str):
        return str(line["user_id"])
    given = line.get("_id")
    plain = given.get("$oid") if isinstance(given, dict) else given
    return f"{_DATABASE}|{plain}" if isinstance(plain, str) else None


def _user(user_id: str, user: Row) -> Row:
    return record(
        "user",
        id=user_id,
        email=user.get("email"),
        name=user.get("name") or user.get("nickname"),
        password_hash=user.get("passwordHash"),
        email_verified=bool(user.get("email_verified")),
        avatar_url=user.get("picture"),
        is_active=not user.get("blocked"),
        created_at=user.get("created_at"),
        updated_at=user.get("updated_at"),
    )


def _identities(user_id: str, user: Row, warn: Warn) -> Iterator[Row]:
    for each in user.get("identities") or []:
        if each.get("provider") == _DATABASE:
            continue
        issuer = KNOWN_ISSUERS.get(each.get("provider", ""))
        if issuer is None:
            warn(f"{user_id}: the identity at {each.get('provider')} is left out: its issuer is not known")
        else:
            yield record("identity", user_id=user_id, provider=issuer, subject=str(each["user_id"]))
