"""The page /admin/users/{user_id}: everything about a user."""

from collections.abc import Mapping
from typing import Any

from litestar.di import NamedDependency
from litestar.params import FromPath

from idp.apikeys import service as api_keys
from idp.audit.record import RecordFilter, before
from idp.db.engine import Database
from idp.directory.memberships import domains_of, teams_of
from idp.pages.admin.audited_users import addresses_in
from idp.pages.admin.routes import Entered, Page, admin_page
from idp.pages.signed_in import SignedInPages, Visitor, show
from idp.principal.permissions import ADMIN
from idp.principal.requests import AnyRequest
from idp.sessions.listing import list_live
from idp.users import administration, identities
from idp.users.factors.summary import factors_of

PATH = "/admin/users/{user_id:str}"
_RECORDS, _KEYS = 20, 100  # shown on the page; all records are at /admin/audit


@admin_page(PATH)
async def user(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    user_id: FromPath[str],
) -> Page:
    """Show a user, with everything that an administrator may change."""
    visitor = await signed_in_pages.open(request, admin=True)
    return await show_user(request, visitor, database, user_id, entered=visitor.draft)


async def show_user(
    request: AnyRequest,
    visitor: Visitor,
    database: Database,
    user_id: str,
    *,
    entered: Mapping[str, str],
    problem: str | None = None,
) -> Page:
    """Return the page of a user.

    Args:
        request: of the page or the form.
        visitor: the administrator.
        database: the database.
        user_id: the user.
        entered: what was entered in a form of the page.
        problem: why the form was refused.

    Raises:
        UserNotFound: there is no such user, or it was deleted.
    """
    found = await _everything(database, user_id, visitor.principal.credential.session_id)
    return show(
        request,
        "admin/user.html",
        visitor,
        section="admin_users",
        status=422 if problem else 200,
        entered=Entered(entered),
        problem=problem,
        is_self=found["person"].user_id == visitor.user.id,
        is_admin=ADMIN in found["person"].roles,
        **found,
    )


async def _everything(database: Database, user_id: str, own_session: str | None) -> dict[str, Any]:
    async with database.transaction() as session:
        person = await administration.get_user(session, user_id)
        keys, of_keys = await api_keys.list_keys(session, person.user_id, include_revoked=True, limit=_KEYS, offset=0)
        records = await before(session, RecordFilter(user_id=person.user_id), None, limit=_RECORDS)
        return {
            "person": person,
            "all_roles": await administration.list_roles(session),
            "sessions": await list_live(session, person.user_id, current=own_session),
            "keys": keys,
            "more_keys": max(0, of_keys - len(keys)),
            "teams": await teams_of(session, person.user_id),
            "domains": await domains_of(session, person.user_id),
            "identities": await identities.list_of(session, person.user_id),
            "factors": await factors_of(session, person.user_id),
            "records": records,
            "addresses": await addresses_in(session, records),
        }


ROUTES = (user,)
