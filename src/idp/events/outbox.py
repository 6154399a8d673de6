"""The outbox: writes an event in the transaction of the change."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from idp.events.models import EventRow


def publish(session: AsyncSession, type: str, *, user_id: str, data: dict[str, Any] | None = None) -> None:  # noqa: A002
    """Add an event to the caller's transaction, so that a change and its event are committed together.

    The relay to Kafka comes later; until then events stay in the outbox.

    Args:
        session: the transaction of the change.
        type: one of `idp.events.catalogue.EventType`.
        user_id: the user affected; consumers see the events of a user in order.
        data: for consumers; never a secret, a hash, a token or an address.
    """
    session.add(EventRow(type=type, subject=user_id, data=data or {}))
