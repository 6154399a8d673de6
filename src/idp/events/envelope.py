"""Events as CloudEvents 1.0, in structured JSON."""

from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec

from idp.events.catalogue import DATA

CONTENT_TYPE = "application/cloudevents+json; charset=UTF-8"
SOURCE = "/idp"
_DATASCHEMAS = {str(type_): shape.dataschema for type_, shape in DATA.items()}


class Event(Protocol):
    """What the envelope needs: an `EventRow`, or a row with these columns."""

    @property
    def id(self) -> UUID | str: ...
    @property
    def type(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def sequence(self) -> int | None: ...
    @property
    def data(self) -> Any: ...
    @property
    def created_at(self) -> datetime: ...


def cloud_event(event: Event) -> dict[str, Any]:
    """Return the CloudEvent of a row of the outbox.

    `id` is the idempotency key of consumers. `sequence` has 20 digits, so that its text sorts like its number.
    """
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(event.id),
        "source": SOURCE,
        "type": event.type,
        "subject": event.subject,
        "time": rfc_3339(event.created_at),
        "datacontenttype": "application/json",
        "dataschema": _DATASCHEMAS[event.type],
        "partitionkey": event.subject,
    }
    if event.sequence is not None:
        attributes["sequence"] = f"{event.sequence:020}"
    return attributes | {"data": event.data}


def encode(event: Event) -> bytes:
    """Return the CloudEvent as JSON."""
    return msgspec.json.encode(cloud_event(event))


def rfc_3339(time: datetime) -> str:
    """Return a time in UTC."""
    return f"{time.astimezone(UTC).isoformat()[:-6]}Z"
