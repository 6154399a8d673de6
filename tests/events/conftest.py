"""A Kafka broker for the tests of a process."""

from collections.abc import Iterator

import pytest

from bench.kafka_broker import Broker, broker


@pytest.fixture(scope="session")
def kafka() -> Iterator[Broker]:
    """A broker, as `bench.kafka_broker` finds one."""
    with broker() as running:
        yield running


@pytest.fixture(scope="session")
def apache_kafka(kafka: Broker) -> Broker:
    """Apache Kafka itself; a test that needs it is skipped elsewhere."""
    if kafka.kind != "kafka":
        pytest.skip("needs Apache Kafka: install java and maven")
    return kafka
