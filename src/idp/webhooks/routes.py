"""/v1/webhooks: administrators register endpoints that get events."""

from typing import Annotated, Any
from uuid import UUID

from litestar import delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from idp import errors
from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.ops.openapi import responses
from idp.ops.security_headers import NO_STORE
from idp.principal.guards import accepts, requires_admin
from idp.principal.model import AuthMethod
from idp.principal.requests import AnyRequest
from idp.settings import Settings
from idp.webhooks import manage, service
from idp.webhooks.manage import Outgoing
from idp.webhooks.shapes import (
    NewWebhook,
    WebhookChange,
    WebhookDeleted,
    WebhookOut,
    WebhookRejection,
    WebhookReplay,
    WebhookSecret,
    WebhookSecretRotation,
    WebhookTest,
)

_ACCEPTS = accepts(AuthMethod.ADMIN_TOKEN, AuthMethod.SERVICE_TOKEN)
_BY_ADMIN: dict[str, Any] = {"guards": [requires_admin], "opt": _ACCEPTS, "tags": ["Events"]}
_ONE = responses(errors.WebhookNotFound, errors.AdminRequired)
Limit = Annotated[int, QueryParameter(ge=1, le=1000, description="How many to return, 1 to 1000.")]


@get("/v1/webhooks", **_BY_ADMIN, summary="List webhooks", responses=responses(errors.AdminRequired))
async def list_webhooks(database: NamedDependency[Database]) -> list[WebhookOut]:
    """Return all endpoints, oldest first, without their secrets."""
    async with database.transaction() as session:
        return await service.list_webhooks(session)


@post(
    "/v1/webhooks",
    **_BY_ADMIN,
    summary="Create a webhook",
    status_code=201,
    cache_control=NO_STORE,
    responses=responses(errors.TooManyWebhooks, errors.AdminRequired, errors.ValidationFailed),
)
async def create_webhook(
    request: AnyRequest,
    database: NamedDependency[Database],
    settings: NamedDependency[Settings],
    webhook_outgoing: NamedDependency[Outgoing],
    data: JSONBody[NewWebhook],
) -> WebhookSecret:
    """Register an endpoint for the events from now on. The secret is returned only in this response."""
    limit = settings.webhooks.max_endpoints
    return await manage.create(database, webhook_outgoing, request.user, origin_of(request), data, max_endpoints=limit)


@get("/v1/webhooks/{webhook_id:uuid}", **_BY_ADMIN, summary="Get a webhook", responses=_ONE)
async def get_webhook(database: NamedDependency[Database], webhook_id: FromPath[UUID]) -> WebhookOut:
    """Return an endpoint and how far its deliveries are."""
    async with database.transaction() as session:
        return await service.get_webhook(session, webhook_id)


@patch(
    "/v1/webhooks/{webhook_id:uuid}",
    **_BY_ADMIN,
    summary="Change a webhook",
    responses=_ONE | responses(errors.ValidationFailed),
)
async def change_webhook(
    request: AnyRequest,
    database: NamedDependency[Database],
    webhook_outgoing: NamedDependency[Outgoing],
    webhook_id: FromPath[UUID],
    data: JSONBody[WebhookChange],
) -> WebhookOut:
    """Change URL, types or description, disable it, or enable it again: then it continues where it stopped."""
    if isinstance(data.url, str):
        manage.check_url(webhook_outgoing, data.url)
    origin = origin_of(request)
    return await manage.change(
        database, request.user, webhook_id, lambda session: service.change(session, origin, webhook_id, data)
    )


@delete("/v1/webhooks/{webhook_id:uuid}", **_BY_ADMIN, summary="Delete a webhook", status_code=200, responses=_ONE)
async def delete_webhook(
    request: AnyRequest, database: NamedDependency[Database], webhook_id: FromPath[UUID]
) -> WebhookDeleted:
    """Delete an endpoint; an attempt that runs now may still arrive."""
    origin = origin_of(request)
    await manage.change(database, request.user, webhook_id, lambda session: service.remove(session, origin, webhook_id))
    return WebhookDeleted()


@post(
    "/v1/webhooks/{webhook_id:uuid}/rotate-secret",
    **_BY_ADMIN,
    summary="Rotate the secret of a webhook",
    status_code=200,
    cache_control=NO_STORE,
    responses=_ONE | responses(errors.ValidationFailed),
)
async def rotate_webhook_secret(
    request: AnyRequest,
    database: NamedDependency[Database],
    webhook_outgoing: NamedDependency[Outgoing],
    webhook_id: FromPath[UUID],
    data: JSONBody[WebhookSecretRotation | None] = None,
) -> WebhookSecret:
    """Replace the secret. During the overlap, deliveries have a signature of both."""
    origin, sealer, wanted = origin_of(request), webhook_outgoing.sealer, data or WebhookSecretRotation()
    return await manage.change(
        database,
        request.user,
        webhook_id,
        lambda session: service.rotate_secret(session, origin, sealer, webhook_id, wanted),
    )


@post(
    "/v1/webhooks/{webhook_id:uuid}/replay",
    **_BY_ADMIN,
    summary="Replay events to a webhook",
    status_code=200,
    responses=_ONE | responses(errors.ValidationFailed),
)
async def replay_webhook(
    request: AnyRequest, database: NamedDependency[Database], webhook_id: FromPath[UUID], data: JSONBody[WebhookReplay]
) -> WebhookOut:
    """Deliver again what follows a cursor or a time, as far as events are kept; also what the endpoint rejected."""
    manage.check_replay(data)
    origin = origin_of(request)
    return await manage.change(
        database, request.user, webhook_id, lambda session: service.replay(session, origin, webhook_id, data)
    )


@post(
    "/v1/webhooks/{webhook_id:uuid}/test",
    **_BY_ADMIN,
    summary="Request a test delivery to a webhook",
    status_code=200,
    responses=_ONE,
)
async def try_webhook(
    request: AnyRequest,
    database: NamedDependency[Database],
    settings: NamedDependency[Settings],
    webhook_outgoing: NamedDependency[Outgoing],
    webhook_id: FromPath[UUID],
) -> WebhookTest:
    """Post a signed event of type `idp.webhook.test` now, once, and return the result."""
    seconds = settings.webhooks.timeout_seconds
    by = origin_of(request)
    return await manage.try_delivery(database, webhook_outgoing, request.user, by, webhook_id, seconds=seconds)


@get("/v1/webhooks/{webhook_id:uuid}/rejections", **_BY_ADMIN, summary="List rejected events", responses=_ONE)
async def list_webhook_rejections(
    database: NamedDependency[Database], webhook_id: FromPath[UUID], limit: Limit = 100
) -> list[WebhookRejection]:
    """Return the newest events that the endpoint rejected and that were skipped. Replay from before one to retry it."""
    async with database.transaction() as session:
        return await service.rejections(session, webhook_id, limit=limit)


ROUTES = (
    list_webhooks,
    create_webhook,
    get_webhook,
    change_webhook,
    delete_webhook,
    rotate_webhook_secret,
    replay_webhook,
    try_webhook,
    list_webhook_rejections,
)
