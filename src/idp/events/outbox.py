"""The transactional outbox of events."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from idp.events.models import EventRow


def publish(session: AsyncSession, type: str, *, user_id: str, data: dict[str, Any] | None = None) -> None:  # noqa: A002
    """Add an event to the caller's transaction.

    The Kafka publisher comes later; until then events stay in the outbox.

    Args:
        session: the transaction of the change.
        type: one of `idp.events.catalogue.EventType`.
        user_id: the affected user; consumers get the events of one user in order.
        data: further data for consumers; never a secret, a hash, a token or an address.
    """
    session.add(EventRow(type=type, subject=user_id, data=data or {}))
