"""The AMPLIfy auth service: `tokens` and `token_scopes`. Its hashes are copied, so raw tokens keep working."""

from collections import defaultdict
from collections.abc import AsyncIterator

from idp.importing.legacy.database import LegacyDatabase, Row, first, record


async def records(database: LegacyDatabase) -> AsyncIterator[Row]:
    """Yield the service tokens."""
    scopes: defaultdict[str, list[str]] = defaultdict(list)
    async for row in database.rows("token_scopes"):
        scopes[str(row["token_id"])].append(first(row, "scope", "scope_name", "name"))
    async for row in database.rows("tokens"):
        token_id = str(first(row, "token_id", "id"))
        yield record(
            "token",
            token_id=token_id,
            token_hash=row["token_hash"],
            name=row["name"],
            scopes=sorted(scopes[token_id]),
            created_at=row.get("created_at"),
            expires_at=row.get("expires_at"),
            revoked=bool(row.get("revoked")),
            revoked_at=row.get("revoked_at"),
            metadata=first(row, "metadata", "token_metadata", "meta") or {},
        )
