"""The page /admin/keys: service tokens, and the search for a user's API key."""

from collections.abc import Mapping

from litestar.di import NamedDependency

from idp.apikeys import service
from idp.apikeys.commands import CommandQueue
from idp.apikeys.service import KeyFactory
from idp.apikeys.shapes import Extension, NewToken, Revocation, TokenSecret
from idp.apikeys.token_management import create_token, extend_token, revoke_token
from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.errors import IdpError, InvalidTokenId
from idp.pages.admin.routes import (
    PAGE_SIZE,
    Answer,
    Entered,
    Page,
    admin_form,
    admin_page,
    done,
    group_id,
    link,
    problem_text,
    text_of,
    values,
    words,
)
from idp.pages.signed_in import SignedInPages, Visitor, show
from idp.principal.permissions import RESERVED_SCOPES
from idp.principal.requests import AnyRequest

_PATH, _SECTION = "/admin/keys", "admin_keys"


@admin_page(_PATH)
async def keys(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], database: NamedDependency[Database]
) -> Page:
    """List service tokens, and the keys that a search finds."""
    visitor = await signed_in_pages.open(request, admin=True)
    return await _show(request, visitor, database, entered=visitor.draft)


@admin_form(_PATH)
async def create(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    command_queue: NamedDependency[CommandQueue],
    key_factory: NamedDependency[KeyFactory],
) -> Answer:
    """Create a service token, and show its secret once."""
    visitor, form = await signed_in_pages.submit(request, page=_PATH, admin=True, fresh=True)
    try:
        new = _new_token(form)
        made = await create_token(command_queue, key_factory, visitor.principal, origin_of(request), new)
    except IdpError as error:
        return await _show(request, visitor, database, entered=form, problem=problem_text(request, error))
    return _show_secret(request, visitor, made)


@admin_form(f"{_PATH}/revoke")
async def revoke(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    command_queue: NamedDependency[CommandQueue],
) -> Answer:
    """Revoke a service token."""
    visitor, form = await signed_in_pages.submit(request, page=_PATH, admin=True, fresh=True)
    try:
        row_id = group_id(form.get("token_id", ""), InvalidTokenId)
        reason = values({"reason": form.get("reason", "").strip()}, Revocation).reason
        await revoke_token(command_queue, visitor.principal, origin_of(request), row_id, reason)
    except IdpError as error:
        return await _show(request, visitor, database, entered=form, problem=problem_text(request, error))
    return done(_PATH, "token_revoked")


@admin_form(f"{_PATH}/extend")
async def extend(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    command_queue: NamedDependency[CommandQueue],
) -> Answer:
    """Extend a service token."""
    visitor, form = await signed_in_pages.submit(request, page=_PATH, admin=True, fresh=True)
    try:
        row_id = group_id(form.get("token_id", ""), InvalidTokenId)
        days = values({"extend_days": form.get("extend_days", "").strip()}, Extension).extend_days
        await extend_token(command_queue, visitor.principal, origin_of(request), row_id, days)
    except IdpError as error:
        return await _show(request, visitor, database, entered=form, problem=problem_text(request, error))
    return done(_PATH, "token_extended")


def _new_token(form: Mapping[str, str]) -> NewToken:
    ticked = [name.removeprefix("scope.") for name in form if name.startswith("scope.")]
    scopes = [*ticked, *words(form.get("scopes", ""))]
    fields: dict[str, object] = {"name": form.get("name", "").strip(), "ttl_days": form.get("ttl_days", "").strip()}
    return values(fields | {"scopes": list(dict.fromkeys(scopes))}, NewToken)


def _show_secret(request: AnyRequest, visitor: Visitor, made: TokenSecret) -> Page:
    return show(request, "admin/secret.html", visitor, section=_SECTION, made=made)


async def _show(
    request: AnyRequest, visitor: Visitor, database: Database, *, entered: Mapping[str, str], problem: str | None = None
) -> Page:
    search, after = text_of(request, "q"), text_of(request, "after")
    async with database.transaction() as session:
        tokens, more = await service.list_tokens_after(session, after=after or None, limit=PAGE_SIZE)
        found = await service.search_keys(session, search, limit=PAGE_SIZE) if search else []
    return show(
        request,
        "admin/keys.html",
        visitor,
        section=_SECTION,
        status=422 if problem else 200,
        tokens=tokens,
        search=search,
        found=found,
        reserved=RESERVED_SCOPES,
        entered=Entered(entered),
        problem=problem,
        first=_PATH if after else None,
        following=link(_PATH, after=more) if more else None,
    )


ROUTES = (keys, create, revoke, extend)
