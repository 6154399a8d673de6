"""A relay of its own to a topic of its own, and changes to relay."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from events.kafka_support import Broker
from factories import Service
from idp.db.engine import Database
from idp.events.kafka import KafkaPublisher
from idp.events.relay import Relay
from idp.settings_schema import Kafka


def kafka_settings(broker: Broker, topic: str, **more: Any) -> Kafka:
    return Kafka(**({"bootstrap_servers": broker.servers, "users_topic": topic} | more))


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


async def published(service: Service, *, seconds: float = 30) -> None:
    """Wait until nothing is pending."""
    await until_sql(service, "SELECT count(*) FROM idp.outbox WHERE published_at IS NULL AND parked_at IS NULL",
                    lambda number: number == 0, seconds=seconds)  # fmt: skip


async def until_sql(service: Service, statement: str, holds: Callable[[Any], bool], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds((seen := await service.sql(statement))[0][0]):
        assert time.monotonic() < deadline, f"{statement}: {seen[0][0]}"
        await asyncio.sleep(0.05)
