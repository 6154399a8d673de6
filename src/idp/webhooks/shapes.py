"""Request and response bodies of webhook endpoints."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from idp.events.catalogue import EventType
from idp.plain_text import REMARK

Url = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=2000,
        pattern=r"^[\x21-\x7e]+(?!\n)$",
        description="https; its host must have a public address.",
        examples=["https://consumer.example.com/hooks/idp"],
    ),
]
Description = Annotated[str, Meta(max_length=200, pattern=REMARK, examples=["CRM"])]
Types = Annotated[
    list[EventType],
    Meta(max_length=100, description="Types to deliver; empty for all.", examples=[["idp.user.created"]]),
]
Cursor = Annotated[str, Meta(max_length=40, description="Of GET /v1/events.", examples=["811-42"])]


class NewWebhook(Struct, frozen=True, forbid_unknown_fields=True):
    """A new endpoint; it gets events from now on."""

    url: Url
    types: Types = []
    description: Description = ""


class WebhookChange(Struct, frozen=True, forbid_unknown_fields=True):
    """A change; unset members stay as they are. `is_active: true` continues where the deliveries stopped."""

    url: Url | UnsetType = UNSET
    types: Types | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET


class WebhookSecretRotation(Struct, frozen=True, forbid_unknown_fields=True):
    """For how long deliveries are signed with the former secret, too."""

    overlap_seconds: Annotated[int, Meta(ge=0, le=604_800)] = 86_400


class WebhookReplay(Struct, frozen=True, forbid_unknown_fields=True):
    """Where to deliver again from: a cursor, or a time; exactly one."""

    after: Cursor | None = None
    since: datetime | None = None


class WebhookOut(Struct, frozen=True):
    """An endpoint, without its secret.

    Attributes:
        disabled_reason: admin; failing (for too many days); gone (it answered 410).
        position: cursor of the last event that is done.
        attempts: failed attempts of the next event.
        failing_since: since when no delivery has succeeded.
    """

    id: UUID
    url: str
    types: list[str]
    description: str
    is_active: bool
    disabled_reason: Literal["admin", "failing", "gone"] | None
    position: str
    attempts: int
    next_attempt_at: datetime | None
    failing_since: datetime | None
    last_error: str | None
    last_delivered_at: datetime | None
    created_by: str
    created_at: datetime


class WebhookSecret(WebhookOut, frozen=True, kw_only=True):
    """The same with its secret, in the response of its creation and rotation only."""

    secret: Annotated[str, Meta(examples=["whsec_…"])]

    def __repr__(self) -> str:
        return f"WebhookSecret({self.id})"


class WebhookRejection(Struct, frozen=True):
    """An event that the endpoint rejected; `position` is its cursor."""

    event_id: UUID
    event_type: str
    position: str
    error: str
    rejected_at: datetime


class WebhookTest(Struct, frozen=True):
    """The result of a test delivery."""

    delivered: bool
    error: str | None
    seconds: float


class WebhookDeleted(Struct, frozen=True):
    """The endpoint is deleted."""

    deleted: bool = True
