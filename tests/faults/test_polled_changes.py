"""Revocation without LISTEN (decision 0052): processes poll changes, behind PgBouncer in transaction mode, too."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from db.pgbouncer_support import needs_pgbouncer, pgbouncer
from factories import postgres_bin
from faults.fleet_support import BOUND, PROCESSES, Fleet, histogram, running_fleet
from faults.test_revocation import GRANTS, revoke_one_by_one
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey

pytestmark = pytest.mark.alone

POLL = {"IDP_DATABASE__CHANGES": "poll"}
REVOCATIONS = 40


@pytest.fixture(scope="module", params=["direct", pytest.param("behind PgBouncer alone", marks=needs_pgbouncer)])
async def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """Three production processes that poll."""
    folder = tmp_path_factory.mktemp("polling")
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(EmbeddedPostgres(folder / "postgres", bin_dir=postgres_bin()))
        valkey = stack.enter_context(EmbeddedValkey())
        more = dict(POLL)
        if request.param != "direct":
            direct = postgres.create_database("through")
            pooled = stack.enter_context(
                pgbouncer(direct, folder / "bouncer", default_pool_size="20", server_login_retry="1")
            )
            more["DATABASE_URL"] = pooled.replace("/through", "/fleet")
        yield await stack.enter_async_context(running_fleet(postgres, valkey, folder, **more))


async def test_revoked_keys_are_refused_by_three_polling_processes_within_1_s(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    took = await revoke_one_by_one(fleet, REVOCATIONS)
    with capsys.disabled():
        histogram("changes polled", took)
    assert max(took) < BOUND


async def test_sessions_that_end_are_refused_by_three_polling_processes_within_1_s(fleet: Fleet) -> None:
    """SEC-59 S4-35: the same bound as for keys."""
    took = [await fleet.end_session_and_watch(await fleet.warm_session()) for _ in range(5)]
    assert max(took) < BOUND


async def test_grants_are_seen_by_three_polling_processes_within_1_s(fleet: Fleet) -> None:
    grant, (key,) = GRANTS["an enabled user"], await fleet.warm_keys(1)
    for statement, is_shown in ((grant.lacking, False), (grant.given, True)):
        await fleet.sql(statement.format(user=fleet.user_id))
        assert await fleet.wait_until(key.secret, lambda said, shown=is_shown: bool(grant.shows(said)) is shown) < BOUND


async def test_a_polling_process_that_stood_still_accepts_nothing_that_was_revoked(fleet: Fleet) -> None:
    """SIGSTOP, revocation, SIGCONT: without a poll since then the lease has run out."""
    keys, still = await fleet.warm_keys(3), PROCESSES - 1
    with fleet.stopped(still):
        for key in keys:
            await fleet.revoke(key)
        await asyncio.sleep(BOUND + 0.05)
    async with fleet.asking_again(keys):
        await asyncio.sleep(0.3)


async def test_a_crash_of_the_database_empties_the_change_log_and_brings_no_revoked_key_back(fleet: Fleet) -> None:
    """The change log is unlogged: after a crash it is empty, and every process starts over."""
    revoked, kept = await fleet.warm_keys(2)
    answered = await fleet.revoke(revoked)
    fleet.postgres.kill()
    fleet.postgres.start()
    await asyncio.sleep(max(0.0, answered + BOUND - time.monotonic()))
    assert await fleet.wait_until(kept.secret, lambda said: bool(said.valid)) < 10
    assert [said.valid for said in await fleet.ask_all(revoked.secret)] == [False] * PROCESSES
    await fleet.revoke_and_watch(*await fleet.warm_keys(1))
