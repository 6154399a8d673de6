"""Supabase: the table `auth.users` as CSV (`COPY (SELECT * FROM auth.users) TO STDOUT CSV HEADER`), bcrypt.

Identities at other providers are in `auth.identities`, which is not read; such users sign in with their address.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from idp.importing.readers import Row, Warn, record
from idp.importing.readers.csv_file import rows


def records(paths: Sequence[Path], warn: Warn) -> Iterator[Row]:
    """Yield users of CSV files."""
    for path in paths:
        for row in rows(path, "id", "email", "encrypted_password"):
            if (user := user_of(row, warn)) is not None:
                yield user


def user_of(row: Mapping[str, Any], warn: Warn) -> Row | None:
    """Return the user of a row of `auth.users`, None for an anonymous one."""
    if str(row.get("is_anonymous")).lower() in {"t", "true"}:
        warn(f"{row['id']}: an anonymous user is left out")
        return None
    profile = _object(row.get("raw_user_meta_data"))
    return record(
        "user",
        id=row["id"],
        email=row.get("email") or None,
        name=profile.get("full_name") or profile.get("name"),
        password_hash=row.get("encrypted_password") or None,
        email_verified=bool(row.get("email_confirmed_at") or row.get("confirmed_at")),
        avatar_url=profile.get("avatar_url") or profile.get("picture"),
        phone=row.get("phone") or None,
        blocked_until=_time(row.get("banned_until")),
        created_at=_time(row.get("created_at")),
        updated_at=_time(row.get("updated_at")),
        deleted_at=_time(row.get("deleted_at")),
    )


def _object(value: Any) -> dict[str, Any]:
    """Return the user's own metadata, which gives a name and a picture but no rights."""
    found = json.loads(value) if isinstance(value, str) and value else value
    return {name: each for name, each in found.items() if isinstance(each, str)} if isinstance(found, dict) else {}


def _time(value: str | None) -> str | None:
    """Return a time as PostgreSQL's CSV has it (`2026-01-02 03:04:05.6+00`) in RFC 3339."""
    if not value:
        return None
    text = value.replace(" ", "T", 1)
    return f"{text}:00" if len(text) > 3 and text[-3] in "+-" else text
