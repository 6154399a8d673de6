"""The outbox: an event is a row of the transaction that it tells of."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from idp.events.models import EventRow


def publish(session: AsyncSession, type: str, *, user_id: str, data: dict[str, Any] | None = None) -> None:  # noqa: A002
    """Add an event to the caller's transaction, so that a change and its event live or die together.

    The relay that carries events to Kafka comes later; until then they wait in the outbox.

    Args:
        session: the transaction that makes the change.
        type: what happened, one of `idp.events.catalogue.EventType`.
        user_id: whom it happened to; consumers see the events of one user in order.
        data: what consumers need to know of it; never a secret, a hash, a token or an address.
    """
    session.add(EventRow(type=type, subject=user_id, data=data or {}))
