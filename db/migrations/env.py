"""Alembic's environment: uses the given connection (`idp migrate`), or else DATABASE_URL (`alembic revision …`)."""

import asyncio

from alembic import context
from sqlalchemy import Connection, text

from idp import tables
from idp.db.base import SCHEMA
from idp.db.engine import Database
from idp.settings import load


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=tables.METADATA,
        version_table="alembic_version",
        version_table_schema=SCHEMA,
        include_schemas=True,
        include_name=lambda name, kind, _parents: kind != "schema" or name == SCHEMA,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_alone() -> None:
    database = Database(load("production").settings.database, search_path="public")
    async with database.engine.begin() as connection:
        await connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        await connection.run_sync(run)
    await database.close()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    asyncio.run(run_alone())
