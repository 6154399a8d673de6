"""Reads all tables in one snapshot."""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from idp import __version__, clock
from idp.backup.records import FORMAT, Data, End, EndOfTable, Head, Table, write_record
from idp.db import installation
from idp.db.base import SCHEMA
from idp.db.engine import Database

# Not part of a backup: its revision is in the head, and what else is there belongs to running processes.
LEFT_OUT = ("alembic_version", "change_log", "leases")
_TABLES = """
SELECT c.relname AS name, array_agg(a.attname::text ORDER BY a.attnum) AS columns
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
 WHERE c.relnamespace = $1::regnamespace AND c.relkind = 'r' AND c.relname <> ALL($2)
   AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
 GROUP BY c.relname ORDER BY c.relname
"""
_REVISION = f"SELECT version_num FROM {SCHEMA}.alembic_version"  # noqa: S608  constant
_MARK = """
INSERT INTO idp.installation (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""


class Summary(Struct, frozen=True):
    """What a backup contains.

    Attributes:
        revision: of the schema.
        created_at: when the snapshot was taken (RFC 3339).
        rows: by table.
    """

    revision: str
    created_at: str
    rows: dict[str, int]


async def dump(database: Database, write: Callable[[bytes], object]) -> Summary:
    """Write every table.

    Args:
        database: connected directly, not through a statement pooler.
        write: receives the content of the backup.

    Raises:
        DatabaseUnavailable: PostgreSQL is unavailable.
    """
    connection = await database.connect_directly()
    try:
        await connection.execute("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return await _dump(connection, write)
    finally:
        connection.terminate()


async def _dump(connection: Any, write: Callable[[bytes], object]) -> Summary:
    revision = str(await connection.fetchval(_REVISION))
    created_at = clock.now().isoformat()
    write_record(write, Head(FORMAT, __version__, revision, created_at))

    async def add(data: bytes) -> None:
        write_record(write, Data(data))

    rows: dict[str, int] = {}
    for table in await connection.fetch(_TABLES, SCHEMA, list(LEFT_OUT)):
        name, columns = table["name"], table["columns"]
        write_record(write, Table(name, tuple(columns)))
        status = await connection.copy_from_table(
            name, schema_name=SCHEMA, columns=columns, output=add, format="binary"
        )
        rows[name] = int(status.split()[-1])
        write_record(write, EndOfTable(rows[name]))
    write_record(write, End(len(rows)))
    return Summary(revision, created_at, rows)


async def mark_backed_up(database: Database, created_at: str) -> None:
    """Remember the time of the backup, for `idp doctor`. Raises DatabaseUnavailable."""
    await database.reads.fetch(_MARK, installation.BACKUP, created_at)
