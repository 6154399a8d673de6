"""S1-05: 100 times kill -9 of relays and a server during writes: no event is lost or reordered (decision 0041)."""

import asyncio
import contextlib
import random
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from bench.kafka_broker import Broker
from cli.support import IDP, Running, free_port
from events.kafka_support import read, value_of
from events.relay_support import PUBLISHED, differences, first_deliveries, out_of_order, published, rebuild
from factories import Person, Service, root_secret, running
from idp.dev.embedded import EmbeddedPostgres

KILLS = 100
SECRET = root_secret()


class Processes:
    """A server that relays too, and two relays; a killed one is started again at once."""

    def __init__(self, environ: dict[str, str], folder: Path) -> None:
        self._environ, self._folder = environ, folder
        self.port = free_port()
        serve = [*IDP, "serve", "--host", "127.0.0.1", "--port", str(self.port)]
        self._commands = [serve, [*IDP, "relay"], [*IDP, "relay"]]
        self._running = [self._start(place) for place in range(3)]

    def _start(self, place: int) -> Running:
        return Running(self._commands[place], self._folder / f"out-{place}", self._environ, forked=True)

    def kill(self, place: int) -> None:
        """Kill -9, and start again."""
        victim = self._running[place]
        victim.process.kill()
        victim.process.wait()
        victim.clean_up()
        self._running[place] = self._start(place)

    def stop(self) -> None:
        for each in self._running:
            each.clean_up()


@pytest.fixture
async def own(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    """A service that registers people and does not relay."""
    environ = {"IDP_SECRET_KEY": SECRET}
    async with running(postgres.create_database("killed"), environ=environ, profile="production") as service:
        yield service


async def write(service: Service, url: str, person: Person, stop: asyncio.Event) -> None:
    """Change a user again and again, through the server that is killed, and else through one that is not."""
    place = 0
    async with httpx2.AsyncClient(timeout=2) as client:
        while not stop.is_set():
            place += 1
            body, victim = {"name": f"Name {place}"}, place % 3 == 0
            with contextlib.suppress(httpx2.HTTPError):
                base = url if victim else service.base_url
                await client.patch(f"{base}/v1/me", json=body, headers=person.bearer)
            await asyncio.sleep(0.15)


@pytest.mark.alone
@pytest.mark.slow
async def test_nothing_is_lost_or_overtakes_when_processes_are_killed(
    own: Service, kafka: Broker, tmp_path: Path
) -> None:
    """Every committed change is published at least once, in order per user; a consumer has the database."""
    topic, chance = kafka.create_topic(partitions=4), random.Random(11)
    environ = {
        "DATABASE_URL": own.database_url,
        "IDP_SECRET_KEY": SECRET,
        "IDP_PUBLIC_URL": own.base_url,
        "KAFKA_BOOTSTRAP_SERVERS": kafka.servers,
        "KAFKA_USERS_TOPIC": topic,
        "IDP_KAFKA__TAKEOVER_SECONDS": "0.5",
    }
    people = [await own.register() for _ in range(8)]
    processes, stop = Processes(environ, tmp_path), asyncio.Event()
    writers = [asyncio.create_task(write(own, f"http://127.0.0.1:{processes.port}", each, stop)) for each in people]
    began = time.monotonic()
    try:
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.02, 0.25))
            await asyncio.to_thread(processes.kill, chance.choices((0, 1, 2), weights=(2, 4, 4))[0])
        stop.set()
        await asyncio.gather(*writers)
        during = (await own.sql(PUBLISHED))[0][0]
        killed = time.monotonic() - began
        await published(own)
    finally:
        stop.set()
        await asyncio.to_thread(processes.stop)
    await check(own, kafka, topic, during=during, killed=killed)


async def check(own: Service, kafka: Broker, topic: str, *, during: int, killed: float) -> None:
    rows = await own.sql("SELECT id, parked_at FROM idp.outbox LEFT JOIN idp.outbox_unpublished USING (seq)")
    assert [row["id"] for row in rows if row["parked_at"]] == []
    expected = {str(row["id"]) for row in rows}
    messages = await asyncio.to_thread(
        read, kafka, topic, until=lambda found: expected <= {value_of(each)["id"] for each in found}
    )
    events = [value_of(each) for each in messages]
    sys.stderr.write(
        f"\n{KILLS} kills in {killed:.0f} s: {len(expected)} events, {during} of them published meanwhile, "
        f"{len(events) - len(first_deliveries(events))} sent again\n"
    )
    assert during > len(expected) / 10, "the relays made progress between the kills"
    assert {event["id"] for event in events} == expected, "nothing is published that was not committed"
    assert out_of_order(events) == []
    users = await own.sql("SELECT * FROM idp.users")
    assert differences(rebuild(events), users) == []
