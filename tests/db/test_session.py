"""The session is what we need it to be, whatever ALTER ROLE and ALTER DATABASE say (decision 0028)."""

import asyncio

import pytest
from sqlalchemy import text

from db.test_pgbouncer import BAD_DEFAULTS, spoil
from factories import prepare, running
from idp.db.engine import Database
from idp.db.reads import Reads
from idp.dev.embedded import EmbeddedPostgres
from idp.errors import DatabaseUnavailable
from idp.settings import load


async def test_no_default_of_the_database_changes_what_the_service_does(postgres: EmbeddedPostgres) -> None:
    """Line 7: eight refreshes of one token at once were four times 500 under repeatable read."""
    url = postgres.create_database("bad_defaults")
    await prepare(load("production", environ={"DATABASE_URL": url}))
    await spoil(url)
    async with running(url, profile="production", migrate=False) as service:
        person = await service.register()
        answers = await asyncio.gather(*(service.refresh(person.refresh_token) for _ in range(8)))
        assert {answer.status_code for answer in answers} == {200}
        async with service.app.parts.database.transaction() as session:
            for name in BAD_DEFAULTS:
                shown = await session.scalar(text(f"SHOW {name.removeprefix('default_')}"))
                assert shown != BAD_DEFAULTS[name], name
        row = await service.app.parts.database.reads.fetchrow(
            "SELECT current_setting('transaction_isolation') AS isolation, current_setting('TimeZone') AS zone"
        )
        assert (row["isolation"], row["zone"]) == ("read committed", "UTC")


async def _reads(url: str) -> tuple[Database, Reads]:
    database = Database(load("production", environ={"DATABASE_URL": url}).settings.database)
    return database, database.reads


async def test_a_deadlock_is_tried_again_within_a_bound_and_then_503(postgres: EmbeddedPostgres) -> None:
    """Line 7: what PostgreSQL rolled back may succeed at the next attempt; for ever it is no use."""
    database, reads = await _reads(postgres.create_database("in_the_way"))
    await reads.fetch("CREATE SEQUENCE attempts")
    await reads.fetch(
        "CREATE FUNCTION in_the_way(state text, times bigint) RETURNS bigint LANGUAGE plpgsql AS $$ "
        "DECLARE n bigint := nextval('attempts'); BEGIN "
        "IF n % 10 <= times AND n % 10 > 0 THEN RAISE EXCEPTION 'x' USING ERRCODE = state; END IF; RETURN n; END $$"
    )
    for state in ("40001", "40P01"):
        await reads.fetch("SELECT setval('attempts', 10)")
        row = await reads.fetchrow("SELECT in_the_way($1, 2) AS n", state)
        assert row["n"] == 13, "the third attempt"
        await reads.fetch("SELECT setval('attempts', 20)")
        with pytest.raises(DatabaseUnavailable):
            await reads.fetch("SELECT in_the_way($1, 9)", state)
        with pytest.raises(DatabaseUnavailable):
            async with database.transaction() as session:
                await session.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$"))
    await database.close()
