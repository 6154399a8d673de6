"""The inbox of Clerk's webhook: each delivery once, in the transaction of what it causes (S0-09, S1-02)."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import structlog
from msgspec import Struct
from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.apikeys.service import lock
from idp.audit.record import BY_CLERK, Origin
from idp.clerk.json_text import read_json, text_of
from idp.clerk.models import ClerkDeliveryRow
from idp.clerk.payloads import id_of, milliseconds, profile_of
from idp.clerk.signature import Delivery
from idp.clerk.sync import ClerkUsers, Outcome

log = structlog.get_logger("idp.clerk")

CHANGES, DELETION = frozenset({"user.created", "user.updated"}), "user.deleted"
# Label of other types: the families that Clerk documents. Anything else is `other`, so that labels are bounded.
_FAMILIES = frozenset({
    "session", "organization", "organizationMembership", "organizationInvitation", "organizationDomain", "role",
    "permission", "waitlistEntry", "email", "sms", "subscription", "subscriptionItem", "paymentAttempt", "invitation",
})  # fmt: skip
_KEPT = timedelta(days=30)  # Clerk gives up after a day; people repeat deliveries by hand later
_MAX_TYPE = 64
_KNOWN = (
    "SELECT EXISTS (SELECT FROM idp.clerk_deliveries WHERE id = $1) AS is_repeated, updated_at_ms, deleted_at_ms "
    "FROM (VALUES (1)) AS one LEFT JOIN idp.clerk_users ON clerk_id = $2"
)
IGNORED, MALFORMED, DUPLICATE = "ignored", "malformed", "duplicate"


class Unreadable(Exception):
    """A signed message is not an event."""


class Message(Struct, frozen=True):
    """A verified event.

    Attributes:
        delivery: id and time of the delivery.
        type: such as `user.created`.
        data: the object.
        sent_at: milliseconds since 1970; the delivery's, where the event has none.
    """

    delivery: Delivery
    type: str
    data: Mapping[str, Any]
    sent_at: int

    @property
    def label(self) -> str:
        """The type for metrics."""
        if self.type in CHANGES or self.type == DELETION:
            return self.type
        family = self.type.partition(".")[0]
        return f"{family}.*" if family in _FAMILIES else "other"


def read_message(body: bytes, delivery: Delivery) -> Message:
    """Return the event in a verified body.

    Raises:
        Unreadable: it is not JSON, or has no type.
    """
    try:
        event = read_json(body)
    except ValueError:
        raise Unreadable("not JSON") from None
    kind = text_of(event.get("type"), max_length=_MAX_TYPE) if isinstance(event, dict) else None
    if kind is None or not kind.isprintable():
        raise Unreadable("no event")
    data = event.get("data")
    sent_at = milliseconds(event.get("timestamp")) or delivery.sent_at * 1000
    return Message(delivery, kind, data if isinstance(data, dict) else {}, sent_at)


class Inbox:
    """Processes verified events.

    Args:
        users: the users that Clerk manages.
    """

    def __init__(self, users: ClerkUsers) -> None:
        self._users = users

    async def receive(self, message: Message, origin: Origin) -> str:
        """Apply an event, and return what became of it. Repeating it is harmless.

        Args:
            message: the event.
            origin: of the request.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable; nothing was applied.
        """
        if message.type not in CHANGES and message.type != DELETION:
            return IGNORED
        if id_of(message.data) is None:
            log.warning("an event of Clerk names no user", type=message.type, delivery=message.delivery.id)
            return MALFORMED
        if (settled := await self._settled(message)) is not None:
            return settled
        source = Origin(BY_CLERK.actor, origin.ip_address, origin.user_agent, origin.request_id)
        return await self._users.database.transact(lambda session: self._receive(session, message, source))

    async def _settled(self, message: Message) -> str | None:
        """Return what became of a message that changes nothing any more, without the cluster-wide lock.

        Times and tombstones only grow, so what is late now stays late.
        """
        row = await self._users.database.reads.fetchrow(_KNOWN, message.delivery.id, id_of(message.data))
        if row["is_repeated"]:
            return DUPLICATE
        if row["deleted_at_ms"] is not None:
            return Outcome.STALE if message.type == DELETION else Outcome.DELETED
        if message.type == DELETION or row["updated_at_ms"] is None:
            return None
        updated_at = milliseconds(message.data.get("updated_at")) or message.sent_at
        return Outcome.STALE if updated_at <= row["updated_at_ms"] else None

    async def _receive(self, session: AsyncSession, message: Message, origin: Origin) -> str:
        await lock(session)
        new = insert(ClerkDeliveryRow).values(id=message.delivery.id, type=message.type, received_at=clock.now())
        made = await session.execute(new.on_conflict_do_nothing().returning(ClerkDeliveryRow.id))
        if made.scalar_one_or_none() is None:
            return DUPLICATE
        return await self._apply(session, message, origin)

    async def _apply(self, session: AsyncSession, message: Message, origin: Origin) -> str:
        if message.type == DELETION:
            clerk_id = id_of(message.data) or ""
            return await self._users.delete(session, clerk_id, deleted_at=message.sent_at, origin=origin)
        profile = profile_of(message.data, sent_at=message.sent_at)
        assert profile is not None  # the id was checked
        return await self._users.apply(session, profile, origin=origin)

    async def forget_old(self) -> None:
        """Delete the ids of deliveries of more than 30 days ago; states of users are guarded by their own times."""
        async with self._users.database.transaction() as session:
            await session.execute(delete(ClerkDeliveryRow).where(ClerkDeliveryRow.received_at < clock.now() - _KEPT))
