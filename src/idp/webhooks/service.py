"""Webhook endpoints: created, changed, deleted, and set back, inside the caller's transaction."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from advanced_alchemy.filters import OrderBy
from msgspec import UNSET
from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.audit.record import Origin, record
from idp.db.repository import Repository
from idp.errors import TooManyWebhooks, WebhookNotFound
from idp.events.reading import START, Position, last_position
from idp.signing.sealing import Sealer
from idp.webhooks import signing
from idp.webhooks.models import WebhookRejectionRow, WebhookRow
from idp.webhooks.shapes import (
    NewWebhook,
    WebhookChange,
    WebhookOut,
    WebhookRejection,
    WebhookReplay,
    WebhookSecret,
    WebhookSecretRotation,
)

# Before the first event of this time that is visible to readers.
_BEFORE = text("""
SELECT transaction, seq FROM idp.outbox
 WHERE (transaction, seq) < (SELECT transaction, seq FROM idp.outbox WHERE created_at >= :since
                              ORDER BY transaction, seq LIMIT 1)
 ORDER BY transaction DESC, seq DESC LIMIT 1
""")
_HAS_LATER = text("SELECT EXISTS (SELECT FROM idp.outbox WHERE created_at >= :since)")
_LOCK = text("LOCK TABLE idp.webhooks IN SHARE ROW EXCLUSIVE MODE")  # counts the endpoints, and adds one


class WebhookRepository(Repository[WebhookRow]):
    """Endpoints, oldest first."""

    model_type = WebhookRow
    ordering = (OrderBy("created_at"), OrderBy("id"))


async def list_webhooks(session: AsyncSession) -> list[WebhookOut]:
    """Return all endpoints."""
    rows, _ = await WebhookRepository(session).page(limit=None, offset=0)
    return [WebhookOut(**_members(row)) for row in rows]


async def get_webhook(session: AsyncSession, webhook_id: UUID) -> WebhookOut:
    """Return an endpoint.

    Raises:
        WebhookNotFound: there is none with this id.
    """
    return WebhookOut(**_members(await get_row(session, webhook_id)))


async def create(
    session: AsyncSession, origin: Origin, sealer: Sealer, new: NewWebhook, *, max_endpoints: int
) -> WebhookSecret:
    """Create an endpoint, which gets the events from now on.

    Raises:
        TooManyWebhooks: so many exist already.
    """
    await session.execute(_LOCK)
    if (await session.scalar(select(func.count()).select_from(WebhookRow)) or 0) >= max_endpoints:
        raise TooManyWebhooks
    secret, position = signing.new_secret(), await last_position(session)
    row = WebhookRow(
        url=new.url,
        description=new.description,
        types=list(new.types),
        created_by=origin.actor,
        sealed_secret=signing.seal(sealer, secret),
        transaction=position.transaction,
        seq=position.seq,
    )
    session.add(row)
    await session.flush()
    _record(session, origin, row, "created", url=row.url)
    return WebhookSecret(**_members(row), secret=secret)


async def change(session: AsyncSession, origin: Origin, webhook_id: UUID, wanted: WebhookChange) -> WebhookOut:
    """Change an endpoint. Another URL, or enabling it, starts the next attempt at once.

    Raises:
        WebhookNotFound: there is none with this id.
    """
    row = await get_row(session, webhook_id, lock=True)
    before = _members(row)
    for name in ("url", "description", "types"):
        if (value := getattr(wanted, name)) is not UNSET:
            setattr(row, name, list(value) if name == "types" else value)
    if wanted.is_active is False and row.is_active:
        row.is_active, row.disabled_reason = False, "admin"
    if wanted.is_active is True and not row.is_active:
        row.is_active, row.disabled_reason = True, None
    if row.url != before["url"] or row.is_active != before["is_active"] or wanted.is_active is True:
        _start_over(row)
    await session.flush()
    after = _members(row)
    names = ("url", "description", "types", "is_active")
    if changed := {name: [before[name], after[name]] for name in names if before[name] != after[name]}:
        _record(session, origin, row, "changed", **changed)
    return WebhookOut(**after)


async def remove(session: AsyncSession, origin: Origin, webhook_id: UUID) -> None:
    """Delete an endpoint and its rejections.

    Raises:
        WebhookNotFound: there is none with this id.
    """
    row = await get_row(session, webhook_id, lock=True)
    _record(session, origin, row, "deleted", url=row.url)
    await session.delete(row)


async def rotate_secret(
    session: AsyncSession, origin: Origin, sealer: Sealer, webhook_id: UUID, wanted: WebhookSecretRotation
) -> WebhookSecret:
    """Replace the secret; deliveries are signed with both during the overlap.

    Raises:
        WebhookNotFound: there is none with this id.
    """
    row = await get_row(session, webhook_id, lock=True)
    secret = signing.new_secret()
    overlap = timedelta(seconds=wanted.overlap_seconds)
    row.former_sealed_secret, row.former_until = (row.sealed_secret, clock.now() + overlap) if overlap else (None, None)
    row.sealed_secret = signing.seal(sealer, secret)
    await session.flush()
    _record(session, origin, row, "secret_rotated", overlap_seconds=wanted.overlap_seconds)
    return WebhookSecret(**_members(row), secret=secret)


async def replay(session: AsyncSession, origin: Origin, webhook_id: UUID, wanted: WebhookReplay) -> WebhookOut:
    """Deliver again what follows a position. Receivers recognize repeated events by `webhook-id`.

    Args:
        session: the caller's transaction.
        origin: the request's origin.
        webhook_id: the endpoint.
        wanted: a cursor or a time, which the route has checked.

    Raises:
        WebhookNotFound: there is none with this id.
        ValueError: the cursor is none.
    """
    row = await get_row(session, webhook_id, lock=True)
    position = Position.parse(wanted.after) if wanted.after is not None else await _before(session, wanted.since)
    row.transaction, row.seq = position.transaction, position.seq
    _start_over(row)
    later = (WebhookRejectionRow.transaction, WebhookRejectionRow.seq)
    is_later = (later[0] > position.transaction) | ((later[0] == position.transaction) & (later[1] > position.seq))
    await session.execute(delete(WebhookRejectionRow).where(WebhookRejectionRow.webhook_id == row.id, is_later))
    await session.flush()
    _record(session, origin, row, "replayed", after=str(position))
    return WebhookOut(**_members(row))


async def note_test(session: AsyncSession, origin: Origin, webhook_id: UUID, message_id: str) -> WebhookRow:
    """Record that a test event is posted to an endpoint, and return the endpoint.

    Args:
        session: the caller's transaction.
        origin: the request's origin.
        webhook_id: the endpoint.
        message_id: `webhook-id` of the test.

    Raises:
        WebhookNotFound: there is none with this id.
    """
    row = await get_row(session, webhook_id)
    _record(session, origin, row, "tested", message_id=message_id)
    return row


async def _before(session: AsyncSession, since: datetime | None) -> Position:
    if not await session.scalar(_HAS_LATER, {"since": since}):
        return await last_position(session)
    found = (await session.execute(_BEFORE, {"since": since})).first()
    return Position(*found) if found else START


async def rejections(session: AsyncSession, webhook_id: UUID, *, limit: int) -> list[WebhookRejection]:
    """Return the newest events that an endpoint rejected.

    Raises:
        WebhookNotFound: there is none with this id.
    """
    await get_row(session, webhook_id)
    rows = select(WebhookRejectionRow).where(WebhookRejectionRow.webhook_id == webhook_id)
    found: Sequence[WebhookRejectionRow] = (
        await session.scalars(rows.order_by(WebhookRejectionRow.rejected_at.desc()).limit(limit))
    ).all()
    return [
        WebhookRejection(each.event_id, each.event_type, f"{each.transaction}-{each.seq}", each.error, each.rejected_at)
        for each in found
    ]


async def get_row(session: AsyncSession, webhook_id: UUID, *, lock: bool = False) -> WebhookRow:
    """Return the row of an endpoint, locked until the commit if wanted.

    Raises:
        WebhookNotFound: there is none with this id.
    """
    row = await WebhookRepository(session).find(webhook_id, lock=lock)
    if row is None:
        raise WebhookNotFound
    return row


def _start_over(row: WebhookRow) -> None:
    row.attempts, row.next_attempt_at, row.failing_since, row.last_error = 0, None, None, None


def _members(row: WebhookRow) -> dict[str, Any]:
    names = set(WebhookOut.__struct_fields__) - {"position"}
    return {name: getattr(row, name) for name in names} | {"position": f"{row.transaction}-{row.seq}"}


def _record(session: AsyncSession, origin: Origin, row: WebhookRow, verb: str, **details: Any) -> None:
    record(session, origin, action=f"webhook.{verb}", target=f"webhook:{row.id}", details=details)
