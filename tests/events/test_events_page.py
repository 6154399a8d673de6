"""docs/events.md: its code runs as it is written."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.kafka_broker import Broker
from events.relay_support import kafka_settings, published, relaying
from factories import Service, running
from idp.dev.embedded import EmbeddedPostgres
from idp.events.catalogue import EventType

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text("utf-8")
LOOP = "while True:"


def test_the_page_names_every_type() -> None:
    """A name after the first of a row may be short: `.updated`."""
    written = set(re.findall(r"`(idp\.[a-z_]+\.[a-z_]+|\.[a-z_]+)`", PAGE))
    for type_ in EventType:
        short = f".{type_.rpartition('.')[2]}"
        assert {str(type_), short} & written, type_


async def test_the_topic_is_created_and_the_consumer_has_the_users(
    postgres: EmbeddedPostgres, apache_kafka: Broker
) -> None:
    """S1-05."""
    ((create,), (consume,)) = (
        re.findall(pattern, PAGE, re.DOTALL) for pattern in (r"-c '(.*?)'\n", r"```python\n(.*?)```")
    )
    command = [sys.executable, "-c", create]
    environ = {"KAFKA_BOOTSTRAP_SERVERS": apache_kafka.servers}
    await asyncio.to_thread(subprocess.run, command, env=environ, check=True, timeout=30)
    async with running(postgres.create_database("events_page")) as service:
        person, deleted = await service.register(), await service.register()
        await delete(service, deleted.bearer, deleted.email)
        async with relaying(service, kafka_settings(apache_kafka, "users")):
            await published(service)
    assert LOOP in consume
    code = consume.replace(LOOP, "for _ in range(40):").replace("localhost:9092", apache_kafka.servers)
    names: dict[str, Any] = {}
    await asyncio.to_thread(exec, code, names)
    names["consumer"].close()
    assert names["users"][person.id]["email"] == person.email
    assert deleted.id not in names["users"]


async def delete(service: Service, bearer: dict[str, str], email: str) -> None:
    answer = await service.client.request("DELETE", "/v1/me", json={"confirm": email}, headers=bearer)
    assert answer.status_code == 200, answer.text
