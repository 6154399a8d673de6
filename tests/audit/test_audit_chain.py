"""The hash chain of audit records: one chain, complete within a second; changed records are detected."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from idp.audit import links
from idp.audit.chain import Chain
from idp.audit.links import Link
from idp.audit.models import AuditRow
from idp.audit.record import SYSTEM, record
from idp.audit.verify import Findings, verify
from idp.db.engine import Database
from idp.dev.embedded import EmbeddedPostgres
from idp.settings import load
from prepared_databases import prepare


class World:
    """A migrated database, and as many processes' worth of connections to it as a test wants."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._settings = load("production", environ={"DATABASE_URL": url}).settings
        self._open: list[Database] = []

    def database(self) -> Database:
        self._open.append(Database(self._settings.database))
        return self._open[-1]

    async def close(self) -> None:
        for each in self._open:
            await each.close()

    async def sql(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetch(statement, *values)
        finally:
            await connection.close()

    async def write(self, number: int) -> list[UUID]:
        """Write records, each in a transaction of its own; return their ids in the order they were written."""
        database = self.database()
        for place in range(number):
            await write_one(database, f"test.{place}")
        rows = await self.sql("SELECT id FROM idp.audit_logs ORDER BY timestamp DESC, id DESC LIMIT $1", number)
        return [row["id"] for row in reversed(rows)]

    async def chain_all(self) -> None:
        chain = Chain(self.database())
        while await chain.extend():
            pass
        await chain.stop()

    async def verified(self, noted: Link | None = None) -> Findings:
        return await verify(self.database(), expected=noted)

    async def chained(self, number: int) -> tuple[list[UUID], Link]:
        """Write and chain records; return their ids and the head."""
        ids = await self.write(number)
        await self.chain_all()
        found = await self.verified()
        assert (found.problem, found.unlinked) == (None, 0)
        assert found.head is not None
        assert found.head.seq == number
        return ids, found.head


async def write_one(database: Database, action: str = "test.done") -> None:
    async with database.transaction() as session:
        record(session, SYSTEM, action=action, user_id="somebody", details={"was": [1.50, None, "é"]})


@pytest.fixture
async def world(postgres: EmbeddedPostgres) -> AsyncIterator[World]:
    url = postgres.create_database(f"chain_{uuid7().hex}")
    await prepare(load("production", environ={"DATABASE_URL": url}))
    world = World(url)
    yield world
    await world.close()


@asynccontextmanager
async def leaders(world: World, number: int) -> AsyncIterator[None]:
    """Run the background part of so many processes."""
    chains = [Chain(world.database()) for _ in range(number)]
    for each in chains:
        each.start()
    try:
        yield
    finally:
        await asyncio.gather(*(each.stop() for each in chains))


async def wait_until_chained(world: World, number: int, seconds: float) -> float:
    began = time.monotonic()
    while (await world.sql("SELECT count(*) FROM idp.audit_chain"))[0][0] < number:
        assert time.monotonic() - began < seconds, "not chained in time"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


# --- one chain, soon -------------------------------------------------------------------------------------------------


def test_the_hash_covers_every_column() -> None:
    for column in AuditRow.__table__.columns:
        assert f"a.{column.name}" in links.RECORD, f"add {column.name} to RECORD: nobody would notice it changed"


@pytest.mark.alone
async def test_records_of_three_writers_are_chained_within_a_second_by_three_leaders(world: World) -> None:
    """No gap, no fork, no duplicate record, and no waiting."""
    databases = [world.database() for _ in range(3)]
    slowest = 0.0

    async def write_many(database: Database) -> None:
        nonlocal slowest
        for _ in range(60):
            began = time.monotonic()
            await write_one(database)
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(0.01)

    async with leaders(world, 3):
        await asyncio.gather(*map(write_many, databases))
        waited = await wait_until_chained(world, 180, 1.0)
    late = await world.sql(
        "SELECT max(c.chained_at - a.timestamp) AS late"
        "  FROM idp.audit_chain c JOIN idp.audit_logs a ON a.id = c.audit_id"
    )
    sys.stderr.write(f"\nslowest write {slowest:.3f} s, last {waited:.3f} s, latest link {late[0]['late']}\n")
    assert late[0]["late"] < timedelta(seconds=1)
    found = await world.verified()
    assert (found.problem, found.unlinked, found.head and found.head.seq) == (None, 0, 180)


async def test_two_leaders_at_once_never_fork(world: World) -> None:
    """Whoever has no lease does nothing; the chain is one, whatever the order they come in."""
    await world.write(40)
    chains = [Chain(world.database()) for _ in range(6)]
    for _ in range(4):
        await asyncio.gather(*(each.extend() for each in chains), write_one(world.database()))
    for each in chains:
        await each.stop()
    await world.chain_all()
    found = await world.verified()
    assert (found.problem, found.unlinked, found.head and found.head.seq) == (None, 0, 44)


async def test_a_rolled_back_record_is_not_chained(world: World) -> None:
    database = world.database()
    async with database.transaction() as session:
        record(session, SYSTEM, action="test.undone")
        await session.flush()
        await world.chain_all()
        await session.rollback()
    await write_one(database, "test.kept")
    await world.chain_all()
    found = await world.verified()
    assert (found.problem, found.unlinked, found.head and found.head.seq) == (None, 0, 1)


async def test_a_record_that_is_committed_late_is_chained_after_the_others(world: World) -> None:
    """Its time is that of its writing; it is seen, and linked, when its transaction ends."""
    slow = world.database()
    async with slow.transaction() as session:
        record(session, SYSTEM, action="test.slow")
        await session.flush()
        await world.write(3)
        await world.chain_all()
        assert (await world.verified()).unlinked == 0
    assert (await world.verified()).unlinked == 1
    await world.chain_all()
    (last,) = await world.sql(
        "SELECT a.action FROM idp.audit_chain c JOIN idp.audit_logs a ON a.id = c.audit_id ORDER BY seq DESC LIMIT 1"
    )
    assert last["action"] == "test.slow"


@pytest.mark.alone
async def test_a_record_with_an_old_time_is_found_by_the_search(world: World) -> None:
    """Imported, or from a wrong clock: a new process looks through everything; so does each, once an hour."""
    await world.chained(3)
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    await world.sql(
        "INSERT INTO idp.audit_logs (id, timestamp, action, actor, details) VALUES ($1, $2, 'old', 'system', '{}')",
        uuid7(),
        long_ago,
    )
    await world.chain_all()
    found = await world.verified()
    assert (found.unlinked, found.unlinked_since) == (1, "2020-01-01T00:00:00.000000Z")
    async with leaders(world, 2):
        await wait_until_chained(world, 4, 2.0)
    assert (await world.verified()).problem is None


@pytest.mark.alone
async def test_many_records_are_linked_in_batches(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of before there was a chain."""
    monkeypatch.setattr(links, "SLICE", 700)
    await world.sql(
        "INSERT INTO idp.audit_logs (id, timestamp, action, actor, details)"
        " SELECT gen_random_uuid(), now() - n * interval '1 hour', 'old', 'system', '{}'"
        "   FROM generate_series(1, 2600) n"
    )
    async with leaders(world, 2):
        await wait_until_chained(world, 2600, 20.0)
    found = await world.verified()
    assert (found.problem, found.unlinked, found.head and found.head.seq) == (None, 0, 2600)


@pytest.mark.alone
async def test_a_failure_does_not_end_the_work(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idp.audit.chain._AFTER_A_FAILURE", 0.1)
    await world.sql("ALTER TABLE idp.audit_chain RENAME TO away")
    async with leaders(world, 1):
        await write_one(world.database())
        await asyncio.sleep(0.3)
        await world.sql("ALTER TABLE idp.away RENAME TO audit_chain")
        await wait_until_chained(world, 1, 2.0)


# --- what was done to it by hand -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "timestamp = timestamp - interval '1 microsecond'", "action = 'test.x'", "actor = 'user:other'",
        "user_id = NULL", "target = 'team:1'", "ip_address = '192.0.2.1'", "user_agent = ''", "request_id = 'x'",
        "details = '{\"was\": [1.5, null, \"é\", 0]}'", "timestamp = 'infinity'", "timestamp = '20000-01-01'",
        "details = ('{\"was\": 1' || repeat('0', 5000) || '}')::jsonb",
    ],
)  # fmt: skip
async def test_a_changed_record_is_found(world: World, change: str) -> None:
    """Each column; also values that a program could not read."""
    ids, _ = await world.chained(5)
    await world.sql(f"UPDATE idp.audit_logs SET {change} WHERE id = $1", ids[2])
    found = await world.verified()
    assert found.problem == f"Record {ids[2]} or its link 3 was changed."
    assert found.head is not None
    assert (found.head.seq, found.unlinked) == (2, 0)


async def test_a_deleted_record_is_found(world: World) -> None:
    ids, _ = await world.chained(5)
    await world.sql("DELETE FROM idp.audit_logs WHERE id = $1", ids[3])
    assert (await world.verified()).problem == f"Record {ids[3]} of link 4 is missing."


async def test_a_record_deleted_with_its_link_is_found(world: World) -> None:
    ids, _ = await world.chained(5)
    await world.sql("DELETE FROM idp.audit_chain WHERE audit_id = $1", ids[1])
    await world.sql("DELETE FROM idp.audit_logs WHERE id = $1", ids[1])
    assert (await world.verified()).problem == "Link 2 is missing: the next one is 3."


async def test_a_record_deleted_with_its_link_and_closed_up_is_found(world: World) -> None:
    ids, _ = await world.chained(5)
    await world.sql("DELETE FROM idp.audit_chain WHERE audit_id = $1", ids[1])
    await world.sql("DELETE FROM idp.audit_logs WHERE id = $1", ids[1])
    for seq in (3, 4, 5):
        await world.sql("UPDATE idp.audit_chain SET seq = seq - 1 WHERE seq = $1", seq)
    assert (await world.verified()).problem == f"Record {ids[2]} or its link 2 was changed."


async def test_the_first_link_is_missed_too(world: World) -> None:
    await world.chained(3)
    await world.sql("DELETE FROM idp.audit_chain WHERE seq = 1")
    assert (await world.verified()).problem == "Link 1 is missing: the next one is 2."


async def test_exchanged_links_are_found(world: World) -> None:
    ids, _ = await world.chained(4)
    await world.sql("ALTER TABLE idp.audit_chain DROP CONSTRAINT uq_audit_chain_audit_id")
    await world.sql(
        "UPDATE idp.audit_chain SET audit_id = CASE seq WHEN 2 THEN $1::uuid ELSE $2::uuid END WHERE seq IN (2, 3)",
        ids[2],
        ids[1],
    )
    assert (await world.verified()).problem == f"Record {ids[2]} or its link 2 was changed."


@pytest.mark.parametrize("seq", [-1, 0, 6, 9])
async def test_a_forged_link_is_found(world: World, seq: int) -> None:
    """For a record that is not, at any place; also after more was linked to it."""
    await world.chained(5)
    forged = uuid7()
    await world.sql("INSERT INTO idp.audit_chain VALUES ($1, $2, $3, now())", seq, forged, "f" * 64)
    expected = {
        -1: "There is a link -1, but the first link is 1.",
        0: "There is a link 0, but the first link is 1.",
        6: f"Record {forged} of link 6 is missing.",
        9: "Link 6 is missing: the next one is 9.",
    }
    for _ in range(2):
        assert (await world.verified()).problem == expected[seq]
        await world.write(1)
        await world.chain_all()


async def test_a_forged_link_for_a_record_that_is_there_is_found(world: World) -> None:
    await world.chained(2)
    (forged,) = await world.write(1)
    await world.sql("INSERT INTO idp.audit_chain VALUES (3, $1, $2, now())", forged, "f" * 64)
    assert (await world.verified()).problem == f"Record {forged} or its link 3 was changed."


async def test_a_deleted_tail_of_records_is_found(world: World) -> None:
    ids, _ = await world.chained(5)
    await world.sql("DELETE FROM idp.audit_logs WHERE id = ANY($1)", ids[3:])
    assert (await world.verified()).problem == f"Record {ids[3]} of link 4 is missing."


async def test_a_tail_deleted_with_its_links_is_found_by_a_head_that_was_noted(world: World) -> None:
    """The one thing that the chain alone cannot tell: that there was more. The log of every process has the head."""
    ids, head = await world.chained(5)
    await world.sql("DELETE FROM idp.audit_chain WHERE seq > 3")
    assert (await world.verified()).unlinked == 2, "their links alone: the records wait again"
    await world.sql("DELETE FROM idp.audit_logs WHERE id = ANY($1)", ids[3:])
    found = await world.verified()
    assert (found.problem, found.unlinked) == (None, 0)
    assert (await world.verified(head)).problem == "The chain ends with link 3, but link 5 is expected."
    await world.write(4)
    await world.chain_all()
    said = "Link 5 has another hash than expected: the chain before it was rebuilt."
    assert (await world.verified(head)).problem == said


async def test_a_noted_head_that_is_still_there_is_fine(world: World) -> None:
    _, head = await world.chained(5)
    await world.write(3)
    await world.chain_all()
    found = await world.verified(head)
    assert (found.problem, found.head and found.head.seq) == (None, 8)


async def test_a_process_says_so_when_the_chain_it_knew_was_cut(world: World) -> None:
    await world.write(5)
    chain = Chain(world.database())
    await chain.extend()
    await world.sql("DELETE FROM idp.audit_chain WHERE seq > 3")
    with capture_logs() as said:
        for _ in range(2):
            await chain.extend()
    assert [each["event"] for each in said] == ["the audit chain was truncated or changed"]


async def test_an_empty_log_is_whole(world: World) -> None:
    assert await world.verified() == Findings(head=None, problem=None, unlinked=0, unlinked_since=None)
