"""`idp relay`: publish events to Kafka in a process of its own."""

from typing import TYPE_CHECKING

import rich_click as click

if TYPE_CHECKING:
    from idp.settings import Settings


@click.command()
def relay() -> None:
    """Publish events to Kafka, instead of `idp serve` (kafka.relay_in_serve = false) or beside it.

    Any number may run; the one with the lease publishes. Requires DATABASE_URL and KAFKA_BOOTSTRAP_SERVERS.
    """
    import asyncio

    import structlog

    from idp.cli.database import check_revision, with_database
    from idp.cli.failure import Failure
    from idp.cli.production import load_for_database
    from idp.cli.server import until_stopped
    from idp.db.migrate import current
    from idp.ops import logging

    settings = load_for_database().settings
    if not settings.kafka.bootstrap_servers:
        raise Failure("KAFKA_BOOTSTRAP_SERVERS is not set: set it to host:port of a broker.")
    logging.configure(settings.logging)
    with until_stopped():
        check_revision(with_database(settings, current))
        structlog.get_logger("idp.relay").info("relaying", topic=settings.kafka.users_topic)
        asyncio.run(_relay(settings))


async def _relay(settings: "Settings") -> None:
    """Publish until a signal."""
    import asyncio
    import signal

    from idp.background import running
    from idp.db.engine import Database
    from idp.events.kafka import KafkaPublisher
    from idp.events.relay import Relay

    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    database = Database(settings.database)
    kafka = settings.kafka
    async with running(Relay(database, KafkaPublisher(kafka), takeover_seconds=kafka.takeover_seconds)):
        await stopped.wait()
    await database.close()
