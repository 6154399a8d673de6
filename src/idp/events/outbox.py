"""The outbox: writes an event in the transaction of the change."""

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from idp.events.catalogue import DATA, EventType
from idp.events.models import EventRow
from idp.events.shapes import EventData


def publish(
    session: AsyncSession,
    type: EventType,  # noqa: A002
    data: EventData,
    *,
    subject: str,
    sequence: int | None = None,
) -> None:
    """Add an event to the caller's transaction, so that a change and its event are committed together.

    Publish after locking or changing the row: concurrent changes of a subject then wait for each other, and its events
    have the order of their commits.

    Args:
        session: the transaction of the change.
        type: the type.
        data: the struct that `catalogue.DATA` names for the type.
        subject: the id of the user affected, or `team:<id>`, `domain:<id>`, `service_token:<id>`; consumers see the
            events of a subject in order.
        sequence: the version of what changed, if it has one.

    Raises:
        TypeError: the data is not of the type's struct.
    """
    if not isinstance(data, DATA[type]):
        raise TypeError(f"{type} needs {DATA[type].__name__}")
    session.add(EventRow(type=type, subject=subject, sequence=sequence, data=msgspec.to_builtins(data)))
