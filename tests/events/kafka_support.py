"""Reads topics, and forbids to write to them; `bench.kafka_broker` runs the broker."""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from bench.kafka_broker import SASL_USER, Broker


@contextmanager
def read_only(broker: Broker, topic: str) -> Iterator[None]:
    """Forbid the user of `sasl` to write to a topic."""
    admin = AdminClient({"bootstrap.servers": broker.servers})
    admin.create_acls([_denial(topic)])[_denial(topic)].result(10)
    try:
        yield
    finally:
        allow_writing(broker, topic)


def allow_writing(broker: Broker, topic: str) -> None:
    """End `read_only`."""
    of_topic = AclBindingFilter(
        ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, None, None, AclOperation.ANY, AclPermissionType.ANY
    )
    admin = AdminClient({"bootstrap.servers": broker.servers})
    admin.delete_acls([of_topic])[of_topic].result(10)


def read(broker: Broker, topic: str, *, until: Callable[[list[Message]], bool], seconds: float = 30) -> list[Message]:
    """Read a topic from its beginning until a condition holds for what was read."""
    consumer = Consumer(
        {"bootstrap.servers": broker.servers, "group.id": secrets.token_hex(8), "enable.auto.commit": False,
         "auto.offset.reset": "earliest"}
    )  # fmt: skip
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    found: list[Message] = []
    deadline = time.monotonic() + seconds
    try:
        while not until(found):
            assert time.monotonic() < deadline, f"only {len(found)} messages in {topic}"
            for message in consumer.consume(1000, timeout=0.2):
                assert message.error() is None, message.error()
                found.append(message)
    finally:
        consumer.close()
    return found


def _denial(topic: str) -> AclBinding:
    return AclBinding(
        ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, f"User:{SASL_USER}", "*", AclOperation.WRITE,
        AclPermissionType.DENY,
    )  # fmt: skip


def value_of(message: Message) -> dict[str, Any]:
    """Return the CloudEvent of a message."""
    return json.loads(message.value() or b"")
