"""The single writer when the connection, the lock's holder, the queue or the database fails (C-27).

Every caller learns the truth, or that it is unknown; revocations go through.
"""

import asyncio
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from litestar.di import Provide
from sqlalchemy.ext.asyncio import AsyncSession

from factories import OWN_LIMITS, Service, postgres_bin, root_secret, running
from faults.proxy_support import Cut, Proxy
from faults.writer_support import Order, WriterProcess
from idp.apikeys import service as keys
from idp.apikeys.commands import CommandQueue
from idp.audit import chain
from idp.dev.embedded import EmbeddedPostgres
from idp.errors import DatabaseUnavailable, WriterBusy
from idp.mail import sender

pytestmark = pytest.mark.alone

ADMIN_TOKEN = secrets.token_urlsafe(40)
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


@asynccontextmanager
async def serving(
    database_url: str, *, root: str | None = None, migrate: bool = True, statement_seconds: int = 5
) -> AsyncIterator[Service]:
    limits = OWN_LIMITS | {"IDP_DATABASE__STATEMENT_TIMEOUT_SECONDS": str(statement_seconds)}
    environ = limits | {"ADMIN_TOKEN": ADMIN_TOKEN, "IDP_SECRET_KEY": root or root_secret()}
    async with running(database_url, profile="production", environ=environ, migrate=migrate) as service:
        yield service


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that may be stopped."""
    server = EmbeddedPostgres(tmp_path / "postgres", bin_dir=postgres_bin())
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
async def plain(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    """A service whose database stays."""
    async with serving(postgres.create_database("writer_faults")) as service:
        yield service


async def create(service: Service, name: str, **headers: str) -> httpx2.Response:
    body = {"name": name, "scopes": ["read"]}
    sent = ADMIN | {header.replace("_", "-"): value for header, value in headers.items()}
    return await service.client.post("/auth/tokens", json=body, headers=sent)


async def revoke(service: Service, made: httpx2.Response) -> httpx2.Response:
    path = f"/auth/tokens/{made.json()['token_id']}/revoke"
    return await service.client.post(path, json={}, headers=ADMIN)


async def rows_named(database_url: str, name: str) -> int:
    """Count rows, past the proxy."""
    connection = await asyncpg.connect(database_url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM idp.api_keys WHERE name = $1", name))
    finally:
        await connection.close()


# --- the connection is lost at the commit ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def proxied(postgres: EmbeddedPostgres) -> AsyncIterator[tuple[Service, Proxy, str]]:
    """A service that reaches its database through a proxy; and the address past it.

    Nothing but requests commits: what the audit chain or the outbox do now and then might be cut in their place.
    """
    url = postgres.create_database("cut_at_the_commit")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(chain, "PERIOD", 3600)
        patched.setattr(sender, "_CLEAN_UP_SECONDS", 3600)
        async with Proxy(url).listening() as proxy, serving(proxy.url, statement_seconds=20) as service:
            await asyncio.sleep(0.5)  # what is done once at the start
            yield service, proxy, url


@pytest.mark.parametrize("cut", Cut)
async def test_a_commit_that_is_lost_is_answered_with_the_truth(proxied: tuple[Service, Proxy, str], cut: Cut) -> None:
    """pg_xact_status says what became of it: done again if it was not, answered if it was, once in either case."""
    service, proxy, url = proxied
    for number in range(5):
        name = f"cut {cut.name} {number}"
        proxy.cut, before = cut, proxy.commits_lost
        made = await create(service, name)
        assert (made.status_code, proxy.commits_lost) == (201, before + 1)
        assert await rows_named(url, name) == 1
        assert (await service.validate(made.json()["token"]))["valid"]


@pytest.mark.parametrize("cut", Cut)
async def test_a_revocation_whose_commit_is_lost_is_in_force_when_it_is_answered(
    proxied: tuple[Service, Proxy, str], cut: Cut
) -> None:
    service, proxy, _ = proxied
    made = await create(service, f"revoked {cut.name}")
    assert (await service.validate(made.json()["token"]))["valid"]
    proxy.cut = cut
    assert (await revoke(service, made)).status_code == 200
    assert (await service.validate(made.json()["token"]))["error"] == "token_revoked"


@pytest.mark.parametrize("cut", Cut)
async def test_a_commit_lost_with_a_database_that_stays_away_is_outcome_unknown(
    proxied: tuple[Service, Proxy, str], cut: Cut
) -> None:
    """503 `outcome_unknown` after three seconds; the same Idempotency-Key finds out later, and makes no second one."""
    service, proxy, url = proxied
    for attempt in range(4):  # another commit may be cut in its place, such as that of a background service
        name, once = f"unknown {cut.name} {attempt}", {"Idempotency_Key": f"once-{cut.name}-{attempt}"}
        proxy.cut, proxy.then_away, began = cut, True, time.monotonic()
        try:
            made = await create(service, name, **once)
            took = time.monotonic() - began
            stored = await rows_named(url, name)
        finally:
            proxy.then_away = proxy.away = False
        if made.json()["code"] != "database_unavailable":
            break
        await asyncio.sleep(2)
    assert (made.status_code, made.json()["code"]) == (503, "outcome_unknown")
    assert int(made.headers["retry-after"]) >= 1
    assert took < 5
    assert stored == (cut is Cut.ON_THE_WAY_BACK)
    again = await create(service, name, **once)
    assert again.status_code == 201
    assert await rows_named(url, name) == 1
    assert (await service.validate(again.json()["token"]))["valid"]


async def test_a_transaction_id_reused_after_a_crash_is_not_confused(
    own_postgres: EmbeddedPostgres,
) -> None:
    """What PostgreSQL had not written when it crashed never was, and others get its number: nobody is told "made"."""
    url, root = own_postgres.create_database("crash"), root_secret()
    async with Proxy(url).listening() as proxy, serving(proxy.url, root=root) as service:
        proxy.cut, proxy.then_away, crashed = Cut.ON_THE_WAY, True, asyncio.Event()

        async def crash_and_let_others_write() -> None:
            await proxy.gone.wait()
            own_postgres.kill()
            own_postgres.start()
            connection = await asyncpg.connect(url)
            for _ in range(20):
                await connection.execute("INSERT INTO idp.roles VALUES (gen_random_uuid()::text, '')")
            await connection.close()
            crashed.set()
            proxy.then_away = proxy.away = False

        made, _ = await asyncio.gather(create(service, "crashed"), crash_and_let_others_write())
        assert crashed.is_set()
        if made.status_code == 201:
            assert (await service.validate(made.json()["token"]))["valid"]
        else:
            assert (made.status_code, made.json()["code"]) == (503, "outcome_unknown")
        assert await rows_named(url, "crashed") == (made.status_code == 201)


# --- the holder of the lock is paused --------------------------------------------------------------------------------


async def test_a_holder_that_idles_loses_its_transaction_after_3_s_and_a_revocation_goes_through(
    plain: Service,
) -> None:
    """Any transaction that took the lock as the rule says, and then does nothing, is ended by the server."""
    made = await create(plain, "revoked beside an idler")
    database, locked = plain.app.core.database, asyncio.Event()

    async def idle() -> None:
        async with database.transaction() as session:
            await keys.lock(session)
            locked.set()
            await asyncio.sleep(6)

    idling = asyncio.create_task(idle())
    await locked.wait()
    began = time.monotonic()
    assert (await revoke(plain, made)).status_code == 200
    assert 2 < time.monotonic() - began < 4
    with pytest.raises(DatabaseUnavailable):
        await idling
    assert not (await plain.validate(made.json()["token"]))["valid"]


async def test_a_process_stopped_in_the_middle_of_a_group_blocks_no_other(postgres: EmbeddedPostgres) -> None:
    """SIGSTOP: a revocation elsewhere takes a few seconds at most; after SIGCONT the stopped one learns the truth."""
    url, root = postgres.create_database("stopped_holder"), root_secret()
    orders: list[Order] = [{"do": "create_token", "name": "stopped"}, {"do": "hold", "seconds": 0.5}]
    environ = {"DATABASE_URL": url, "IDP_SECRET_KEY": root}
    async with serving(url, root=root) as service:
        made = await create(service, "revoked beside a stopped one")
        with WriterProcess(orders, environ, max_wait=20) as process:
            await asyncio.to_thread(process.wait_for, "READY")
            process.go()
            await asyncio.to_thread(process.wait_for, "HOLDING")
            os.kill(process.pid, signal.SIGSTOP)
            began = time.monotonic()
            answers = await asyncio.gather(revoke(service, made), create(service, "created beside it"))
            took = time.monotonic() - began
            os.kill(process.pid, signal.SIGCONT)
            assert [answer.status_code for answer in answers] == [200, 201]
            assert took < 5
            assert not (await service.validate(made.json()["token"]))["valid"]
            await asyncio.to_thread(process.wait_for, "HOLDING")  # it begins again, since nothing of its group happened
            created, _ = await asyncio.to_thread(process.answers)
        assert created["code"] is None
        assert await rows_named(url, "stopped") == 1
        assert (await service.validate(created["answer"]["token"]))["valid"]


# --- the queue is full -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def somebody_holds_the_lock(database_url: str) -> AsyncIterator[None]:
    """Hold the cluster's lock from a session that no server setting ends."""
    connection = await asyncpg.connect(database_url, server_settings={"idle_in_transaction_session_timeout": "0"})
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", keys.LOCK)
            yield
    finally:
        await connection.close()


