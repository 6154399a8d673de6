"""The page /admin/users: find users, and invite one."""

from collections.abc import Mapping
from urllib.parse import quote

from litestar.di import NamedDependency

from idp.accounts.invite import Invite
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
    link,
    problem_text,
    text_of,
    values,
    wants_part,
    words,
)
from idp.pages.signed_in import SignedInPages, Visitor, show
from idp.principal.requests import AnyRequest
from idp.users import administration
from idp.users.email import parse_email
from idp.users.shapes import UserChange, UserFilter

_PATH, _SECTION, _INVITE = "/admin/users", "admin_users", "/admin/users/invite"
_ACTIVE = {"yes": True, "no": False}


@admin_page(_PATH)
async def users(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], database: NamedDependency[Database]
) -> Page:
    """List users by address, a page at a time."""
    visitor = await signed_in_pages.open(request, admin=True)
    search, role, active, after = (text_of(request, name) for name in ("q", "role", "active", "after"))
    requested = UserFilter(search=search or None, role=role or None, is_active=_ACTIVE.get(active))
    async with database.transaction() as session:
        found, last = await administration.list_after(session, requested, after=after or None, limit=PAGE_SIZE)
        roles = await administration.list_roles(session)
    kept = {"q": search, "role": role, "active": active}
    return show(
        request,
        "admin/_users.html" if wants_part(request) else "admin/users.html",
        visitor,
        section=_SECTION,
        users=found,
        roles=roles,
        filters=kept,
        first=link(_PATH, **kept) if after else None,
        following=link(_PATH, **kept, after=last) if last else None,
    )


@admin_page(_INVITE)
async def invite_page(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], database: NamedDependency[Database]
) -> Page:
    """Ask for the address of a new user."""
    visitor = await signed_in_pages.open(request, admin=True, fresh=True)
    return await _show_invitation(request, visitor, database, entered=visitor.draft)


@admin_form(_INVITE)
async def invite_form(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    invite: NamedDependency[Invite],
) -> Answer:
    """Invite a user."""
    visitor, form = await signed_in_pages.submit(request, page=_INVITE, admin=True, fresh=True)
    try:
        roles = chosen_roles(form)
        fields = {"name": form.get("name", ""), "plan": form.get("plan", ""), "roles": roles or ["user"]}
        requested = values(fields, UserChange)
        user = await invite.invite(_email(form), requested, origin_of(request), host=visitor.principal)
    except IdpError as error:
        problem = problem_text(request, error)
        return await _show_invitation(request, visitor, database, entered=form, problem=problem)
    return done(f"{_PATH}/{quote(user.user_id, safe='')}", "user_invited")


def chosen_roles(form: Mapping[str, str]) -> list[str]:
    """Return the roles that a form names: its ticked boxes `role.NAME`, and the words of its field `other_roles`."""
    ticked = [name.removeprefix("role.") for name in form if name.startswith("role.")]
    return sorted({*ticked, *words(form.get("other_roles", ""))})


def _email(form: Mapping[str, str]) -> str:
    try:
        return parse_email(form.get("email", "").strip())
    except ValueError as error:
        raise invalid(["body", "email"], str(error)) from None


async def _show_invitation(
    request: AnyRequest, visitor: Visitor, database: Database, *, entered: Mapping[str, str], problem: str | None = None
) -> Page:
    async with database.transaction() as session:
        roles = await administration.list_roles(session)
    return show(
        request,
        "admin/invite.html",
        visitor,
        section=_SECTION,
        status=422 if problem else 200,
        roles=roles,
        entered=Entered(entered),
        problem=problem,
    )


ROUTES = (users, invite_page, invite_form)
