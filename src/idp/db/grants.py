"""What the service's own role may do, where an owner's role migrates: everything but change a record of the audit.

Given anew at every migration, because a new table is the owner's alone.
"""

from urllib.parse import parse_qs, unquote, urlsplit

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from idp.db.base import SCHEMA
from idp.db.engine import Database

# Rows of these are only ever added. Whoever may do more than that to a table could change its records without a trace.
_APPEND_ONLY = ("audit_logs", "audit_chain")
_READ_ONLY = ("alembic_version",)
_TABLES = text(
    "SELECT c.relname, r.rolname AS owner FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner "
    "WHERE c.relnamespace = CAST(:schema AS regnamespace) AND c.relkind IN ('r', 'p') ORDER BY c.relname"
).bindparams(schema=SCHEMA)


def role_of(url: str) -> str | None:
    """Return the role that an address of a database signs in as, None where it names none."""
    parts = urlsplit(url)
    given = unquote(parts.username) if parts.username else None
    return given or next(iter(parse_qs(parts.query).get("user", ())), None)


async def grant(database: Database, role: str) -> str | None:
    """Let the service's role use the tables, in one transaction.

    Args:
        database: signed in as the owner of the tables.
        role: the role that the service signs in as.

    Returns:
        A sentence for the operator where the role could not be given less than everything.
    """
    async with database.engine.begin() as connection:
        if role == await connection.scalar(text("SELECT current_user")):
            return None
        if not await connection.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}):
            return f"There is no role {role} in the database yet: nothing was granted to it."
        owners = {row.relname: row.owner for row in await connection.execute(_TABLES)}
        if role in owners.values():
            return (
                f"The role {role} owns tables of the service, so it can change the audit log as well: "
                "give them to the owner with REASSIGN OWNED."
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
    # What an earlier version or a hand gave; in the same transaction, so that the running service misses nothing.
    for table in {*_APPEND_ONLY, *_READ_ONLY} & set(tables):
        statements.insert(0, f"REVOKE ALL ON {SCHEMA}.{table} FROM {role}, PUBLIC")
    for statement in statements:
        await connection.execute(text(statement))


def _rights(table: str) -> str:
    if table in _READ_ONLY:
        return "SELECT"
    return "SELECT, INSERT" if table in _APPEND_ONLY else "SELECT, INSERT, UPDATE, DELETE"
