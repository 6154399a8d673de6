"""The relay: publishes the outbox to Kafka, in one process at a time, in order per subject, at least once.

Each batch is read under the lease, sent outside any transaction, and marked in a transaction that the lease fences
(docs/decisions/0040). An event that Kafka refuses is sent again alone, and parked after a few attempts; later events of
its subject wait until then. While Kafka is unavailable everything waits (docs/decisions/0041).
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import msgspec
import structlog

from idp import tracing
from idp.background import BackgroundService
from idp.db.engine import Database
from idp.db.lease import Lease, LeaseLost
from idp.errors import DatabaseUnavailable
from idp.events import envelope, pending
from idp.events.kafka import NOT_SENT, KafkaPublisher, Outgoing, Refusal
from idp.events.pending import PendingEvent
from idp.ops import metrics
from idp.ops.logging import describe

log = structlog.get_logger("idp.events")

BATCH = 4000
MAX_ATTEMPTS = 3  # of an event that Kafka refuses, alone
_PROBE = 100  # events per transaction while Kafka does not take any
_ALONE_PER_ROUND = 20
_POLL_SECONDS = 0.3  # between two reads of an empty outbox
_STANDBY_SECONDS = 1.0  # between two attempts to take the lease
_UNAVAILABLE_SECONDS = 2.0
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # the first runs on while the machine is suspended
_COPIED = ("id", "type", "source", "specversion", "time", "subject")


class _Batch(NamedTuple):
    """Events read under a lease, and until when they may be sent, by `_now`."""

    events: list[PendingEvent]
    token: int
    until: float

    @property
    def seqs(self) -> list[int]:
        return [event.seq for event in self.events]


class Relay(BackgroundService):
    """Publishes events.

    Args:
        database: stores the outbox.
        publisher: to Kafka.
        takeover_seconds: how long another process waits after this one stopped without notice.
        batch: events per transaction.
    """

    def __init__(
        self, database: Database, publisher: KafkaPublisher, *, takeover_seconds: float, batch: int = BATCH
    ) -> None:
        super().__init__("event relay", self._run)
        self._database = database
        self._publisher = publisher
        self._batch = batch
        self._lease = Lease("event relay", seconds=takeover_seconds)
        self._lease_seconds = takeover_seconds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka")
        self._is_waiting = False

    async def stop(self) -> None:
        """Stop; unconfirmed events are sent again by the next leader."""
        self._publisher.interrupt()
        await super().stop()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._publisher.close)
        self._thread.shutdown()
        await self._lease.release(self._database)

    async def _run(self) -> None:
        while True:
            try:
                pause = await self.drain()
            except LeaseLost:
                pause = _POLL_SECONDS
            except DatabaseUnavailable:
                pause = _UNAVAILABLE_SECONDS
            except Exception as error:  # noqa: BLE001  background work: the next round may succeed
                log.error("publishing events failed", **describe(error))  # noqa: TRY400
                pause = _UNAVAILABLE_SECONDS
            await asyncio.sleep(pause)

    async def drain(self) -> float:
        """Publish until the outbox is empty, Kafka is unavailable, or another process has the lease.

        Returns:
            Seconds to wait before the next call.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable.
            LeaseLost: another process took over; it sends again what this one could not mark.
        """
        marking: asyncio.Task[bool] | None = None
        marked: Sequence[int] = ()
        batch = await self._read(besides=())
        try:
            while batch is not None and batch.events:
                seqs = batch.seqs
                sending = asyncio.create_task(self._send(batch))
                try:
                    following = await self._read(besides=[*marked, *seqs])
                finally:
                    outcome = await sending
                if marking is not None and not await marking:
                    return _UNAVAILABLE_SECONDS
                marking = asyncio.create_task(self._record(batch, outcome))
                if any(outcome):  # read again from the start: the rest must not overtake what is left
                    return _POLL_SECONDS if await marking else _UNAVAILABLE_SECONDS
                batch, marked = following, seqs
        finally:
            if marking is not None:
                await marking
        return min(_STANDBY_SECONDS, self._lease_seconds / 4) if batch is None else _POLL_SECONDS

    async def _read(self, *, besides: Sequence[int]) -> _Batch | None:
        """Return the next events, besides those being sent or marked; None if another process has the lease."""
        until = _now() + self._lease_seconds
        async with self._database.transaction() as session:
            token = await self._lease.take(session)
            if token is None:
                return None
            limit = min(self._batch, _PROBE) if self._is_waiting else self._batch
            return _Batch(await pending.find_pending(session, besides=besides, limit=limit), token, until)

    # --- sending -----------------------------------------------------------------------------------------------------

    async def _send(self, batch: _Batch) -> list[Refusal | None]:
        """Send a batch in the thread of the producer, and keep the lease; return for each event None if Kafka has it.

        Raises:
            LeaseLost: this process was paused since it read the batch.
        """
        if _now() > batch.until:
            raise LeaseLost(self._lease.name)
        sending = asyncio.get_running_loop().run_in_executor(self._thread, self._send_now, batch)
        while not (await asyncio.wait({sending}, timeout=self._lease_seconds / 3))[0]:
            with contextlib.suppress(DatabaseUnavailable):
                async with self._database.transaction() as session:
                    await self._lease.take(session)
        return await sending

    def _send_now(self, batch: _Batch) -> list[Refusal | None]:
        suspects = {event.subject for event in batch.events if event.attempts}
        together = [event for event in batch.events if event.subject not in suspects]
        outcome = dict(zip([event.seq for event in together], self._publish(together), strict=True))
        outcome |= self._send_alone([event for event in batch.events if event.subject in suspects])
        return [outcome[event.seq] for event in batch.events]

    def _send_alone(self, events: Sequence[PendingEvent]) -> dict[int, Refusal | None]:
        """Send events one by one, because a refusal of one may be that of a whole request."""
        outcome: dict[int, Refusal | None] = {}
        waiting: set[str] = set()
        is_available = True
        for event in events:
            if event.subject in waiting or len(outcome) >= _ALONE_PER_ROUND or not is_available:
                refusal: Refusal | None = NOT_SENT
            else:
                (refusal,) = self._publish([event])
                is_available = refusal is None or refusal.is_final
            if refusal is not None:
                waiting.add(event.subject)
            outcome[event.seq] = refusal
        return outcome

    def _publish(self, events: Sequence[PendingEvent]) -> list[Refusal | None]:
        if not events:
            return []
        with tracing.background("kafka publish"):
            return self._publisher.publish([message_of(event) for event in events])

    # --- recording ---------------------------------------------------------------------------------------------------

    async def _record(self, batch: _Batch, outcome: Sequence[Refusal | None]) -> bool:
        """Mark what Kafka has, except what follows an undelivered event of its subject; count refusals.

        Returns:
            Whether Kafka is available.
        """
        published, refused, waiting = [], {}, set()
        for event, refusal in zip(batch.events, outcome, strict=True):
            if refusal is not None:
                waiting.add(event.subject)
            elif event.subject not in waiting:
                published.append(event.seq)
            if refusal is not None and refusal.is_final:
                refused[event.seq] = refusal.reason
        async with self._database.transaction() as session:
            await self._lease.check(session, batch.token)
            await pending.mark_published(session, published)
            attempted = await pending.count_attempts(session, refused, limit=MAX_ATTEMPTS) if refused else []
        metrics.count_published(len(published))
        for each in attempted:
            if each.is_parked:
                log.error("event parked", id=str(each.id), type=each.type, subject=each.subject)
        return self._is_available(outcome)

    def _is_available(self, outcome: Sequence[Refusal | None]) -> bool:
        """Whether no message failed because of Kafka; log changes."""
        problems = [each.reason for each in outcome if each is not None and not each.is_final and each is not NOT_SENT]
        if bool(problems) != self._is_waiting:
            self._is_waiting = bool(problems)
            if problems:
                log.error("Kafka does not take events; they wait in the outbox", reason=problems[0])
            else:
                log.info("Kafka takes events again")
        return not problems


def _now() -> float:
    return time.clock_gettime(_CLOCK)


def message_of(event: PendingEvent) -> Outgoing:
    """Return an event as a message: structured JSON, with the attributes as headers for cheap filters."""
    attributes = envelope.cloud_event(event)
    headers = {"content-type": envelope.CONTENT_TYPE} | {f"ce_{name}": attributes[name] for name in _COPIED}
    return Outgoing(event.subject.encode(), msgspec.json.encode(attributes), headers)
