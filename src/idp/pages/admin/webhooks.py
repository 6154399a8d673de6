"""The pages /admin/webhooks and /admin/webhooks/{id}: endpoints, their deliveries, and what they rejected."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from uuid import UUID

from litestar.di import NamedDependency
from litestar.params import FromPath

from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.errors import IdpError
from idp.ops.problems import invalid
from idp.pages.admin.routes import (
    PAGE_SIZE,
    Answer,
    Entered,
    Page,
    admin_form,
    admin_page,
    done,
    problem_text,
    values,
    words,
)
from idp.pages.signed_in import SignedInPages, Visitor, show
from idp.principal.requests import AnyRequest
from idp.settings import Settings
from idp.webhooks import manage, service
from idp.webhooks.manage import Outgoing
from idp.webhooks.shapes import NewWebhook, WebhookChange, WebhookReplay, WebhookSecretRotation, WebhookTest

_PATH, _SECTION = "/admin/webhooks", "admin_webhooks"
_ONE = f"{_PATH}/{{webhook_id:uuid}}"
Form = Mapping[str, str]


@admin_page(_PATH)
async def webhooks(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], database: NamedDependency[Database]
) -> Page:
    """List endpoints; their number is limited by the settings."""
    visitor = await signed_in_pages.open(request, admin=True)
    return await _show_list(request, visitor, database, entered=visitor.draft)


@admin_form(_PATH)
async def create_webhook_form(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    settings: NamedDependency[Settings],
    webhook_outgoing: NamedDependency[Outgoing],
) -> Answer:
    """Register an endpoint, and show its secret once."""
    visitor, form = await signed_in_pages.submit(request, page=_PATH, admin=True, fresh=True)
    try:
        made = await manage.create(
            database,
            webhook_outgoing,
            visitor.principal,
            origin_of(request),
            values(_fields(form), NewWebhook),
            max_endpoints=settings.webhooks.max_endpoints,
        )
    except IdpError as error:
        return await _show_list(request, visitor, database, entered=form, problem=problem_text(request, error))
    return show(request, "admin/webhook_secret.html", visitor, section=_SECTION, made=made)


@admin_page(_ONE)
async def webhook(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    webhook_id: FromPath[UUID],
) -> Page:
    """Show an endpoint."""
    visitor = await signed_in_pages.open(request, admin=True)
    return await _show_one(request, visitor, database, webhook_id, entered=visitor.draft)


@admin_form(f"{_ONE}/change")
async def change_webhook_form(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    webhook_outgoing: NamedDependency[Outgoing],
    webhook_id: FromPath[UUID],
) -> Answer:
    """Change an endpoint, switch it off, or on again."""

    async def action(visitor: Visitor, form: Form) -> None:
        switched = {"yes": True, "no": False}.get(form.get("active", ""))
        change = values(_fields(form) if switched is None else {"is_active": switched}, WebhookChange)
        if isinstance(change.url, str):
            manage.check_url(webhook_outgoing, change.url)
        by = origin_of(request)
        await manage.change(
            database, visitor.principal, webhook_id, lambda session: service.change(session, by, webhook_id, change)
        )

    return await _run(request, signed_in_pages, database, webhook_id, action, "saved")


@admin_form(f"{_ONE}/replay")
async def replay_webhook_form(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    webhook_id: FromPath[UUID],
) -> Answer:
    """Deliver again from a time on."""

    async def action(visitor: Visitor, form: Form) -> None:
        wanted, by = WebhookReplay(since=_moment(form.get("since", ""))), origin_of(request)
        manage.check_replay(wanted)
        await manage.change(
            database, visitor.principal, webhook_id, lambda session: service.replay(session, by, webhook_id, wanted)
        )

    return await _run(request, signed_in_pages, database, webhook_id, action, "webhook_replayed")


@admin_form(f"{_ONE}/delete")
async def delete_webhook_form(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    webhook_id: FromPath[UUID],
) -> Answer:
    """Delete an endpoint."""

    async def action(visitor: Visitor, _form: Form) -> None:
        by = origin_of(request)
        await manage.change(
            database, visitor.principal, webhook_id, lambda session: service.remove(session, by, webhook_id)
        )

    return await _run(request, signed_in_pages, database, webhook_id, action, "webhook_deleted", then=_PATH)


@admin_form(f"{_ONE}/secret")
async def rotate_webhook_secret_form(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    webhook_outgoing: NamedDependency[Outgoing],
    webhook_id: FromPath[UUID],
) -> Answer:
    """Replace the secret, and show the new one once; for a day deliveries are signed with both."""
    visitor, form = await _submit(request, signed_in_pages, webhook_id)
    by, sealer, wanted = origin_of(request), webhook_outgoing.sealer, WebhookSecretRotation()
    try:
        made = await manage.change(
            database,
            visitor.principal,
            webhook_id,
            lambda session: service.rotate_secret(session, by, sealer, webhook_id, wanted),
        )
    except IdpError as error:
        problem = problem_text(request, error)
        return await _show_one(request, visitor, database, webhook_id, entered=form, problem=problem)
    return show(request, "admin/webhook_secret.html", visitor, section=_SECTION, made=made)


@admin_form(f"{_ONE}/test")
async def try_webhook_form(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    settings: NamedDependency[Settings],
    webhook_outgoing: NamedDependency[Outgoing],
    webhook_id: FromPath[UUID],
) -> Answer:
    """Post a test event once, and show the result."""
    visitor, form = await _submit(request, signed_in_pages, webhook_id)
    seconds = settings.webhooks.timeout_seconds
    try:
        tried = await manage.try_delivery(
            database, webhook_outgoing, visitor.principal, origin_of(request), webhook_id, seconds=seconds
        )
    except IdpError as error:
        problem = problem_text(request, error)
        return await _show_one(request, visitor, database, webhook_id, entered=form, problem=problem)
    return await _show_one(request, visitor, database, webhook_id, entered=form, tried=tried)


async def _submit(
    request: AnyRequest, signed_in_pages: SignedInPages, webhook_id: UUID
) -> tuple[Visitor, dict[str, str]]:
    return await signed_in_pages.submit(request, page=f"{_PATH}/{webhook_id}", admin=True, fresh=True)


async def _run(
    request: AnyRequest,
    signed_in_pages: SignedInPages,
    database: Database,
    webhook_id: UUID,
    action: Callable[[Visitor, Form], Awaitable[None]],
    name: str,
    *,
    then: str | None = None,
) -> Answer:
    visitor, form = await _submit(request, signed_in_pages, webhook_id)
    try:
        await action(visitor, form)
    except IdpError as error:
        problem = problem_text(request, error)
        return await _show_one(request, visitor, database, webhook_id, entered=form, problem=problem)
    return done(then or f"{_PATH}/{webhook_id}", name)


async def _show_list(
    request: AnyRequest, visitor: Visitor, database: Database, *, entered: Form, problem: str | None = None
) -> Page:
    async with database.transaction() as session:
        found = await service.list_webhooks(session)
    return show(
        request,
        "admin/webhooks.html",
        visitor,
        section=_SECTION,
        status=422 if problem else 200,
        webhooks=found,
        entered=Entered(entered),
        problem=problem,
    )


async def _show_one(
    request: AnyRequest,
    visitor: Visitor,
    database: Database,
    webhook_id: UUID,
    *,
    entered: Form,
    problem: str | None = None,
    tried: WebhookTest | None = None,
) -> Page:
    async with database.transaction() as session:
        found = await service.get_webhook(session, webhook_id)
        rejected = await service.rejections(session, webhook_id, limit=PAGE_SIZE)
    return show(
        request,
        "admin/webhook.html",
        visitor,
        section=_SECTION,
        status=422 if problem else 200,
        webhook=found,
        rejections=rejected,
        tried=tried,
        entered=Entered(entered),
        problem=problem,
    )


def _fields(form: Form) -> dict[str, object]:
    return {
        "url": form.get("url", "").strip(),
        "description": form.get("description", "").strip(),
        "types": words(form.get("types", "")),
    }


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise invalid(["body", "since"], "2026-01-31 08:00") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


ROUTES = (
    webhooks,
    create_webhook_form,
    webhook,
    change_webhook_form,
    replay_webhook_form,
    delete_webhook_form,
    rotate_webhook_secret_form,
    try_webhook_form,
)
