"""Health checks: concurrent requests share a result, which is at most 250 ms old."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from factories import Service, running
from idp.dev.embedded import EmbeddedPostgres
from idp.ops.health import _SHARED_SECONDS, HealthChecks
from idp.plugin import Plugin, Probe

pytestmark = pytest.mark.alone

DATABASE = "database"


class Probes(Plugin):
    """A plugin that only has probes."""

    def __init__(self, probes: Mapping[str, Probe | None]) -> None:
        self.probes = probes


class Part:
    """A part of a deployment that is as we say, and counts who looks."""

    def __init__(self, *, takes: float = 0.0) -> None:
        self.looks = 0
        self.fault: Exception | None = None
        self._takes = takes
        self.checks = HealthChecks()
        self.checks.watch([Probes({DATABASE: self.probe, "redis": None, "command_processor": None})])

    async def probe(self) -> None:
        self.looks += 1
        fault = self.fault
        await asyncio.sleep(self._takes)
        if fault:
            raise fault

    async def state(self) -> str:
        return (await self.checks.states())[DATABASE]


@asynccontextmanager
async def pings(service: Service) -> AsyncIterator[list[str]]:
    """Collect the pings that reach the database."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement == "SELECT 1":
            seen.append(statement)

    engine = service.app.core.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


async def pause() -> None:
    await asyncio.sleep(_SHARED_SECONDS + 0.05)


# --- sharing ---------------------------------------------------------------------------------------------------------


async def test_64_requests_at_once_make_one_ping(service: Service) -> None:
    """Over both documents and both ways to them."""
    await pause()
    foreign = {"Origin": "https://app.example.com"}
    async with pings(service) as seen:
        asked = [
            service.client.get(path, headers=headers)
            for path in ("/health", "/readyz", "/", "/health")
            for headers in ({}, foreign)
            for _ in range(8)
        ]
        began = time.monotonic()
        answers = await asyncio.gather(*asked)
        most = 1 + (time.monotonic() - began) // _SHARED_SECONDS
        assert len(answers) == 64
        assert {answer.status_code for answer in answers} == {200}
        assert 1 <= len(seen) <= most


async def test_a_flood_looks_four_times_a_second() -> None:
    part = Part()
    began = time.monotonic()
    while time.monotonic() - began < 1.0:
        await asyncio.gather(*(part.state() for _ in range(50)))
        await asyncio.sleep(0.01)
    assert 2 <= part.looks <= 1.0 / _SHARED_SECONDS + 1


async def test_a_fault_shows_at_the_first_question_after_the_shared_time_and_so_does_its_end() -> None:
    part = Part()
    assert await part.state() == "healthy"
    for fault, state in ((OSError(), "unhealthy: OSError"), (None, "healthy")):
        part.fault = fault
        await pause()
        assert await part.state() == state


async def test_a_run_that_began_too_long_ago_is_not_joined() -> None:
    """What it found of this part may be as old as the run, however long the others take."""
    part = Part(takes=_SHARED_SECONDS * 2)
    first = asyncio.create_task(part.state())
    await pause()
    part.fault = OSError()
    assert await part.state() == "unhealthy: OSError"
    assert await first == "healthy"
    assert part.looks == 2


async def test_one_cancelled_caller_does_not_cancel_the_others() -> None:
    part = Part(takes=0.1)
    first = asyncio.create_task(part.state())
    await asyncio.sleep(0)
    second = asyncio.create_task(part.state())
    await asyncio.sleep(0)
    first.cancel()
    assert await second == "healthy"
    assert part.looks == 1


# --- a dead database -------------------------------------------------------------------------------------------------


async def test_a_dead_database_is_seen_on_the_first_request_after_the_shared_time(tmp_path: Path) -> None:
    """C-02 S4-41: `/health` stays 200, `/readyz` does not, and life does not depend on it."""
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        async with running(server.create_database("health")) as service:
            assert (await service.client.get("/health")).json()["status"] == "healthy"
            server.stop()
            await pause()
            health = await service.client.get("/health")
            assert (health.status_code, health.json()["status"]) == (200, "degraded")
            assert health.json()["components"]["database"].startswith("unhealthy: ")
            ready = await service.client.get("/readyz")
            assert (ready.status_code, ready.json()) == (503, {"status": "unavailable"})
            for path in ("/healthz", "/api/auth/healthz"):
                alive = await service.client.get(path)
                assert (alive.status_code, alive.json()) == (200, {"status": "ok", "service": "auth"})
            server.start()
            await pause()
            assert (await service.client.get("/readyz")).status_code == 200


async def test_liveness_touches_nothing(service: Service) -> None:
    """S4-41."""
    await pause()
    async with pings(service) as seen:
        for _ in range(20):
            assert (await service.client.get("/healthz")).status_code == 200
        assert seen == []