def queue_of(service: Service) -> CommandQueue:
    """Return the queue that the running service's routes use."""
    provided = service.app.dependencies["command_queue"]
    assert isinstance(provided, Provide)
    queue = provided.dependency()
    assert isinstance(queue, CommandQueue)
    return queue


async def test_a_full_queue_refuses_creations_with_503_and_no_revocation(
    plain: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`writer_busy` with Retry-After, and nothing happened; revocations go through."""
    monkeypatch.setattr(queue_of(plain), "_limit", 5)
    doomed = [await create(plain, f"doomed {number}") for number in range(10)]
    async with somebody_holds_the_lock(plain.database_url):
        first = asyncio.create_task(create(plain, "full 0"))
        await asyncio.sleep(0.3)  # until it is taken
        creations = [asyncio.create_task(create(plain, f"full {number}")) for number in range(1, 21)]
        for done in islice(asyncio.as_completed(creations), 15):
            answer = await done
            assert (answer.status_code, answer.json()["code"]) == (503, "writer_busy")
            assert int(answer.headers["retry-after"]) >= 1
        revocations = [asyncio.create_task(revoke(plain, made)) for made in doomed]
        await asyncio.sleep(0.3)
    assert {(await revocation).status_code for revocation in revocations} == {200}
    accepted = [await task for task in (first, *creations) if (await task).status_code == 201]
    assert len(accepted) == 6
    rows = await plain.sql("SELECT name FROM idp.api_keys WHERE name LIKE 'full %'")
    assert {row["name"] for row in rows} == {answer.json()["name"] for answer in accepted}
    assert not any([(await plain.validate(made.json()["token"]))["valid"] for made in doomed])


async def test_revocations_run_before_creations_that_waited_longer(plain: Service) -> None:
    queue, ran = CommandQueue(plain.app.core.database, limit=5), list[str]()
    queue.start()

    def work(name: str) -> Callable[[AsyncSession], Any]:
        async def note(_session: AsyncSession) -> None:
            ran.append(name)

        return note

    try:
        async with somebody_holds_the_lock(plain.database_url):
            taken = asyncio.create_task(queue.submit("create", work("taken")))
            await asyncio.sleep(0.2)
            waiting = [asyncio.create_task(queue.submit("create", work("creation"))) for _ in range(5)]
            await asyncio.sleep(0)
            with pytest.raises(WriterBusy):
                await queue.submit("create", work("one too many"))
            urgent = [asyncio.create_task(queue.submit("revoke", work("revocation"), urgent=True)) for _ in range(70)]
            await asyncio.sleep(0.2)
        await asyncio.gather(taken, *waiting, *urgent)
    finally:
        await queue.stop()
    assert ran == ["taken", *["revocation"] * 70, *["creation"] * 5]


async def test_a_command_that_waits_too_long_is_refused_and_never_runs(plain: Service) -> None:
    """A command that was not taken in time is `writer_busy`: nothing happened, and nothing will."""
    queue, ran = CommandQueue(plain.app.core.database, max_wait=1.0), list[str]()
    queue.start()

    async def note(_session: AsyncSession) -> None:
        ran.append("ran")

    try:
        async with somebody_holds_the_lock(plain.database_url):
            taken = asyncio.create_task(queue.submit("create", note))
            await asyncio.sleep(0.2)
            began = time.monotonic()
            with pytest.raises(WriterBusy):
                await queue.submit("create", note)
            assert time.monotonic() - began < 1.6
        await taken
        await asyncio.sleep(0.2)
    finally:
        await queue.stop()
    assert ran == ["ran"]


# --- the database is stopped -----------------------------------------------------------------------------------------


async def test_a_stopped_database_is_503_for_changes_and_the_writer_is_well_again_by_itself(
    own_postgres: EmbeddedPostgres,
) -> None:
    async with serving(own_postgres.create_database("stopped")) as service:
        made = await create(service, "before")
        own_postgres.stop()
        began = time.monotonic()
        answers = await asyncio.gather(create(service, "away"), revoke(service, made))
        assert time.monotonic() - began < 7  # the writer's max_wait is five seconds
        for answer in answers:
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
            assert int(answer.headers["retry-after"]) >= 1
        own_postgres.start()
        assert (await create(service, "after")).status_code == 201
        assert (await revoke(service, made)).status_code == 200
        assert not (await service.validate(made.json()["token"]))["valid"]
        assert await rows_named(service.database_url, "away") == 0
        assert (await service.client.get("/health")).json()["components"]["command_processor"] == "running"
