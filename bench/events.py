"""`python -m bench.events`: requests while Kafka is away, and the rate at which the relay drains a backlog.

Requests are changes of profiles, each of which writes an event, to two servers in turns: the relay of one publishes to
a broker, nothing answers at the address of the other's. The backlog of 100,000 events is drained by a relay in this
process, beside a bare producer that sends the same messages from memory, with the same settings.
"""

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median

import asyncpg
from confluent_kafka import Producer

from bench import cpu, exclusive, kafka_broker, load, service
from bench.kafka_broker import Broker
from bench.measure import Plan
from bench.population import Person
from bench.server import Server
from bench.traffic import Request, Traffic
from bench.verdicts import Verdict
from bench.world import World
from idp.db.engine import Database
from idp.events.kafka import KafkaPublisher, Outgoing, producer_config
from idp.events.pending import count_outbox, find_pending
from idp.events.relay import Relay, message_of
from idp.settings import load as load_settings
from idp.settings_schema import Kafka

BACKLOG = 100_000
_ROUNDS = 3
_PEOPLE = 8
_CONNECTIONS = 8
_TIMEOUT_SECONDS = 300
_LEAST_OF_UP, _LEAST_OF_BARE = 0.95, 0.3
_USERS = 1000  # of the backlog
_FILL = """
INSERT INTO idp.outbox (id, type, subject, sequence, data, created_at)
SELECT gen_random_uuid(), 'idp.user.updated', 'bench-' || (n % $2), n, data, now()
  FROM generate_series(1, $1::int) n,
       (SELECT data FROM idp.outbox WHERE type = 'idp.user.created' ORDER BY seq LIMIT 1) AS sample
"""


def measure(world: World, plan: Plan) -> list[Verdict]:
    """Return both verdicts."""
    with kafka_broker.broker() as broker:
        requests = _requests(world, plan, broker)
        os.sched_setaffinity(0, {world.server_core})  # the relay has a core, as a server has; the stores the other
        try:
            return [requests, asyncio.run(_drain(world, broker))]
        finally:
            os.sched_setaffinity(0, {world.load_core})


# --- requests --------------------------------------------------------------------------------------------------------


def _requests(world: World, plan: Plan, broker: Broker) -> Verdict:
    with ExitStack() as stack, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
        up = _start(world, stack, "kafka-up", broker.servers, broker.create_topic())
        down = _start(world, stack, "kafka-down", nobody, "users")
        traffic = {server.name: _changes(server) for server in (up, down)}
        ratios = []
        for _ in range(plan.rounds + 1):
            costs = [_cost(each, traffic[each.name], plan) for each in (up, down)]
            ratios.append(costs[0] / costs[1])
    found = median(ratios[1:])  # the first round warms up
    what, target = "changes per processor second, Kafka away relative to up", f"at least {_LEAST_OF_UP:g}"
    return Verdict(what, f"{found:.2f}", target, found >= _LEAST_OF_UP)


def _cost(server: Server, traffic: Traffic, plan: Plan) -> float:
    """Return the processor time of the server per change (seconds): the disk's waits for commits are not its own."""
    before = cpu.seconds_of(server.pid)
    found = load.run(server.base_url, traffic, connections=_CONNECTIONS, seconds=plan.seconds)
    assert found.refused + found.broken == 0, found
    return (cpu.seconds_of(server.pid) - before) / found.requests


def _start(world: World, stack: ExitStack, name: str, servers: str, topic: str) -> Server:
    """Start a service with a database of its own, so that its relay has the lease."""
    settings = service.no_limits() | {"KAFKA_BOOTSTRAP_SERVERS": servers, "KAFKA_USERS_TOPIC": topic}
    deployment = service.deploy(world.stores, name=name)
    started = service.start(deployment, world.folder, core=world.server_core, name=name, settings=settings)
    stack.callback(started.stop)
    return started


def _changes(server: Server) -> Traffic:
    headers = {"content-type": "application/json"}
    people = [Person(server.base_url) for _ in range(_PEOPLE)]
    return Traffic(
        [
            Request("PATCH", "/v1/me", headers | person.bearer, json.dumps({"name": f"Name {number}"}))
            for number in range(50)
            for person in people
        ]
    )


