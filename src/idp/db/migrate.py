"""Run Alembic migrations, one process at a time."""

import asyncio
import time
from pathlib import Path
from typing import Any

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from idp.db.base import SCHEMA
from idp.db.engine import Database, sqlstate

log = structlog.get_logger(__name__)

_LOCK = 0x1D9_5EED  # arbitrary lock id
_LOCK_MILLISECONDS, _RETRY_SECONDS, _GIVE_UP_SECONDS = 500, 1.0, 300.0
_IN_THE_WAY = frozenset({"55P03", "40P01"})  # lock timeout, deadlock
_VERSIONS = {"version_table": "alembic_version", "version_table_schema": SCHEMA}


def _config() -> Config:
    module = Path(__file__).resolve()
    checkout = module.parents[3] / "db" / "migrations"
    config = Config()
    config.set_main_option("script_location", str(checkout if checkout.is_dir() else module.parents[1] / "_migrations"))
    return config


def head() -> str:
    """Return the newest revision of this version."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection, opts=_VERSIONS).get_current_revision()


async def current(database: Database) -> str | None:
    """Return the database's revision, None if it was never migrated."""
    async with database.engine.connect() as connection:
        return await connection.run_sync(_current)


async def is_empty(database: Database) -> bool:
    """Whether the schema `idp` has no table, so that a migration can lose no data."""
    async with database.engine.connect() as connection:
        tables = text("SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname = :schema").bindparams(schema=SCHEMA)
        return bool(await connection.scalar(tables) == 0)


async def upgrade(database: Database, *, to: str | None = None) -> bool:
    """Migrate the database; concurrent callers wait for each other.

    Args:
        database: the database.
        to: a revision; `head()` by default.

    Returns:
        Whether anything was migrated.

    Raises:
        DBAPIError: among others, another transaction has held a lock for five minutes.
    """
    async with database.engine.connect() as connection:
        await connection.execute(text("SET statement_timeout = 0"))
        await connection.execute(text("SET idle_in_transaction_session_timeout = 0"))
        await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
        await connection.commit()
        try:
            if await connection.run_sync(_current) == (to or head()):
                return False
            await connection.rollback()
            await _upgrade_between_requests(connection, to or "head")
            return True
        finally:
            await connection.rollback()
            await connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
            await connection.commit()
            await connection.invalidate()  # its timeouts are off: do not return it to the pool


async def _upgrade_between_requests(connection: AsyncConnection, revision: str) -> None:
    """Run the migrations in one transaction, again and again while another one is in the way.

    What waits for a table's lock makes every later query on the table wait. So no lock is waited for longer than half a
    second; in between, requests are served. A backup that reads for minutes delays the migration, not the service.
    """
    deadline = time.monotonic() + _GIVE_UP_SECONDS
    while True:
        try:
            await connection.execute(text(f"SET LOCAL lock_timeout = {_LOCK_MILLISECONDS}"))
            await connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
            await connection.run_sync(_upgrade, revision)
            await connection.commit()
        except DBAPIError as error:
            await connection.rollback()
            if sqlstate(error) not in _IN_THE_WAY or time.monotonic() > deadline:
                raise
            log.warning("another transaction is in the way of the migration; trying again")
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return


def _upgrade(connection: Connection, revision: str) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def differences(connection: Connection, metadata: Any) -> list[Any]:
    """Return the differences between the models and the migrated database."""
    from alembic.autogenerate import compare_metadata

    options = {
        **_VERSIONS,
        "include_schemas": True,
        "include_name": lambda name, kind, _parents: kind != "schema" or name == SCHEMA,
        "compare_type": True,
        "compare_server_default": True,
    }
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))
