"""POST /webhooks/clerk (S0-09, S0-10, S1-06, S1-16)."""

from typing import Any

import structlog
from litestar import MediaType, Request, Response, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct
from standardwebhooks import Webhook

from idp import errors
from idp.audit.record import origin_of
from idp.clerk.inbox import Inbox, Unreadable, read_message
from idp.clerk.signature import BadSignature, NoSignature, verify
from idp.errors import IdpError, InternalError, WebhookNotConfigured
from idp.ops import metrics, problems
from idp.ops.logging import describe
from idp.ops.openapi import documents, responses
from idp.principal.guards import public
from idp.principal.requests import AnyRequest

log = structlog.get_logger("idp.clerk")

_MAX_BODY_BYTES = 262_144
# Texts of the old service, as its logs and dashboards show them.
_NO_HEADERS, _REFUSED = "Error occured -- no svix headers", "Error occured"


class Received(Struct, frozen=True):
    """The answer to a webhook."""

    success: bool
    message: str


class WebhookReaders(Struct, frozen=True):
    """What verifies deliveries, one for each secret."""

    webhooks: tuple[Webhook, ...]


def _answer(status: int, message: str) -> Response[Any]:
    return Response(Received(status == 200, message), status_code=status, media_type=MediaType.JSON)


def _text(text: str) -> Response[Any]:
    return Response(text, status_code=400, media_type=MediaType.TEXT)


def _failed(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Answer what the old service answered when it could not process a message; Clerk repeats it (S0-09)."""
    request.scope["error"] = InternalError()  # type: ignore[typeddict-unknown-key]
    log.error("a webhook cannot be processed", **describe(error))
    metrics.count_webhook(type="unknown", outcome="failed")
    return _answer(500, "Error processing webhook")


@post(
    "/webhooks/clerk",
    opt=public(),  # the message is authenticated, not its sender
    tags=["Webhooks"],
    summary="Receive an event of Clerk",
    status_code=200,
    request_max_body_size=_MAX_BODY_BYTES,
    exception_handlers={**problems.HANDLERS, Exception: _failed},
    responses=documents(Received)
    | {400: ResponseSpec(str, description="No or no valid signature, or no event.", media_type=MediaType.TEXT)}
    | responses(errors.BodyTooLarge, errors.WebhookNotConfigured, errors.DatabaseUnavailable),
)
async def receive_clerk_webhook(
    request: AnyRequest, clerk_inbox: NamedDependency[Inbox], clerk_webhooks: NamedDependency[WebhookReaders]
) -> Response[Any]:
    """Receive a signed event (`svix-*` or `webhook-*` headers over the raw body), and apply it before the answer.

    Each delivery counts once; late and repeated ones are harmless. Types that are not about users are ignored.
    """
    if not clerk_webhooks.webhooks:
        raise WebhookNotConfigured
    try:
        delivery = verify(await request.body(), request.headers, clerk_webhooks.webhooks)
        message = read_message(await request.body(), delivery)
    except (BadSignature, Unreadable) as error:
        log.info("a webhook is refused", reason=str(error))
        metrics.count_webhook(type="unknown", outcome="refused")
        return _text(_NO_HEADERS if isinstance(error, NoSignature) else _REFUSED)
    try:
        outcome = await clerk_inbox.receive(message, origin_of(request))
    except IdpError:
        metrics.count_webhook(type=message.label, outcome="failed")
        raise
    metrics.count_webhook(type=message.label, outcome=outcome)
    return _answer(200, "Webhook received")


ROUTES = (receive_clerk_webhook,)
