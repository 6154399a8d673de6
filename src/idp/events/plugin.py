"""Plugin of the events: the relay to Kafka, the retention, and the metrics of the outbox."""

from idp.background import BackgroundService
from idp.db.engine import Database
from idp.events.outbox_gauge import OutboxGauge
from idp.events.retention import Retention
from idp.plugin import Plugin
from idp.settings_schema import Events, Kafka


class EventsPlugin(Plugin):
    """Publishes events to Kafka, if it is configured, and deletes old ones. Other packages write them.

    Args:
        database: stores the outbox.
        kafka: without servers, nothing is published.
        events: how long events are kept.

    Raises:
        SettingsError: librdkafka refuses an option.
    """

    def __init__(self, database: Database, kafka: Kafka, events: Events) -> None:
        is_relayed = bool(kafka.bootstrap_servers)
        services: list[BackgroundService] = [Retention(database, days=events.retention_days, relayed=is_relayed)]
        if is_relayed:
            services.append(OutboxGauge(database))
        if is_relayed and kafka.relay_in_serve:
            services.append(_relay(database, kafka))
        self.services = services


def _relay(database: Database, kafka: Kafka) -> BackgroundService:
    from idp.events.kafka import KafkaPublisher  # librdkafka takes 3 MB, which only the relay needs
    from idp.events.relay import Relay

    return Relay(database, KafkaPublisher(kafka), takeover_seconds=kafka.takeover_seconds)
