"""The relay to Kafka (S1-05): every event arrives, in order per user, with the headers of CloudEvents."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import structlog
from confluent_kafka import Message

from bench.kafka_broker import Broker
from events.kafka_support import allow_writing, read_only, value_of
from events.kafka_support import read as read_topic
from events.relay_support import (
    PARKED,
    PUBLISHED,
    closed_port,
    differences,
    kafka_settings,
    out_of_order,
    published,
    rebuild,
    relaying,
)
from factories import Person, Service, running
from idp.dev.embedded import EmbeddedPostgres
from idp.events.pending import find_pending
from idp.settings import SettingsError
from idp.settings_schema import Kafka, Secret

_STATES = """
SELECT q.seq IS NOT NULL AS waits, parked_at, attempts FROM idp.outbox LEFT JOIN idp.outbox_unpublished q USING (seq)
"""
_INSERT = """
INSERT INTO idp.outbox (id, type, subject, data, created_at)
VALUES (gen_random_uuid(), 'idp.session.revoked', $1, '{}', now()) RETURNING seq
"""
AVATAR = "https://images.example.com/" + secrets.token_hex(990)  # random: the producer compresses


@pytest.fixture(scope="module")
async def events_service(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("relayed")) as service:
        yield service


@pytest.fixture(autouse=True)
async def only_new_events(events_service: Service) -> None:
    await events_service.sql("TRUNCATE idp.outbox, idp.outbox_unpublished")


async def rename(service: Service, person: Person, **change: Any) -> None:
    answer = await service.client.patch("/v1/me", json=change, headers=person.bearer)
    assert answer.status_code == 200, answer.text


def about(messages: list[Message], person: Person) -> list[Message]:
    return [each for each in messages if (each.key() or b"").decode() == person.id]


async def read(broker: Broker, topic: str, number: int) -> list[Message]:
    return await asyncio.to_thread(read_topic, broker, topic, until=lambda found: len(found) >= number)


async def test_a_new_user_arrives_as_a_cloud_event(events_service: Service, kafka: Broker) -> None:
    """S1-05: structured JSON, keyed by the user, with headers for filters."""
    topic = kafka.create_topic()
    person = await events_service.register()
    async with relaying(events_service, kafka_settings(kafka, topic)):
        message = about(await read(kafka, topic, 1), person)[0]
    headers = {name: value.decode() for name, value in message.headers() or []}
    event = value_of(message)
    assert headers == {
        "content-type": "application/cloudevents+json; charset=UTF-8",
        "ce_id": event["id"],
        "ce_type": "idp.user.created",
        "ce_source": "/idp",
        "ce_specversion": "1.0",
        "ce_time": event["time"],
        "ce_subject": person.id,
    }
    assert event["dataschema"] == "urn:idp:event:user:1"
    assert event["partitionkey"] == event["subject"] == person.id
    assert event["sequence"] == "00000000000000000001"
    assert event["data"]["origin"] == "register"
    assert event["data"]["user"]["email"] == person.email
    assert event["data"]["user"]["role"] == "user"


async def test_events_of_a_user_arrive_in_order_and_rebuild_the_database(
    events_service: Service, kafka: Broker
) -> None:
    """S1-05: 6 users change at once, in batches of 7; a consumer ends with the state of the database."""
    topic = kafka.create_topic(partitions=5)
    async with relaying(events_service, kafka_settings(kafka, topic), batch=7):
        people = [await events_service.register() for _ in range(6)]
        await asyncio.gather(*(change_often(events_service, each) for each in people))
        await published(events_service)
        number = (await events_service.sql("SELECT count(*) FROM idp.outbox"))[0][0]
        events = [value_of(each) for each in await read(kafka, topic, number)]
    assert out_of_order(events) == []
    users = await events_service.sql("SELECT * FROM idp.users WHERE id = ANY($1)", [each.id for each in people])
    assert differences(rebuild(events), users) == []


async def change_often(service: Service, person: Person) -> None:
    for place in range(5):
        await rename(service, person, name=f"Name {place}")


async def test_an_event_that_was_committed_late_is_not_overtaken(events_service: Service) -> None:
    """Events of others with a greater `seq` are being sent when it becomes visible, with the next one of its user."""
    late = await asyncpg.connect(events_service.database_url)
    transaction = late.transaction()
    await transaction.start()
    first = await late.fetchval(_INSERT, "ada")
    other = (await events_service.sql(_INSERT, "bob"))[0][0]
    async with events_service.app.core.database.transaction() as session:
        sent = [event.seq for event in await find_pending(session, besides=(), limit=10)]
        assert sent == [other]
    await transaction.commit()
    await late.close()
    second = (await events_service.sql(_INSERT, "ada"))[0][0]
    async with events_service.app.core.database.transaction() as session:
        following = await find_pending(session, besides=sent, limit=10)
    assert [event.seq for event in following] == [first, second]


async def test_only_one_of_two_relays_publishes_and_the_other_takes_over(
    events_service: Service, kafka: Broker
) -> None:
    topic = kafka.create_topic()
    settings = kafka_settings(kafka, topic)
    async with relaying(events_service, settings):
        async with relaying(events_service, settings):
            people = [await events_service.register() for _ in range(5)]
            await published(events_service)
        people.append(await events_service.register())
        await published(events_service)
    rows = await events_service.sql("SELECT count(*) FROM idp.outbox")
    found = await read(kafka, topic, rows[0][0])
    ids = [value_of(each)["id"] for each in found]
    assert len(ids) == len(set(ids)), "a clean stop sends nothing twice"
    assert all(about(found, each) for each in people)


async def test_a_refused_event_is_parked_and_blocks_no_other_user(
    events_service: Service, apache_kafka: Broker
) -> None:
    """Larger than the topic's max.message.bytes; a whole request is refused for it, so the others are sent alone."""
    topic = apache_kafka.create_topic(**{"max.message.bytes": "2000"})
    poisoned, others = await events_service.register(), [await events_service.register() for _ in range(3)]
    await rename(events_service, poisoned, avatar_url=AVATAR)
    await rename(events_service, poisoned, avatar_url=None)
    async with relaying(events_service, kafka_settings(apache_kafka, topic)):
        await published(events_service)
    rows = await events_service.sql(PARKED)
    assert [(row["subject"], row["sequence"], row["attempts"]) for row in rows] == [(poisoned.id, 2, 3)]
    assert rows[0]["error"].startswith("MSG_SIZE_TOO_LARGE")
    total = (await events_service.sql(PUBLISHED))[0][0]
    events = [value_of(each) for each in await read(apache_kafka, topic, total)]
    assert out_of_order(events, gaps={poisoned.id}) == []
    assert {each.id for each in others} <= {event["subject"] for event in events}
    assert rebuild(events)[poisoned.id]["avatar_url"] is None, "later events of the same user arrive"


