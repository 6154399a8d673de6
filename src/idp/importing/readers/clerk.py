"""Clerk: the CSV of "Export all users" in the dashboard, with bcrypt digests. The ids stay."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from idp.importing.readers import Row, Warn, joined, record
from idp.importing.readers.csv_file import rows

_VERIFIABLE = ("$2a$", "$2b$", "$2y$", "$argon2")


def records(paths: Sequence[Path], warn: Warn) -> Iterator[Row]:
    """Yield users, and their identities at Clerk."""
    for path in paths:
        for row in rows(path, "id", "primary_email_address", "password_digest"):
            yield _user(row, warn)
            yield record("identity", user_id=row["id"], provider="clerk", subject=row["id"])


def _user(row: dict[str, str], warn: Warn) -> Row:
    email, digest = row["primary_email_address"], row["password_digest"]
    if digest and not digest.startswith(_VERIFIABLE):
        warn(f"{row['id']}: the password is left out: {row.get('password_hasher') or 'its hash'} is not supported")
        digest = ""
    verified = {each.strip() for each in row.get("verified_email_addresses", "").replace("|", ",").split(",")}
    return record(
        "user",
        id=row["id"],
        email=email or None,
        name=joined(row.get("first_name"), row.get("last_name")) or row.get("username") or None,
        password_hash=digest or None,
        email_verified=bool(email) and email in verified,
        phone=row.get("primary_phone_number") or None,
        login_type="clerk",
    )
