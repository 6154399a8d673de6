"""Delivers events to the endpoints, in one process at a time, in order per endpoint, at least once.

The process that has the lease runs a task for each endpoint with events, so a slow endpoint delays no other. An event
is posted outside any transaction; its result is written in a transaction that the lease fences (docs/decisions/0040).
After a takeover the next process may post an event again; its `webhook-id` is the same.
"""

import asyncio
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.background import BackgroundService
from idp.db.engine import Database
from idp.db.lease import Lease, LeaseLost
from idp.errors import DatabaseUnavailable
from idp.events.envelope import encode
from idp.events.reading import Position, StoredEvent, last_position, read_after
from idp.ops import metrics
from idp.ops.logging import describe
from idp.settings_schema import Webhooks
from idp.signing.fetch import Fetcher
from idp.signing.sealing import Sealer
from idp.webhooks import posting, progress, signing
from idp.webhooks.models import WebhookRow
from idp.webhooks.posting import Result
from idp.webhooks.progress import Place

log = structlog.get_logger("idp.webhooks")

_POLL_SECONDS = 0.5
_STANDBY_SECONDS = 1.0  # between two attempts to take the lease
_UNAVAILABLE_SECONDS = 2.0
_LEASE_SECONDS = 6.0
_BATCH = 100
_MAX_CONCURRENT_POSTS = 50


class DeliveryWorker(BackgroundService):
    """Delivers events.

    Args:
        database: stores the outbox and the endpoints.
        sealer: decrypts the endpoints' secrets.
        fetcher: posts, with the limits of SEC-66.
        settings: times.
    """

    def __init__(self, database: Database, sealer: Sealer, fetcher: Fetcher, settings: Webhooks) -> None:
        super().__init__("webhook deliveries", self._run)
        self._database = database
        self._sealer = sealer
        self._fetcher = fetcher
        self._seconds = settings.timeout_seconds
        self._disable_after = timedelta(days=settings.disable_after_days)
        self._lease = Lease("webhook deliveries", seconds=_LEASE_SECONDS)
        self._deliveries: dict[UUID, asyncio.Task[None]] = {}
        self._posts = asyncio.Semaphore(_MAX_CONCURRENT_POSTS)

    async def stop(self) -> None:
        """Stop; what was posted and not noted is posted again by the next leader."""
        await super().stop()
        await self._cancel()
        await self._lease.release(self._database)

    async def _run(self) -> None:
        while True:
            try:
                pause = await self._start_deliveries()
            except DatabaseUnavailable:
                pause = _UNAVAILABLE_SECONDS
            except Exception as error:  # noqa: BLE001  background work: the next round may succeed
                log.error("delivering webhooks failed", **describe(error))  # noqa: TRY400
                pause = _UNAVAILABLE_SECONDS
            await asyncio.sleep(pause)

    async def _start_deliveries(self) -> float:
        """Start a task for each endpoint that has something to do, and return the seconds until the next round."""
        async with self._database.transaction() as session:
            token = await self._lease.take(session)
            due = await self._due(session) if token is not None else []
        if token is None:
            await self._cancel()
            return _STANDBY_SECONDS
        self._deliveries = {key: task for key, task in self._deliveries.items() if not task.done()}
        for webhook_id in due:
            if webhook_id not in self._deliveries:
                self._deliveries[webhook_id] = asyncio.create_task(self._deliver_all(webhook_id, token))
        return _POLL_SECONDS

    async def _due(self, session: AsyncSession) -> list[UUID]:
        newest = await last_position(session)
        is_due = or_(WebhookRow.next_attempt_at.is_(None), WebhookRow.next_attempt_at <= clock.now())
        rows = await session.execute(
            select(WebhookRow.id, WebhookRow.transaction, WebhookRow.seq).where(WebhookRow.is_active, is_due)
        )
        return [webhook_id for webhook_id, *position in rows if Position(*position) < newest]

    async def _cancel(self) -> None:
        for task in self._deliveries.values():
            task.cancel()
        await asyncio.gather(*self._deliveries.values(), return_exceptions=True)
        self._deliveries = {}

    # --- one endpoint ------------------------------------------------------------------------------------------------

    async def _deliver_all(self, webhook_id: UUID, token: int) -> None:
        """Deliver to an endpoint until it has everything, fails, or was changed."""
        try:
            while await self._deliver_batch(webhook_id, token):
                pass
        except (LeaseLost, DatabaseUnavailable):
            pass  # the next round, or the next leader, continues
        except Exception as error:  # noqa: BLE001  the other endpoints go on
            log.error("delivering to a webhook failed", webhook=str(webhook_id), **describe(error))  # noqa: TRY400

    async def _deliver_batch(self, webhook_id: UUID, token: int) -> bool:
        """Deliver the next events, and return whether there may be more."""
        async with self._database.transaction() as session:
            await self._lease.check(session, token)
            row = await session.get(WebhookRow, webhook_id)
            if row is None or not row.is_active:
                return False
            events = await read_after(session, Position(row.transaction, row.seq), limit=_BATCH)
        keys = signing.secrets_of(self._sealer, row, clock.now())
        place = _place_of(row)
        for event in events:
            if row.types and event.type not in row.types:
                continue
            if not await self._deliver(place, event, keys, token):
                return False
            place = Place(place.webhook_id, place.url, event.position, 0, None)
        if events and events[-1].position != place.position:
            async with self._database.transaction() as session:  # of other types
                await self._lease.check(session, token)
                if not await progress.move(session, place, events[-1].position, delivered=False):
                    return False
        return len(events) == _BATCH

    async def _deliver(self, place: Place, event: StoredEvent, keys: list[str], token: int) -> bool:
        async with self._posts:
            attempt = await posting.post(
                self._fetcher, place.url, str(event.id), encode(event), keys, seconds=self._seconds
            )
        metrics.count_delivery(result=attempt.result)
        async with self._database.transaction() as session:
            await self._lease.check(session, token)
            if attempt.result is Result.DELIVERED:
                return await progress.move(session, place, event.position, delivered=True)
            return await progress.note_failure(session, place, event, attempt, disable_after=self._disable_after)


def _place_of(row: WebhookRow) -> Place:
    return Place(row.id, row.url, Position(row.transaction, row.seq), row.attempts, row.failing_since)
