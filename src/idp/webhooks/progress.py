"""What an attempt changes at an endpoint: the next event, the next attempt, or its end."""

import random
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from msgspec import Struct
from sqlalchemy import CursorResult, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from idp import clock
from idp.audit.record import SYSTEM, record
from idp.events.reading import Position, StoredEvent
from idp.webhooks.models import WebhookRejectionRow, WebhookRow
from idp.webhooks.posting import Attempt, Result

log = structlog.get_logger("idp.webhooks")

# Seconds before each further attempt, then the last one (Standard Webhooks 1.0, "Deliverability and reliability").
_DELAYS = (5, 30, 120, 600, 1800, 3600, 10_800)
_JITTER = 0.2  # so that endpoints that failed together do not return together
_REJECTED_ATTEMPTS = 5


class Place(Struct, frozen=True):
    """An endpoint and its state, as an attempt found it.

    Attributes:
        url: the attempt counts only if the endpoint still has this URL and this position.
    """

    webhook_id: UUID
    url: str
    position: Position
    attempts: int
    failing_since: datetime | None


async def move(session: AsyncSession, place: Place, to: Position, *, delivered: bool) -> bool:
    """Move on to the next event; False if the endpoint was changed, disabled or set back meanwhile."""
    now = clock.now()
    values: dict[str, object] = {"transaction": to.transaction, "seq": to.seq, "attempts": 0, "next_attempt_at": None}
    if delivered:
        values |= {"failing_since": None, "last_error": None, "last_delivered_at": now}
    return await _update(session, place, values)


async def note_failure(
    session: AsyncSession, place: Place, event: StoredEvent, attempt: Attempt, *, disable_after: timedelta
) -> bool:
    """Note an attempt that failed: skip the event, wait, or disable the endpoint.

    Args:
        session: the transaction, fenced by the lease.
        place: the endpoint.
        event: the event.
        attempt: its result.
        disable_after: for how long an endpoint may fail.

    Returns:
        Whether the next event may be tried now.
    """
    attempts = place.attempts + 1
    if attempt.result is Result.REJECTED and attempts >= _REJECTED_ATTEMPTS:
        if await move(session, place, event.position, delivered=False):
            await _keep_rejection(session, place, event, attempt)
            return True
        return False
    since, now = place.failing_since or clock.now(), clock.now()
    if attempt.result is Result.GONE or now - since >= disable_after:
        await _disable(session, place, "gone" if attempt.result is Result.GONE else "failing", attempt)
        return False
    values: dict[str, object] = {
        "attempts": attempts,
        "next_attempt_at": now + timedelta(seconds=_delay(attempts, attempt.retry_after)),
        "failing_since": since,
        "last_error": attempt.error,
    }
    await _update(session, place, values)
    return False


def _delay(attempts: int, retry_after: int | None) -> float:
    base = _DELAYS[min(attempts, len(_DELAYS)) - 1]
    return max(base * random.uniform(1 - _JITTER, 1 + _JITTER), float(retry_after or 0))  # noqa: S311  no secret


async def _disable(session: AsyncSession, place: Place, reason: str, attempt: Attempt) -> None:
    values: dict[str, object] = {
        "is_active": False,
        "disabled_reason": reason,
        "last_error": attempt.error,
        "next_attempt_at": None,
    }
    if await _update(session, place, values):
        details = {"reason": reason, "error": attempt.error}
        record(session, SYSTEM, action="webhook.disabled", target=f"webhook:{place.webhook_id}", details=details)
        log.error("a webhook is disabled", webhook=str(place.webhook_id), reason=reason, problem=attempt.error)


async def _keep_rejection(session: AsyncSession, place: Place, event: StoredEvent, attempt: Attempt) -> None:
    row = {
        "id": uuid7(),
        "webhook_id": place.webhook_id,
        "event_id": event.id,
        "event_type": event.type,
        "transaction": event.transaction,
        "seq": event.seq,
        "error": attempt.error or "",
        "rejected_at": clock.now(),
    }
    await session.execute(insert(WebhookRejectionRow).values(row).on_conflict_do_nothing())
    log.warning("a webhook rejected an event", webhook=str(place.webhook_id), type=event.type, problem=attempt.error)


async def _update(session: AsyncSession, place: Place, values: dict[str, object]) -> bool:
    unchanged = (
        WebhookRow.id == place.webhook_id,
        WebhookRow.is_active,
        WebhookRow.url == place.url,
        WebhookRow.transaction == place.position.transaction,
        WebhookRow.seq == place.position.seq,
    )
    done = await session.execute(update(WebhookRow).where(*unchanged).values(**values))
    assert isinstance(done, CursorResult)
    return bool(done.rowcount)
