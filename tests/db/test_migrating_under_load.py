"""`idp migrate` while the service runs: it waits for other transactions, and the service does not wait for it."""

import asyncio
import time

import asyncpg
import pytest

from factories import root_secret
from idp.db import migrate
from idp.db.engine import Database
from idp.dev.embedded import EmbeddedPostgres
from idp.settings import load

pytestmark = pytest.mark.alone


async def test_a_long_read_delays_a_migration_and_not_the_service(postgres: EmbeddedPostgres) -> None:
    """A backup holds a lock on every table; a migration that queued for one would stop all requests until its end."""
    url = postgres.create_database("migrating_under_load")
    database = Database(
        load("production", environ={"DATABASE_URL": url, "IDP_SECRET_KEY": root_secret()}).settings.database
    )
    reader, request = await asyncpg.connect(url), await asyncpg.connect(url)
    try:
        await migrate.upgrade(database, to="0016")
        reading = reader.transaction()
        await reading.start()
        await reader.execute("LOCK idp.users IN ACCESS SHARE MODE")
        migrating = asyncio.create_task(migrate.upgrade(database, to="0017"))  # which alters idp.users
        slowest, until = 0.0, time.monotonic() + 2.5
        while time.monotonic() < until:
            began = time.monotonic()
            await request.fetchval("SELECT count(*) FROM idp.users")
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(0.02)
        assert not migrating.done()
        assert slowest < 1
        await reading.rollback()
        assert await asyncio.wait_for(migrating, 10)
        assert await migrate.current(database) == "0017"
    finally:
        await reader.close()
        await request.close()
        await database.close()


async def test_a_lock_that_is_never_released_is_an_error(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.create_database("never_migrated")
    database = Database(
        load("production", environ={"DATABASE_URL": url, "IDP_SECRET_KEY": root_secret()}).settings.database
    )
    reader = await asyncpg.connect(url)
    try:
        await migrate.upgrade(database, to="0016")
        await reader.execute("BEGIN; LOCK idp.users IN ACCESS SHARE MODE")
        monkeypatch.setattr(migrate, "_GIVE_UP_SECONDS", 0.1)
        with pytest.raises(Exception, match="lock timeout"):
            await migrate.upgrade(database, to="0017")
        assert await migrate.current(database) == "0016"
    finally:
        await reader.close()
        await database.close()
