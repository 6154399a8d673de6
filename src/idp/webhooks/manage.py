"""Changes of endpoints by administrators, as the API and the administration pages make them.

Every function runs one transaction, which authorizes the administrator again after its locks (decision 0029).
"""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from idp import clock
from idp.audit.record import Origin
from idp.db.engine import Database
from idp.events.envelope import rfc_3339
from idp.events.reading import Position
from idp.ops.problems import invalid
from idp.principal.model import Principal
from idp.principal.reauthorize import reauthorize
from idp.signing.fetch import Fetcher
from idp.signing.sealing import Sealer
from idp.webhooks import posting, service, signing
from idp.webhooks.models import WebhookRow
from idp.webhooks.shapes import NewWebhook, WebhookReplay, WebhookSecret, WebhookTest

T = TypeVar("T")


class Outgoing(Struct, frozen=True):
    """What posts to endpoints, and encrypts their secrets."""

    fetcher: Fetcher
    sealer: Sealer


async def create(
    database: Database,
    outgoing: Outgoing,
    principal: Principal,
    origin: Origin,
    new: NewWebhook,
    *,
    max_endpoints: int,
) -> WebhookSecret:
    """Create an endpoint. Errors as `service.create`, `check_url` and `reauthorize`."""
    check_url(outgoing, new.url)
    async with database.transaction() as session:
        await reauthorize(session, principal, manages=True)
        return await service.create(session, origin, outgoing.sealer, new, max_endpoints=max_endpoints)


async def change(
    database: Database, principal: Principal, webhook_id: UUID, work: Callable[[AsyncSession], Awaitable[T]]
) -> T:
    """Run a change of a locked endpoint for an administrator.

    Args:
        database: the database.
        principal: the administrator.
        webhook_id: the endpoint.
        work: the change, such as `service.replay`.

    Raises:
        WebhookNotFound: there is none with this id.
        AdminRequired: the caller is no longer an administrator; see also `reauthorize`.
    """
    async with database.transaction() as session:
        await service.get_row(session, webhook_id, lock=True)
        await reauthorize(session, principal, manages=True)
        return await work(session)


async def try_delivery(
    database: Database, outgoing: Outgoing, principal: Principal, origin: Origin, webhook_id: UUID, *, seconds: float
) -> WebhookTest:
    """Post a signed event of type `idp.webhook.test` now, once, and return the result.

    The audit record is committed before the event is posted, so that each test that left this service is on record.

    Args:
        database: the database.
        outgoing: posts.
        principal: the administrator.
        origin: the request's origin.
        webhook_id: the endpoint.
        seconds: the timeout.

    Raises:
        WebhookNotFound: there is none with this id.
        AdminRequired: the caller is no longer an administrator; see also `reauthorize`.
    """
    message_id = str(uuid7())

    async def work(session: AsyncSession) -> WebhookRow:
        return await service.note_test(session, origin, webhook_id, message_id)

    row = await change(database, principal, webhook_id, work)
    keys, began = signing.secrets_of(outgoing.sealer, row, clock.now()), time.monotonic()
    attempt = await posting.post(outgoing.fetcher, row.url, message_id, _test_event(message_id), keys, seconds=seconds)
    delivered = attempt.result is posting.Result.DELIVERED
    return WebhookTest(delivered, attempt.error, round(time.monotonic() - began, 3))


def check_url(outgoing: Outgoing, url: str) -> None:
    """Refuse an address that deliveries must not go to.

    Raises:
        ValidationFailed: says why.
    """
    if problem := outgoing.fetcher.problem_of(url):
        raise invalid(["body", "url"], f"This address is not allowed: {problem}.")


def check_replay(data: WebhookReplay) -> None:
    """Refuse a replay from nowhere.

    Raises:
        ValidationFailed: says what is missing.
    """
    if (data.after is None) == (data.since is None):
        raise invalid(["body"], "Send either `after` or `since`.")
    if data.since is not None and data.since.tzinfo is None:
        raise invalid(["body", "since"], "Send a time with an offset, such as 2026-01-31T00:00:00Z.")
    try:
        if data.after is not None:
            Position.parse(data.after)
    except ValueError:
        raise invalid(
            ["body", "after"], "Send a cursor of GET /v1/events, such as the position of a rejection."
        ) from None


def _test_event(message_id: str) -> bytes:
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": message_id,
            "source": "/idp",
            "type": "idp.webhook.test",
            "time": rfc_3339(clock.now()),
            "datacontenttype": "application/json",
            "data": {},
        }
    )
