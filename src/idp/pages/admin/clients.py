"""The pages /admin/clients and /admin/clients/{client_id}: list, create, change, rotate the secret, delete."""

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import UNSET

from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.errors import IdpError
from idp.pages.admin.routes import (
    PAGE_SIZE,
    Answer,
    Entered,
    Page,
    admin_form,
    admin_page,
    done,
    link,
    problem_text,
    text_of,
    values,
    words,
)
from idp.pages.signed_in import SignedInPages, Visitor, show
from idp.principal.permissions import USER_SCOPES
from idp.principal.requests import AnyRequest
from idp.provider import manage_clients
from idp.provider.client_shapes import ClientMetadata, ClientOut
from idp.provider.clients import ClientRepository, Clients

PATH, SECTION = "/admin/clients", "admin_clients"
ONE = f"{PATH}/{{client_id:str}}"
_GRANTS = ("authorization_code", "refresh_token", "client_credentials")
_METHODS = ("client_secret_basic", "client_secret_post", "none", "private_key_jwt")


@admin_page(PATH)
async def clients_page(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], database: NamedDependency[Database]
) -> Page:
    """List clients."""
    visitor = await signed_in_pages.open(request, admin=True)
    return await _show_list(request, visitor, database, entered=visitor.draft)


@admin_form(PATH)
async def create_client_form(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    clients: NamedDependency[Clients],
) -> Answer:
    """Create a client, and show its secret once, if it has one."""
    visitor, form = await signed_in_pages.submit(request, page=PATH, admin=True, fresh=True)
    try:
        new = values(_members(form), ClientMetadata)
        made = await manage_clients.create(database, clients, visitor.principal, origin_of(request), new)
    except IdpError as error:
        return await _show_list(request, visitor, database, entered=form, problem=problem_text(request, error))
    if made.client_secret is UNSET:
        return done(f"{PATH}/{made.client_id}", "created")
    return show(request, "admin/client_secret.html", visitor, section=SECTION, made=made)


@admin_page(ONE)
async def client_page(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    client_id: FromPath[str],
) -> Page:
    """Show a client."""
    visitor = await signed_in_pages.open(request, admin=True)
    return await show_client(request, visitor, database, client_id, entered=visitor.draft)


@admin_form(f"{ONE}/change")
async def change_client_form(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    clients: NamedDependency[Clients],
    client_id: FromPath[str],
) -> Answer:
    """Replace what the form has of a client's metadata; the rest stays."""
    visitor, form = await _submit(request, signed_in_pages, client_id)
    origin = origin_of(request)
    try:
        async with database.transaction() as session:
            present = ClientOut.of(await ClientRepository(session).get_client(client_id))
        new = values(_kept(present) | _members(form), ClientMetadata)
        changed = await manage_clients.change(
            database, visitor.principal, client_id, lambda session, row: clients.update(session, origin, row, new)
        )
    except IdpError as error:
        problem = problem_text(request, error)
        return await show_client(request, visitor, database, client_id, entered=form, problem=problem)
    if changed.client_secret is not UNSET:
        return show(request, "admin/client_secret.html", visitor, section=SECTION, made=changed)
    return done(f"{PATH}/{client_id}", "saved")


@admin_form(f"{ONE}/secret")
async def rotate_secret_form(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    clients: NamedDependency[Clients],
    client_id: FromPath[str],
) -> Answer:
    """Give a client another secret, and show it once; the present one stays valid for a day if wanted."""
    visitor, form = await _submit(request, signed_in_pages, client_id)
    origin, overlap = origin_of(request), 86_400 if form.get("overlap") else 0
    try:
        made = await manage_clients.change(
            database,
            visitor.principal,
            client_id,
            lambda session, row: clients.rotate(session, origin, row, overlap_seconds=overlap),
        )
    except IdpError as error:
        problem = problem_text(request, error)
        return await show_client(request, visitor, database, client_id, entered=form, problem=problem)
    return show(request, "admin/client_secret.html", visitor, section=SECTION, made=made)


@admin_form(f"{ONE}/delete")
async def delete_client_form(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    clients: NamedDependency[Clients],
    client_id: FromPath[str],
) -> Answer:
    """Delete a client."""
    visitor, form = await _submit(request, signed_in_pages, client_id)
    origin = origin_of(request)
    try:
        await manage_clients.change(
            database, visitor.principal, client_id, lambda session, row: clients.delete(session, origin, row)
        )
    except IdpError as error:
        problem = problem_text(request, error)
        return await show_client(request, visitor, database, client_id, entered=form, problem=problem)
    return done(PATH, "client_deleted")


async def show_client(
    request: AnyRequest,
    visitor: Visitor,
    database: Database,
    client_id: str,
    *,
    entered: Mapping[str, str],
    problem: str | None = None,
    trial: object = None,
) -> Page:
    """Return the page of a client.

    Args:
        request: of the page or the form.
        visitor: the administrator.
        database: the database.
        client_id: the client.
        entered: what was entered in a form of the page, without secrets.
        problem: why the form was refused.
        trial: the steps of a test of the code flow.

    Raises:
        ClientNotFound: there is no such client.
    """
    async with database.transaction() as session:
        client = ClientOut.of(await ClientRepository(session).get_client(client_id))
    return show(
        request,
        "admin/client.html",
        visitor,
        section=SECTION,
        status=422 if problem else 200,
        client=client,
        entered=Entered({name: text for name, text in entered.items() if "secret" not in name}),
        problem=problem,
        trial=trial,
        **_choices(),
    )


async def _submit(
    request: AnyRequest, signed_in_pages: SignedInPages, client_id: str
) -> tuple[Visitor, dict[str, str]]:
    return await signed_in_pages.submit(request, page=f"{PATH}/{client_id}", admin=True, fresh=True)


async def _show_list(
    request: AnyRequest, visitor: Visitor, database: Database, *, entered: Mapping[str, str], problem: str | None = None
) -> Page:
    after = text_of(request, "after")
    async with database.transaction() as session:
        found, more = await manage_clients.list_after(session, after=after or None, limit=PAGE_SIZE)
    return show(
        request,
        "admin/clients.html",
        visitor,
        section=SECTION,
        status=422 if problem else 200,
        clients=found,
        entered=Entered(entered),
        problem=problem,
        first=PATH if after else None,
        following=link(PATH, after=more) if more else None,
        **_choices(),
    )


def _choices() -> dict[str, Any]:
    return {"grants": _GRANTS, "methods": _METHODS, "user_scopes": USER_SCOPES}


def _members(form: Mapping[str, str]) -> dict[str, object]:
    """Return the members of client metadata that the form has."""
    ticked = [name.removeprefix("grant.") for name in form if name.startswith("grant.")]
    return {
        "client_name": form.get("client_name", "").strip(),
        "redirect_uris": words(form.get("redirect_uris", "")),
        "post_logout_redirect_uris": words(form.get("post_logout_redirect_uris", "")),
        "scope": " ".join(words(form.get("scope", ""))) or None,
        "grant_types": ticked or None,
        "token_endpoint_auth_method": form.get("token_endpoint_auth_method", ""),
        "skip_consent": bool(form.get("skip_consent")),
    }


def _kept(present: ClientOut) -> dict[str, object]:
    """Return the present metadata of a client."""
    names = {each.name for each in msgspec.structs.fields(ClientMetadata)}
    return {
        name: value for name, value in msgspec.structs.asdict(present).items() if name in names and value is not UNSET
    }


ROUTES = (clients_page, create_client_form, client_page, change_client_form, rotate_secret_form, delete_client_form)
