"""The change log on PostgreSQL: no change is missed while it is turned on, and none after it was turned off (0052)."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from factories import prepare
from idp.db import polling
from idp.db.engine import Database
from idp.db.polling import CHANGE_LOG, ChangePoller
from idp.db.snapshot import STAMP, Stamp
from idp.dev.embedded import EmbeddedPostgres
from idp.settings import load

NAME = "credential:attacked"
ANNOUNCE = f"SELECT idp.announce('{NAME}')"  # what the triggers call


@pytest.fixture
async def url(postgres: EmbeddedPostgres) -> str:
    url = postgres.create_database(f"polling_{uuid7().hex}")
    await prepare(load("production", environ={"DATABASE_URL": url}))
    return url


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = Database(load("production", environ={"DATABASE_URL": url}).settings.database)
    yield database
    await database.close()


@pytest.fixture
def poller(database: Database) -> ChangePoller:
    return ChangePoller(database, seconds=0.25, floor_seconds=60)


async def read(database: Database) -> Stamp:
    row = await database.reads.fetchrow(f"SELECT {STAMP}")
    return Stamp.parse(row["instance"], row["snapshot"])


async def test_a_revocation_that_ran_while_the_log_was_turned_on_is_not_missed(
    url: str, database: Database, poller: ChangePoller
) -> None:
    """Its number is greater than the switch's, which it did not see: it is in no log."""
    switch, revocation = await asyncpg.connect(url), await asyncpg.connect(url)
    try:
        async with revocation.transaction():
            async with switch.transaction():
                await switch.fetch(polling._TURN_ON, CHANGE_LOG)
                await revocation.fetch(ANNOUNCE)
            await poller._poll()
            stamp = await read(database)
            assert not poller.changes.still_holds(stamp, [NAME]), "the revocation is under way, and not in the log"
        for _ in range(3):
            await poller._poll()
        assert not poller.changes.still_holds(stamp, [NAME])
        assert poller.changes.still_holds(await read(database), [NAME])
    finally:
        await switch.close()
        await revocation.close()


async def test_a_poller_notices_that_the_log_was_turned_off(url: str, database: Database, poller: ChangePoller) -> None:
    """By hand, or by a restore of a backup from before: without the log it would accept revoked keys for ever."""
    for _ in range(3):
        await poller._poll()
    stamp = await read(database)
    assert poller.changes.still_holds(stamp, [NAME])
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("DELETE FROM idp.installation WHERE name = $1", CHANGE_LOG)
        await connection.fetch(ANNOUNCE)
    finally:
        await connection.close()
    await poller._poll()
    assert not poller.changes.still_holds(stamp, [NAME])
