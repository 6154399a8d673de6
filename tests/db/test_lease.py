"""Leases: one holder at a time, and none that was paused or killed can commit afterwards (decision 0040)."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text
from uuid_utils.compat import uuid7

from db.pgbouncer_support import needs_pgbouncer, pgbouncer
from factories import prepare
from idp.db.engine import Database
from idp.db.lease import Lease, LeaseLost
from idp.dev.embedded import EmbeddedPostgres
from idp.settings import load

SECONDS = 0.3


@pytest.fixture(scope="module")
async def url(postgres: EmbeddedPostgres) -> str:
    url = postgres.create_database(f"lease_{uuid7().hex}")
    await prepare(load("production", environ={"DATABASE_URL": url}))
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE idp.written (holder text, token bigint, at serial)")
    await connection.close()
    return url


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = open_database(url)
    yield database
    await database.close()


def open_database(url: str) -> Database:
    return Database(load("production", environ={"DATABASE_URL": url}).settings.database)


def lease(name: str = "") -> tuple[Lease, Lease]:
    """Return the same lease as two holders see it."""
    name = name or uuid7().hex
    return Lease(name, seconds=SECONDS), Lease(name, seconds=SECONDS)


async def take(database: Database, held: Lease) -> int | None:
    async with database.transaction() as session:
        return await held.take(session)


async def write_fenced(database: Database, held: Lease, token: int) -> None:
    async with database.transaction() as session:
        await session.execute(text("INSERT INTO idp.written (holder) VALUES ('paused')"))
        await held.check(session, token)


async def test_of_two_holders_one_has_it_until_it_ends(database: Database) -> None:
    """The token rises with each change of the holder, and never otherwise."""
    first, second = lease()
    assert await take(database, first) == 1
    assert await take(database, second) is None
    assert await take(database, first) == 1
    await asyncio.sleep(SECONDS + 0.05)
    assert await take(database, second) == 2
    assert await take(database, first) is None
    await second.release(database)
    assert await take(database, first) == 3


async def test_renewing_keeps_it(database: Database) -> None:
    first, second = lease()
    until = time.monotonic() + 3 * SECONDS
    while time.monotonic() < until:
        assert await take(database, first) == 1
        assert await take(database, second) is None
        await asyncio.sleep(SECONDS / 10)


async def test_a_paused_holder_is_fenced(database: Database) -> None:
    """It comes back after another one took over, and commits nothing: not even what it had begun to write."""
    first, second = lease()
    token = await take(database, first)
    assert token == 1
    await asyncio.sleep(SECONDS + 0.05)  # paused
    assert await take(database, second) == 2
    with pytest.raises(LeaseLost):
        await write_fenced(database, first, token)
    async with database.transaction() as session:
        assert await session.scalar(text("SELECT count(*) FROM idp.written WHERE holder = 'paused'")) == 0


async def test_an_expired_lease_that_nobody_took_still_fences_correctly(database: Database) -> None:
    """The token decides, not the time: a slow transaction commits before the takeover, which waits for it."""
    first, second = lease()
    token = await take(database, first)
    assert token is not None
    await asyncio.sleep(SECONDS + 0.05)
    async with database.transaction() as session:
        await first.check(session, token)
        taking = asyncio.create_task(take(database, second))
        await asyncio.sleep(0.1)
        assert not taking.done(), "a takeover waits for the transaction of the former holder"
        await session.execute(text("INSERT INTO idp.written (holder) VALUES ('slow')"))
    assert await taking == 2
    with pytest.raises(LeaseLost):
        await write_fenced(database, first, token)


async def test_a_killed_holder_is_replaced_after_the_lease(url: str, database: Database) -> None:
    first, second = lease()
    other = open_database(url)
    assert await take(other, first) == 1
    await other.close()  # without a release
    began = time.monotonic()
    while await take(database, second) is None:
        assert time.monotonic() - began < 20 * SECONDS
        await asyncio.sleep(0.02)
    assert time.monotonic() - began > SECONDS / 2


async def _compete(database: Database, held: Lease, stop: asyncio.Event) -> None:
    while not stop.is_set():
        async with database.transaction() as session:
            token = await held.take(session)
            if token is not None:
                values = {"holder": held.name, "token": token}
                await session.execute(text("INSERT INTO idp.written (holder, token) VALUES (:holder, :token)"), values)
        await asyncio.sleep(0.005 if token else 0.02)
        if token and time.monotonic_ns() % 5 == 0:
            await asyncio.sleep(1.3 * SECONDS)  # pauses beyond its lease


@needs_pgbouncer
async def test_tokens_never_fall_behind_pgbouncer_in_transaction_mode(url: str, tmp_path: Path) -> None:
    """Six holders that pause; a session lock would be lost between two of a holder's transactions."""
    name = uuid7().hex
    with pgbouncer(url, tmp_path / "bouncer", default_pool_size="3") as pooled:
        database, stop = open_database(pooled), asyncio.Event()
        tasks = [asyncio.create_task(_compete(database, Lease(name, seconds=SECONDS), stop)) for _ in range(6)]
        await asyncio.sleep(4)
        stop.set()
        await asyncio.gather(*tasks)
        async with database.transaction() as session:
            written = text("SELECT token FROM idp.written WHERE holder = :name ORDER BY at")
            tokens = list(await session.scalars(written, {"name": name}))
        await database.close()
    assert tokens == sorted(tokens)
    assert len(set(tokens)) > 2, "the lease changed hands"
