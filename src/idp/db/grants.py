"""Privileges of the service's role, if an owner role migrates: everything except changing audit records.

Granted at every migration, because the owner owns new tables.
"""

from urllib.parse import parse_qs, unquote, urlsplit

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from idp.db.base import SCHEMA
from idp.db.engine import Database

# Append-only tables: with more privileges the service could change records without a trace.
_APPEND_ONLY = ("audit_logs", "audit_chain")
_READ_ONLY = ("alembic_version",)
_TABLES = text(
    "SELECT c.relname, r.rolname AS owner FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner "
    "WHERE c.relnamespace = CAST(:schema AS regnamespace) AND c.relkind IN ('r', 'p') ORDER BY c.relname"
).bindparams(schema=SCHEMA)


def role_of(url: str) -> str | None:
    """Return the role in a database URL, None if it has none."""
    parts = urlsplit(url)
    given = unquote(parts.username) if parts.username else None
    return given or next(iter(parse_qs(parts.query).get("user", ())), None)


async def grant(database: Database, role: str) -> str | None:
    """Grant the service's role its privileges, in one transaction.

    Args:
        database: connected as the owner of the tables.
        role: the service's role.

    Returns:
        A sentence for the operator if the privileges could not be restricted or granted.
    """
    async with database.engine.begin() as connection:
        if role == await connection.scalar(text("SELECT current_user")):
            return None
        if not await connection.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}):
            return f"The role {role} does not exist: nothing was granted."
        owners = {row.relname: row.owner for row in await connection.execute(_TABLES)}
        if role in owners.values():
            return (
                f"The role {role} owns tables of the service, so it can also change the audit log: "
                "transfer them to the owner with REASSIGN OWNED."
            )
        quoted = await connection.scalar(text("SELECT quote_ident(:role)"), {"role": role})
        await _grant(connection, str(quoted), tables=list(owners))
    return None


async def _grant(connection: AsyncConnection, role: str, *, tables: list[str]) -> None:
    statements = [
        f"GRANT USAGE ON SCHEMA {SCHEMA} TO {role}",
        f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {SCHEMA} TO {role}",
        f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {SCHEMA} TO {role}",
        *(f"GRANT {_rights(table)} ON {SCHEMA}.{table} TO {role}" for table in tables),
    ]
    # Revoke earlier grants in the same transaction, so that the running service is not interrupted.
    for table in {*_APPEND_ONLY, *_READ_ONLY} & set(tables):
        statements.insert(0, f"REVOKE ALL ON {SCHEMA}.{table} FROM {role}, PUBLIC")
    for statement in statements:
        await connection.execute(text(statement))


def _rights(table: str) -> str:
    if table in _READ_ONLY:
        return "SELECT"
    return "SELECT, INSERT" if table in _APPEND_ONLY else "SELECT, INSERT, UPDATE, DELETE"
