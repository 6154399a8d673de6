"""`idp events` and `idp relay`: read the outbox, publish again, and relay in a process of its own."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bench.kafka_broker import Broker
from cli.support import IDP, Running, idp, refusal, wait_until
from events.kafka_support import read, value_of
from events.relay_support import published, relaying
from factories import Service, root_secret, running
from idp.db.engine import Database
from idp.dev.embedded import EmbeddedPostgres
from idp.events.retention import Retention
from idp.settings_schema import Kafka


@pytest.fixture(scope="module")
async def own(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("events_commands")) as service:
        yield service


def run(own: Service, *arguments: str, **environ: str) -> Any:
    done = idp("events", *arguments, DATABASE_URL=own.database_url, **environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_list_prints_events_in_order_and_as_cloud_events(own: Service) -> None:
    person = await own.register()
    table = await asyncio.to_thread(run, own, "list", "--limit", "10000")
    assert any("idp.user.created" in line and person.id in line for line in table.splitlines())
    listed = json.loads(await asyncio.to_thread(run, own, "list", "--limit", "10000", "-o", "json"))
    mine = [event for event in listed if event["subject"] == person.id]
    assert mine[0]["type"] == "idp.user.created"
    assert mine[0]["specversion"] == "1.0"
    assert json.loads(await asyncio.to_thread(run, own, "list", "--since", "2999-01-01", "-o", "json")) == []


async def test_tail_prints_new_events_until_it_is_stopped(own: Service, tmp_path: Path) -> None:
    before = await own.register()
    environ = {"DATABASE_URL": own.database_url}
    tail = Running([*IDP, "events", "tail"], tmp_path / "out", environ, forked=True)
    try:
        await asyncio.sleep(1.5)
        person = await own.register()
        await asyncio.to_thread(wait_until, lambda: person.id in tail.said(), what="the new event")
        assert await asyncio.to_thread(tail.end, signal.SIGINT) == 0
    finally:
        tail.clean_up()
    events = [json.loads(line) for line in tail.said().splitlines() if line.startswith("{")]
    assert person.id in {event["subject"] for event in events}
    assert before.id not in {event["subject"] for event in events}


async def test_parked_events_are_listed_and_published_again(own: Service, kafka: Broker) -> None:
    topic = kafka.create_topic()
    small = Kafka(
        bootstrap_servers=kafka.servers, users_topic=topic, takeover_seconds=1.0, options={"message.max.bytes": 2000}
    )
    person = await own.register()
    picture = "https://images.example.com/" + "x" * 1990
    answer = await own.client.patch("/v1/me", json={"avatar_url": picture}, headers=person.bearer)
    assert answer.status_code == 200
    async with relaying(own, small):
        await published(own)
    listed = json.loads(await asyncio.to_thread(run, own, "parked", "-o", "json"))
    (mine,) = [each for each in listed if each["subject"] == person.id]
    assert mine["error"].startswith("MSG_SIZE_TOO_LARGE")
    assert person.id in await asyncio.to_thread(run, own, "parked")
    assert "to be published again" in await asyncio.to_thread(run, own, "replay", "--parked")
    async with relaying(own, Kafka(bootstrap_servers=kafka.servers, users_topic=topic, takeover_seconds=1.0)):
        await published(own)
        await asyncio.to_thread(
            read, kafka, topic, until=lambda found: mine["id"] in {value_of(each)["id"] for each in found}
        )
    assert json.loads(await asyncio.to_thread(run, own, "parked", "-o", "json")) == []


async def test_replay_publishes_again_what_kafka_had(own: Service, kafka: Broker) -> None:
    """With the same ids and sequences, so that consumers ignore what they have."""
    topic = kafka.create_topic()
    settings = Kafka(bootstrap_servers=kafka.servers, users_topic=topic, takeover_seconds=1.0)
    await own.register()
    async with relaying(own, settings):
        await published(own)
        number = (await own.sql("SELECT count(*) FROM idp.outbox"))[0][0]
        done = json.loads(await asyncio.to_thread(run, own, "replay", "--from", "2020-01-01T00:00:00Z", "-o", "json"))
        assert done == {"replayed": number}
        await published(own)
        found = await asyncio.to_thread(read, kafka, topic, until=lambda seen: len(seen) >= number)
    everything = {str(row["id"]) for row in await own.sql("SELECT id FROM idp.outbox")}
    assert everything <= {value_of(each)["id"] for each in found}


def test_bad_input_is_refused(own: Service) -> None:
    url, said = (
        own.database_url,
        {
            ("list", "--since", "yesterday"): "takes a time such as",
            ("replay",): "either --from TIME or --parked",
            ("replay", "--parked", "--from", "2026-01-01"): "either --from TIME or --parked",
        },
    )
    for arguments, words in said.items():
        done = idp("events", *arguments, DATABASE_URL=url)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
    assert "KAFKA_BOOTSTRAP_SERVERS is not set" in refusal("relay", DATABASE_URL=url)
    environ = {"DATABASE_URL": url, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "KAFKA_SASL_MECHANISM": "NONE-SUCH"}
    done = idp("relay", KAFKA_SECURITY_PROTOCOL="SASL_SSL", **environ)
    assert done.returncode != 0
    assert "[kafka]" in done.stderr + done.stdout


def test_config_check_names_options_that_librdkafka_refuses() -> None:
    environ = {"DATABASE_URL": "postgresql://idp:x@db/idp", "IDP_SECRET_KEY": root_secret()}
    kafka = {"KAFKA_BOOTSTRAP_SERVERS": "kafka:9092", "KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}
    done = idp("config", "check", **environ, **kafka, KAFKA_SASL_MECHANISM="NONE-SUCH")
    assert done.returncode == 1
    assert "The settings of [kafka] cannot be used" in done.stderr
    done = idp("config", "check", **environ, KAFKA_BOOTSTRAP_SERVERS="kafka:9092")
    assert (done.returncode, done.stdout) == (0, "The settings are valid.\n")


async def test_the_relay_runs_as_a_process_of_its_own(own: Service, kafka: Broker, tmp_path: Path) -> None:
    """It ends cleanly, and `idp serve` need not relay."""
    topic = kafka.create_topic()
    environ = {
        "DATABASE_URL": own.database_url,
        "KAFKA_BOOTSTRAP_SERVERS": kafka.servers,
        "KAFKA_USERS_TOPIC": topic,
        "IDP_KAFKA__TAKEOVER_SECONDS": "1",
    }
    relay = Running([*IDP, "relay"], tmp_path / "out", environ, forked=True)
    try:
        await own.register()
        await published(own)
        assert await asyncio.to_thread(relay.end, signal.SIGTERM) == 0
    finally:
        relay.clean_up()
    assert all(line.startswith("{") for line in relay.said().splitlines()), relay.said()


async def test_old_events_are_deleted_but_not_those_that_kafka_waits_for(own: Service) -> None:
    """One process at a time; without Kafka, age alone decides."""
    await own.register()
    database = Database(own.loaded.settings.database)
    await own.sql("UPDATE idp.outbox SET created_at = now() - interval '8 days'")
    await own.sql("DELETE FROM idp.outbox_unpublished WHERE seq IN (SELECT seq FROM idp.outbox ORDER BY seq LIMIT 2)")
    await own.register()
    total = (await own.sql("SELECT count(*) FROM idp.outbox"))[0][0]
    waiting = (await own.sql("SELECT count(*) FROM idp.outbox_unpublished"))[0][0]
    relayed, other = (Retention(database, days=7, relayed=True) for _ in range(2))
    assert await relayed.delete_old() == total - waiting
    assert await other.delete_old() == 0, "the first one has the lease"
    await relayed.stop()
    alone = Retention(database, days=7, relayed=False)
    assert await alone.delete_old() > 0
    await alone.stop()
    ages = await own.sql("SELECT bool_and(created_at > now() - interval '1 day') FROM idp.outbox")
    assert ages[0][0] is True
    orphans = "SELECT count(*) FROM idp.outbox_unpublished WHERE seq NOT IN (SELECT seq FROM idp.outbox)"
    assert (await own.sql(orphans))[0][0] == 0
    await database.close()