# --- the backlog -----------------------------------------------------------------------------------------------------


async def _drain(world: World, broker: Broker) -> Verdict:
    url = service.deploy(world.stores, name="idp-backlog").database_url
    database = Database(load_settings("production", environ={"DATABASE_URL": url}).settings.database)
    connection = await asyncpg.connect(url)
    ratios, rates = [], []
    try:
        await _add_sample(connection)
        for _ in range(_ROUNDS):
            await connection.execute(_FILL, BACKLOG, _USERS)
            await connection.execute("ANALYZE idp.outbox, idp.outbox_unpublished")
            messages = await _messages(database)
            first, second = (
                Kafka(bootstrap_servers=broker.servers, users_topic=broker.create_topic()) for _ in range(2)
            )
            bare = _send_bare(first, messages)
            relay = await _send_relayed(second, database)
            ratios.append(bare / relay)
            rates.append(BACKLOG / relay)
            await connection.execute("DELETE FROM idp.outbox WHERE subject LIKE 'bench-%'")
    finally:
        await connection.close()
        await database.close()
    found = median(ratios)
    what = f"events drained from a backlog, relative to a bare producer ({median(rates):.0f} a second)"
    return Verdict(what, f"{found:.2f}", f"at least {_LEAST_OF_BARE:g}", found >= _LEAST_OF_BARE)


async def _add_sample(connection: asyncpg.Connection) -> None:
    user = {"id": "bench", "email": "ada@example.com", "email_verified": True, "name": "Ada Lovelace", "role": "user",
            "avatar_url": None, "roles": ["user"], "plan": "FREE", "is_active": True, "version": 1,
            "created_at": "2026-01-01T00:00:00.000000Z", "updated_at": "2026-01-01T00:00:00.000000Z"}  # fmt: skip
    data = {"user": user, "origin": "self", "changed": ["name"], "deleted_at": None}
    await connection.execute(
        "INSERT INTO idp.outbox (id, type, subject, sequence, data, created_at) "
        "VALUES (gen_random_uuid(), 'idp.user.created', 'sample', 1, $1::jsonb, now())",
        json.dumps(data),
    )


async def _messages(database: Database) -> list[Outgoing]:
    async with database.transaction() as session:
        return [message_of(event) for event in await find_pending(session, besides=(), limit=BACKLOG)]


def _send_bare(kafka: Kafka, messages: Sequence[Outgoing]) -> float:
    """Return the seconds of a bare producer, until everything is acknowledged."""
    producer, acknowledged = Producer(producer_config(kafka)), 0

    def count(error: object, _: object) -> None:
        nonlocal acknowledged
        assert error is None, error
        acknowledged += 1

    began = time.perf_counter()
    for message in messages:
        while True:
            try:
                producer.produce(
                    kafka.users_topic,
                    key=message.key,
                    value=message.value,
                    headers=message.headers,
                    on_delivery=count,
                )
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    producer.flush()
    assert acknowledged == len(messages)
    return time.perf_counter() - began


async def _send_relayed(kafka: Kafka, database: Database) -> float:
    """Return the seconds of a relay, until everything is acknowledged and marked."""
    relay = Relay(database, KafkaPublisher(kafka), takeover_seconds=kafka.takeover_seconds)
    began = time.perf_counter()
    while await _count_pending(database):
        await relay.drain()
    seconds = time.perf_counter() - began
    await relay.stop()
    return seconds


async def _count_pending(database: Database) -> int:
    async with database.transaction() as session:
        return (await count_outbox(session))[0]


def main() -> int:
    """Run both and print them."""
    if not load.is_installed():
        print("bench needs wrk: on Debian or Ubuntu, apt install wrk", file=sys.stderr)
        return 1

    def say(words: str) -> None:
        print(words, file=sys.stderr, flush=True)

    with exclusive.exclusive_run(_TIMEOUT_SECONDS, say=say), World([], new_requests=0, say=say) as world:
        for each in measure(world, Plan(3, 1.2, 0.6, 0.4)):
            print(f"{each.path}: {each.found}, {each.target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
