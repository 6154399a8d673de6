"""Reads the tables of an old service, streaming, in one read-only snapshot."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

Row = dict[str, Any]
_PREFETCH = 1000
_TABLES = """
SELECT table_schema, table_name FROM information_schema.tables
 WHERE table_schema NOT IN ('idp', 'pg_catalog', 'information_schema')
 ORDER BY table_schema <> 'public', table_schema
"""


class TableMissing(Exception):
    """The database has no such table, so it is not that of the service."""


class LegacyDatabase:
    """A connection to the database of an old service."""

    def __init__(self, connection: Any, tables: dict[str, str]) -> None:
        self._connection = connection
        self._tables = tables

    def has(self, table: str) -> bool:
        return table in self._tables

    async def rows(self, *names: str) -> AsyncIterator[Row]:
        """Yield the rows of a table; of several names the first that exists.

        Raises:
            TableMissing: none exists.
        """
        found = next((name for name in names if name in self._tables), None)
        if found is None:
            raise TableMissing(names[0])
        query = f"SELECT to_jsonb(t)::text AS row FROM {self._tables[found]} t"  # noqa: S608  quoted names
        async for record in self._connection.cursor(query, prefetch=_PREFETCH):
            yield json.loads(record["row"])


@asynccontextmanager
async def opened(dsn: str, *, schema: str | None = None) -> AsyncIterator[LegacyDatabase]:
    """Connect, and begin a snapshot; nothing is written.

    Args:
        dsn: the URL of the database; SQLAlchemy's names of drivers are accepted.
        schema: where the tables are; default: `public`, else any other.
    """
    connection = await asyncpg.connect(dsn.replace("+asyncpg", "").replace("+psycopg2", "").replace("+psycopg", ""))
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.execute("SET LOCAL timezone = 'UTC'")
            tables: dict[str, str] = {}
            for place, name in await connection.fetch(_TABLES):
                quoted = ".".join('"{}"'.format(each.replace('"', '""')) for each in (place, name))
                if schema in {None, place}:
                    tables.setdefault(name, quoted)
            yield LegacyDatabase(connection, tables)
    finally:
        await connection.close()


def first(row: Row, *names: str) -> Any:
    """Return the first member that is there and not null."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def record(kind: str, **members: Any) -> Row:
    """Return a record without members that are null."""
    return {"kind": kind} | {name: value for name, value in members.items() if value is not None}


Export = Callable[[LegacyDatabase], AsyncIterator[Row]]
