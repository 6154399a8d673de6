"""A relay of its own to a topic of its own, and a consumer that rebuilds users."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg

from bench.kafka_broker import Broker
from factories import Service
from idp.db.engine import Database
from idp.events.kafka import KafkaPublisher
from idp.events.relay import Relay
from idp.settings_schema import Kafka

Event = dict[str, Any]
PUBLISHED = "SELECT count(*) FROM idp.outbox WHERE seq NOT IN (SELECT seq FROM idp.outbox_unpublished)"
PARKED = "SELECT * FROM idp.outbox JOIN idp.outbox_unpublished USING (seq) WHERE parked_at IS NOT NULL"
_COMPARED = ("email", "email_verified", "name", "avatar_url", "plan", "is_active", "version")


def kafka_settings(broker: Broker, topic: str, **more: Any) -> Kafka:
    return Kafka(**({"bootstrap_servers": broker.servers, "users_topic": topic, "takeover_seconds": 1.0} | more))


@asynccontextmanager
async def relaying(service: Service, settings: Kafka, *, batch: int = 1000) -> AsyncIterator[Relay]:
    """Run a relay with a database pool of its own."""
    database = Database(service.loaded.settings.database)
    relay = Relay(database, KafkaPublisher(settings), takeover_seconds=settings.takeover_seconds, batch=batch)
    relay.start()
    try:
        yield relay
    finally:
        await relay.stop()
        await database.close()


async def published(service: Service, *, seconds: float = 40) -> None:
    """Wait until nothing is pending."""
    await until_sql(
        service,
        "SELECT count(*) FROM idp.outbox_unpublished WHERE parked_at IS NULL",
        lambda number: bool(number == 0),
        seconds=seconds,
    )


async def until_sql(service: Service, statement: str, holds: Callable[[Any], bool], *, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not holds((seen := await service.sql(statement))[0][0]):
        assert time.monotonic() < deadline, f"{statement}: {seen[0][0]}"
        await asyncio.sleep(0.05)


@contextmanager
def closed_port() -> Iterator[str]:
    """Yield an address that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def first_deliveries(events: Sequence[Event]) -> list[Event]:
    """Return each event once, where it came first: deliveries may be repeated."""
    return list({event["id"]: event for event in reversed(events)}.values())[::-1]


def out_of_order(events: Sequence[Event], *, gaps: Sequence[str] | set[str] = ()) -> list[str]:
    """Return users whose sequences do not rise by one, in the order of the first deliveries.

    Args:
        events: of a topic, in the order of each partition.
        gaps: users some of whose events were parked.
    """
    wrong, last = [], dict[str, int]()
    for event in first_deliveries(events):
        if event["type"] not in {"idp.user.created", "idp.user.updated", "idp.user.deleted"}:
            continue
        user, sequence = event["subject"], int(event["sequence"])
        before = last.get(user, 0)
        if sequence <= before or (sequence != before + 1 and user not in gaps):
            wrong.append(f"{user}: {sequence} after {before}")
        last[user] = sequence
    return wrong


def rebuild(events: Sequence[Event]) -> dict[str, dict[str, Any]]:
    """Return the users as a consumer has them that ignores what is older than what it has."""
    users: dict[str, dict[str, Any]] = {}
    for event in events:
        if event["dataschema"] == "urn:idp:event:user:1":
            user = event["data"]["user"]
            if user["version"] >= users.get(user["id"], user)["version"]:
                users[user["id"]] = user
        elif event["type"] == "idp.user.deleted":
            users[event["subject"]] = {"version": int(event["sequence"]), "deleted": True}
    return users


def differences(rebuilt: dict[str, dict[str, Any]], rows: Sequence[asyncpg.Record]) -> list[str]:
    """Return what a consumer has otherwise than the table of users."""
    wrong = []
    for row in rows:
        user = rebuilt.get(row["id"], {})
        if row["deleted_at"] is not None:
            if not user.get("deleted"):
                wrong.append(f"{row['id']} is deleted")
            continue
        wrong += [f"{row['id']}: {name}" for name in _COMPARED if user.get(name) != row[name]]
    return wrong
