"""The producer: publishes batches of messages, and reports for each whether Kafka has it.

All calls of librdkafka, its callbacks included, run in the thread that calls `publish`; nothing of it touches the event
loop. The producer is idempotent and waits for all in-sync replicas.
"""

import threading
import time
from collections.abc import Sequence
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer
from msgspec import Struct

from idp.settings import Settings, SettingsError
from idp.settings_schema import Kafka

log = structlog.get_logger("idp.events")

DELIVERY_SECONDS = 8.0  # then a message counts as not delivered, and the relay sends it again
_POLL_SECONDS = 0.1
_POLL_EVERY = 100  # messages
_LOG_EVERY_SECONDS = 30.0
# The relay depends on them; everything else of librdkafka can be set in [kafka.options].
_OURS = frozenset({"bootstrap.servers", "metadata.broker.list", "client.id", "security.protocol", "sasl.mechanism",
                   "sasl.mechanisms", "sasl.username", "sasl.password", "enable.idempotence", "acks",
                   "request.required.acks", "message.timeout.ms", "delivery.timeout.ms", "enable.gapless.guarantee",
                   "transactional.id", "error_cb", "logger", "on_delivery", "delivery.report.only.error"})  # fmt: skip
# Errors of one message. Any other one concerns the topic or the cluster: the message is kept and sent again.
_OF_THE_MESSAGE = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
        KafkaError._BAD_MSG,  # noqa: SLF001  librdkafka's own codes begin with an underscore
        KafkaError._INVALID_ARG,  # noqa: SLF001
    }
)


class Outgoing(Struct, frozen=True):
    """A message; the key decides the partition, and so the order."""

    key: bytes
    value: bytes
    headers: dict[str, str | bytes | None]


class Refusal(Struct, frozen=True):
    """Why a message was not delivered.

    Attributes:
        reason: librdkafka's text.
        is_final: whether the message itself is the reason, so that others may pass.
    """

    reason: str
    is_final: bool


NOT_SENT = Refusal("not sent", is_final=False)


def producer_config(settings: Kafka) -> dict[str, Any]:
    """Return librdkafka's configuration.

    Raises:
        SettingsError: an option of `[kafka.options]` belongs to the relay or has its own setting.
    """
    if taken := sorted(_OURS & settings.options.keys()):
        raise SettingsError(
            [f"kafka.options cannot set {', '.join(taken)}: it has a setting of its own, or the relay depends on it."]
        )
    config: dict[str, Any] = {
        "log_level": 2,  # `error_cb` reports what matters; librdkafka's own lines would be no JSON
        "linger.ms": 5,
        "compression.type": "lz4",
        "reconnect.backoff.max.ms": 1000,
        "topic.metadata.refresh.interval.ms": 30_000,
        "topic.metadata.propagation.max.ms": 2000,  # then a missing topic is reported as such, not as a timeout
        **settings.options,
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": settings.client_id,
        "security.protocol": settings.security_protocol,
        "enable.idempotence": True,
        "acks": "all",
        "message.timeout.ms": int(DELIVERY_SECONDS * 1000),
    }
    for name, value in (("mechanism", settings.sasl_mechanism), ("username", settings.sasl_username)):
        if value is not None:
            config[f"sasl.{name}"] = value
    if settings.sasl_password is not None:
        config["sasl.password"] = settings.sasl_password.reveal()
    return config


def check_kafka(settings: Settings) -> None:
    """Check the settings of Kafka without connecting to it.

    Raises:
        SettingsError: librdkafka refuses an option.
    """
    config = producer_config(settings.kafka)
    new_producer({name: value for name, value in config.items() if name != "bootstrap.servers"})


def new_producer(config: dict[str, Any]) -> Producer:
    """Return a producer.

    Raises:
        SettingsError: librdkafka refuses an option.
    """
    try:
        return Producer(config)
    except (KafkaException, TypeError, ValueError) as error:
        said = error.args[0].str() if isinstance(error, KafkaException) else str(error)
        raise SettingsError([f"The settings of [kafka] cannot be used: {said}."]) from None


class KafkaPublisher:
    """Publishes to one topic. One thread at a time calls `publish`; any may call `interrupt`.

    Args:
        settings: of Kafka.

    Raises:
        SettingsError: librdkafka refuses an option.
    """

    def __init__(self, settings: Kafka) -> None:
        self._topic = settings.users_topic
        self._config = producer_config(settings)
        self._logged_at = -_LOG_EVERY_SECONDS
        self._interrupted = threading.Event()
        self._producer: Producer | None = self._new()  # now, for errors of the settings

    def _new(self) -> Producer:
        return new_producer(self._config | {"error_cb": self._report, "logger": _Silent()})

    def publish(self, messages: Sequence[Outgoing]) -> list[Refusal | None]:
        """Send messages in this order, and wait until Kafka has confirmed or refused each.

        Returns:
            For each message None if Kafka has it, else the reason. An unconfirmed one may have arrived nevertheless.
        """
        if self._producer is None:
            self._producer = self._new()
        producer, outcome = self._producer, list[Refusal | None]([NOT_SENT] * len(messages))
        reported = 0
        for place, message in enumerate(messages):

            def report(error: KafkaError | None, _: object, place: int = place) -> None:
                nonlocal reported
                reported += 1
                outcome[place] = None if error is None else _refusal(error)

            if (refusal := self._produce(producer, message, report)) is not None:
                report(None, None)
                outcome[place] = refusal
            if place % _POLL_EVERY == 0:
                producer.poll(0)
        deadline = time.monotonic() + DELIVERY_SECONDS + 2
        while reported < len(messages) and time.monotonic() < deadline and not self._interrupted.is_set():
            producer.poll(_POLL_SECONDS)
        if any(each is not None and not each.is_final for each in outcome):
            self._discard()
        return outcome

    def _produce(self, producer: Producer, message: Outgoing, report: Any) -> Refusal | None:
        """Hand a message over; return why that failed."""
        while not self._interrupted.is_set():
            try:
                producer.produce(
                    self._topic, key=message.key, value=message.value, headers=message.headers, on_delivery=report
                )
            except BufferError:  # the queue is full: let it drain
                producer.poll(_POLL_SECONDS)
            except KafkaException as error:
                return _refusal(error.args[0])
            else:
                return None
        return NOT_SENT

    def interrupt(self) -> None:
        """End a running `publish` soon; its unconfirmed messages count as not sent."""
        self._interrupted.set()

    def close(self) -> None:
        """Close the connections; what is not confirmed is dropped."""
        self._discard()

    def _discard(self) -> None:
        """Drop the producer with its queue: messages that are sent again must not be overtaken by themselves."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.flush(0)

    def _report(self, error: KafkaError) -> None:
        """Log an error of the connection, unless one was logged a short time ago."""
        if time.monotonic() - self._logged_at >= _LOG_EVERY_SECONDS:
            self._logged_at = time.monotonic()
            log.warning("Kafka is not available; events wait in the outbox", reason=error.str())


def _refusal(error: KafkaError) -> Refusal:
    return Refusal(f"{error.name()}: {error.str()}", is_final=error.code() in _OF_THE_MESSAGE)


class _Silent:
    """Takes librdkafka's log lines, which `error_cb` reports as well."""

    def log(self, *_: object) -> None:
        return None
