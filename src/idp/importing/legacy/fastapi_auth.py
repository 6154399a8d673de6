"""The FastAPI auth service: users and pending links. Sessions and refresh tokens are not exported.

`is_active` meant that the address was verified. An inactive user with an unused link is one who has not verified yet;
another one was disabled, and stays so.
"""

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from idp.importing.legacy.database import LegacyDatabase, Row, first, record

_TABLES = {
    "email_verification": ("email_verifications", "email_verification_tokens"),
    "password_reset": ("password_resets", "password_reset_tokens"),
}
_USED = ("used", "is_used", "used_at", "verified", "is_verified", "verified_at", "consumed_at")


async def records(database: LegacyDatabase) -> AsyncIterator[Row]:
    """Yield everything that the service stores."""
    pending = [row async for row in _pending(database)]
    unverified = {row["user_id"] for row in pending if row["type"] == "email_verification"}
    async for row in database.rows("users"):
        user_id, is_active = str(first(row, "id", "user_id")), row.get("is_active") is not False
        yield record(
            "user",
            id=user_id,
            email=row.get("email"),
            name=row.get("name"),
            password_hash=first(row, "password_hash", "hashed_password"),
            email_verified=is_active,
            roles=row.get("roles") if isinstance(row.get("roles"), list) else None,
            phone=row.get("phone"),
            login_type=row.get("login_type") or "email",
            is_active=is_active or user_id in unverified,
            blocked_until=row.get("blocked_until"),
            created_at=row.get("created_at"),
            updated_at=row.get("updated_at"),
        )
    for row in pending:
        yield row


async def _pending(database: LegacyDatabase) -> AsyncIterator[Row]:
    for type_, tables in _TABLES.items():
        if not any(database.has(table) for table in tables):
            continue
        async for row in database.rows(*tables):
            if not any(row.get(name) for name in _USED) and not _is_past(row["expires_at"]):
                digest = hashlib.sha256(row["token"].encode()).hexdigest()
                user_id = str(row["user_id"])
                yield record(
                    "pending_token", type=type_, token_hash=digest, user_id=user_id, expires_at=row["expires_at"]
                )


def _is_past(text: str) -> bool:
    time = datetime.fromisoformat(text)
    return (time.replace(tzinfo=UTC) if time.tzinfo is None else time) <= datetime.now(UTC)
