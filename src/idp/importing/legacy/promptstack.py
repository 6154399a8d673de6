"""The PromptStack auth service: users, teams, domains and memberships. Its ids stay; addresses were never verified."""

from collections.abc import AsyncIterator

from idp.importing.legacy.database import LegacyDatabase, Row, record

_TEAM = ("id", "name", "external_ref", "is_active")
_DOMAIN = ("id", "key", "name", "parent_domain_id", "is_active")


async def records(database: LegacyDatabase) -> AsyncIterator[Row]:
    """Yield everything that the service stores."""
    async for row in database.rows("users"):
        yield record(
            "user",
            id=str(row["id"]),
            email=row.get("email"),
            name=row.get("name"),
            password_hash=row.get("password_hash"),
            email_verified=False,
            avatar_url=row.get("avatar_url"),
            login_type="email" if row.get("password_hash") else "oidc",
            created_at=row.get("created_at"),
            updated_at=row.get("updated_at"),
        )
    async for row in database.rows("teams"):
        yield record("team", **{name: row.get(name) for name in _TEAM})
    async for row in database.rows("domains"):
        yield record("domain", **{name: row.get(name) for name in _DOMAIN})
    async for row in database.rows("team_memberships"):
        role = row.get("role")
        known = role.lower() if isinstance(role, str) and role.lower() in {"member", "admin"} else None
        yield record("team_membership", id=row["id"], user_id=row["user_id"], team_id=row["team_id"], role=known)
    async for row in database.rows("user_domains"):
        yield record("user_domain", **{name: row[name] for name in ("id", "user_id", "domain_id")})
