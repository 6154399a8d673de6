"""The Anomalyze auth service (Prisma): users by Clerk's id, their plans, API keys and audit records."""

from collections.abc import AsyncIterator

from idp.importing.legacy.database import LegacyDatabase, Row, first, record

_RUNNING = {"ACTIVE", "TRIALING"}


async def records(database: LegacyDatabase) -> AsyncIterator[Row]:
    """Yield everything that the service stores."""
    plans = await _plans(database)
    async for row in database.rows("users", "User"):
        yield _user(row, plans)
        if row["id"].startswith("user_") and first(row, "deletedAt") is None:
            yield record("identity", user_id=row["id"], provider="clerk", subject=row["id"])
    if database.has("api_keys") or database.has("ApiKey"):
        async for row in database.rows("api_keys", "ApiKey"):
            yield _api_key(row)
    if database.has("audit_logs") or database.has("AuditLog"):
        async for row in database.rows("audit_logs", "AuditLog"):
            yield _audit(row)


async def _plans(database: LegacyDatabase) -> dict[str, str]:
    """Return the plan of each user with a running subscription."""
    if not (database.has("subscriptions") or database.has("Subscription")):
        return {}
    return {
        first(row, "userId", "user_id"): row["plan"]
        async for row in database.rows("subscriptions", "Subscription")
        if str(row.get("status", "")).upper() in _RUNNING and row.get("plan")
    }


def _user(row: Row, plans: dict[str, str]) -> Row:
    return record(
        "user",
        id=row["id"],
        email=row.get("email"),
        name=row.get("name"),
        email_verified=False,  # the service took the first address, verified or not; `idp clerk repair` knows
        role=str(row.get("role") or "user").lower(),
        plan=plans.get(row["id"], "FREE"),
        avatar_url=first(row, "avatarUrl", "imageUrl", "avatar_url"),
        login_type="clerk",
        is_active=row.get("isActive", True) is not False,
        created_at=first(row, "createdAt"),
        updated_at=first(row, "updatedAt"),
        deleted_at=first(row, "deletedAt"),
    )


def _api_key(row: Row) -> Row:
    return record(
        "api_key",
        id=row["id"],
        user_id=row["userId"],
        name=row["name"],
        key_prefix=row["keyPrefix"],
        key_hash=row["keyHash"],
        scopes=row.get("scopes") or [],
        last_used_at=row.get("lastUsedAt"),
        expires_at=row.get("expiresAt"),
        is_revoked=bool(first(row, "isRevoked", "revokedAt")),
        created_at=row.get("createdAt"),
    )


def _audit(row: Row) -> Row:
    return record(
        "audit",
        id=row["id"],
        user_id=row.get("userId"),
        action=row["action"],
        details=row.get("details"),
        ip_address=row.get("ipAddress"),
        user_agent=row.get("userAgent"),
        timestamp=first(row, "timestamp", "createdAt"),
    )
