"""The relay to Kafka (S1-05): every event arrives, in order per user, with the headers of CloudEvents."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from events.kafka_support import Broker, value_of
from events.relay_support import kafka_settings, published, relaying
from factories import Service, running
from idp.dev.embedded import EmbeddedPostgres


@pytest.fixture(scope="module")
async def events_service(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("relayed")) as service:
        yield service


async def test_a_new_user_arrives_as_a_cloud_event(events_service: Service, kafka: Broker) -> None:
    """S1-05: structured JSON, keyed by the user, with headers for filters, and no secret."""
    topic = kafka.create_topic()
    person = await events_service.register()
    async with relaying(events_service, kafka_settings(kafka, topic)):
        await published(events_service)
        found = await asyncio.to_thread(
            kafka.read, topic, until=lambda seen: any(_is_about(m, person.id) for m in seen)
        )
    message = next(each for each in found if _is_about(each, person.id))
    headers = {name: value.decode() for name, value in message.headers() or []}
    event = value_of(message)
    assert message.key() == person.id.encode()
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


def _is_about(message: object, user_id: str) -> bool:
    event = value_of(message)  # type: ignore[arg-type]
    return bool(event["type"] == "idp.user.created" and event["subject"] == user_id)