async def test_an_event_larger_than_the_producer_sends_is_parked(events_service: Service, kafka: Broker) -> None:
    """message.max.bytes of the producer itself, from [kafka.options]."""
    topic = kafka.create_topic()
    poisoned, other = await events_service.register(), await events_service.register()
    await rename(events_service, poisoned, avatar_url=AVATAR)
    async with relaying(events_service, kafka_settings(kafka, topic, options={"message.max.bytes": 2000})):
        await published(events_service)
        assert about(await read(kafka, topic, 2), other)
    rows = await events_service.sql(PARKED)
    assert [row["subject"] for row in rows] == [poisoned.id]


async def test_a_missing_topic_loses_and_parks_nothing(events_service: Service, apache_kafka: Broker) -> None:
    """The events wait until an operator creates it, and the log names the reason."""
    topic = "missing-" + events_service.new_email().partition("@")[0]
    person = await events_service.register()
    with structlog.testing.capture_logs() as logs:
        async with relaying(events_service, kafka_settings(apache_kafka, topic)):
            await asyncio.sleep(4)
            rows = await events_service.sql(_STATES)
            assert {tuple(row) for row in rows} == {(True, None, 0)}
            apache_kafka.create_topic(name=topic)
            await published(events_service)
    said = [each for each in logs if each["event"] == "Kafka does not take events; they wait in the outbox"]
    assert ["UNKNOWN_TOPIC" in each["reason"] for each in said] == [True]
    assert about(await read(apache_kafka, topic, 1), person)


async def test_a_read_only_topic_loses_and_parks_nothing(events_service: Service, apache_kafka: Broker) -> None:
    """With SASL, whose settings are passed through; the events wait until the relay may write."""
    topic = apache_kafka.create_topic()
    person = await events_service.register()
    with read_only(apache_kafka, topic):
        async with relaying(events_service, sasl(apache_kafka, topic)):
            await asyncio.sleep(2)
            rows = await events_service.sql(_STATES)
            assert {tuple(row) for row in rows} == {(True, None, 0)}
            allow_writing(apache_kafka, topic)
            await published(events_service)
    assert about(await read(apache_kafka, topic, 1), person)


def sasl(broker: Broker, topic: str, password: str = "tests-only") -> Kafka:
    return kafka_settings(
        broker,
        topic,
        bootstrap_servers=broker.sasl,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_username="idp",
        sasl_password=Secret(password),
    )


async def test_a_wrong_password_loses_nothing(events_service: Service, apache_kafka: Broker) -> None:
    topic = apache_kafka.create_topic()
    await events_service.register()
    async with relaying(events_service, sasl(apache_kafka, topic, password="wrong")):
        await asyncio.sleep(1)
        rows = await events_service.sql(_STATES)
        assert {tuple(row) for row in rows} == {(True, None, 0)}
    async with relaying(events_service, sasl(apache_kafka, topic)):
        await published(events_service)


@pytest.mark.alone
async def test_without_kafka_requests_succeed_and_a_stop_is_quick(events_service: Service, kafka: Broker) -> None:
    """Nothing answers at the broker's address; events wait, and arrive when one is there."""
    with closed_port() as address:
        async with relaying(events_service, kafka_settings(kafka, "users", bootstrap_servers=address)):
            began = time.monotonic()
            person = await events_service.register()
            await rename(events_service, person, name="Changed")
            assert time.monotonic() - began < 3
            await asyncio.sleep(0.5)
            stopping = time.monotonic()
        assert time.monotonic() - stopping < 2
    topic = kafka.create_topic()
    async with relaying(events_service, kafka_settings(kafka, topic)):
        await published(events_service)
        assert len(about(await read(kafka, topic, 2), person)) >= 2


def test_options_that_the_relay_depends_on_are_refused() -> None:
    """A mistake is found at the start, not at the first event."""
    from idp.events.kafka import KafkaPublisher

    for options, said in (
        ({"acks": 1}, "acks"),
        ({"enable.idempotence": False, "transactional.id": "x"}, "enable.idempotence, transactional.id"),
        ({"sasl.password": "x", "request.required.acks": 1}, "request.required.acks, sasl.password"),
        ({"no.such.option": 1}, "no.such.option"),
        ({"compression.type": "soon"}, "compression"),
    ):
        with pytest.raises(SettingsError, match=said):
            KafkaPublisher(Kafka(bootstrap_servers="localhost:9", options=options))
