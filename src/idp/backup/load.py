"""Loads a backup into an empty schema of the same revision."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from idp.backup.dump import LEFT_OUT, Summary
from idp.backup.records import Data, End, EndOfTable, Head, Record, Table
from idp.backup.sealed_file import UnreadableBackup
from idp.db.base import SCHEMA
from idp.db.engine import Database

_TABLES = "SELECT relname FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind = 'r' AND relname <> ALL($2)"
_REFERENCES = """
SELECT c.conrelid::regclass::text AS of_table, conname AS name, pg_get_constraintdef(c.oid) AS definition
  FROM pg_constraint c WHERE c.connamespace = $1::regnamespace AND c.contype = 'f'
"""
_SEQUENCES = """
SELECT c.relname AS table, a.attname AS column, pg_get_serial_sequence($1 || '.' || c.relname, a.attname) AS sequence
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
 WHERE c.relnamespace = $1::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
   AND pg_get_serial_sequence($1 || '.' || c.relname, a.attname) IS NOT NULL
"""


def read_head(records: Iterator[Record]) -> Head:
    """Return the first record.

    Raises:
        UnreadableBackup: it is not a head.
    """
    head = next(records, None)
    if not isinstance(head, Head):
        raise UnreadableBackup("The backup is damaged: it has no head.")
    return head


def skim(records: Iterator[Record]) -> Summary:
    """Read everything without a database; raises UnreadableBackup."""
    head, rows, name = read_head(records), dict[str, int](), ""
    for record in records:
        if isinstance(record, Table):
            name = record.name
        elif isinstance(record, EndOfTable):
            rows[name] = record.rows
    return Summary(head.revision, head.created_at, rows)


async def load(database: Database, records: Iterator[Record], head: Head) -> Summary:
    """Load the rows into the migrated, otherwise unused schema, in one transaction.

    References are removed meanwhile and added again at the end, which checks them all.

    Args:
        database: connected as the owner of the tables.
        records: after the head.
        head: of the backup.

    Raises:
        UnreadableBackup: the backup is damaged or does not fit the schema; nothing was loaded.
        DatabaseUnavailable: PostgreSQL is unavailable.
    """
    connection = await database.connect_directly()
    try:
        await connection.execute("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")
        async with connection.transaction():
            tables = [row["relname"] for row in await connection.fetch(_TABLES, SCHEMA, list(LEFT_OUT))]
            references = await connection.fetch(_REFERENCES, SCHEMA)
            await _prepare(connection, tables, references)
            rows = await _load_tables(connection, records, set(tables))
            await _finish(connection, tables, references)
    finally:
        connection.terminate()
    return Summary(head.revision, head.created_at, rows)


async def _prepare(connection: Any, tables: list[str], references: list[Any]) -> None:
    for each in references:
        await connection.execute(f'ALTER TABLE {each["of_table"]} DROP CONSTRAINT "{each["name"]}"')
    for name in tables:
        await connection.execute(f'ALTER TABLE {SCHEMA}."{name}" DISABLE TRIGGER USER')
    await connection.execute("TRUNCATE " + ", ".join(f'{SCHEMA}."{name}"' for name in tables))


async def _load_tables(connection: Any, records: Iterator[Record], tables: set[str]) -> dict[str, int]:
    rows: dict[str, int] = {}
    for record in records:
        if isinstance(record, End):
            if record.tables != len(rows):
                raise UnreadableBackup("The backup is damaged: tables are missing.")
            continue
        if not isinstance(record, Table) or record.name not in tables:
            raise UnreadableBackup(f"The backup does not fit the schema: {type(record).__name__} is unexpected.")
        rows[record.name] = await _load_table(connection, record, records)
    return rows


async def _load_table(connection: Any, table: Table, records: Iterator[Record]) -> int:
    expected = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal expected
        for record in records:
            if isinstance(record, EndOfTable):
                expected = record.rows
                return
            if not isinstance(record, Data):
                break
            yield record.data
        raise UnreadableBackup(f"The backup is damaged: the rows of {table.name} do not end.")

    status = await connection.copy_to_table(
        table.name, schema_name=SCHEMA, columns=table.columns, source=pieces(), format="binary"
    )
    loaded = int(status.split()[-1])
    if loaded != expected:
        raise UnreadableBackup(f"The backup is damaged: {table.name} has {loaded} of {expected} rows.")
    return loaded


async def _finish(connection: Any, tables: list[str], references: list[Any]) -> None:
    for row in await connection.fetch(_SEQUENCES, SCHEMA):
        table, column = row["table"], row["column"]
        greatest = f'SELECT coalesce(max("{column}"), 0) + 1 FROM {SCHEMA}."{table}"'  # noqa: S608  names of the catalogue
        await connection.execute(f"SELECT setval($1::text::regclass, ({greatest}), false)", row["sequence"])
    for name in tables:
        await connection.execute(f'ALTER TABLE {SCHEMA}."{name}" ENABLE TRIGGER USER')
    for each in references:
        await connection.execute(f'ALTER TABLE {each["of_table"]} ADD CONSTRAINT "{each["name"]}" {each["definition"]}')
