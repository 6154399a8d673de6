"""The page /admin/users/{id}/act: an administrator acts as a user for support, with a reason."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect
from msgspec import Struct

from idp.accounts.act_for_support import ActForSupport, SupportReason
from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.errors import CannotActForUser, NotFound, UserNotFound
from idp.pages.account.fields import read
from idp.pages.forms import FORM
from idp.pages.rendering import redirect
from idp.pages.signed_in import OF_ADMIN, SIGNED_IN_ERRORS, SignedInPages, Visitor, show
from idp.pages.support import enter
from idp.principal.requests import AnyRequest
from idp.sessions.cookie import SessionCookies
from idp.users import administration

_PATH = "/admin/users/{user_id:str}/act"


class _Form(Struct, frozen=True):
    reason: SupportReason


@get(_PATH, opt=OF_ADMIN, include_in_schema=False, exception_handlers=SIGNED_IN_ERRORS)
async def act_as_user_page(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    act_for_support: NamedDependency[ActForSupport],
    database: NamedDependency[Database],
    user_id: FromPath[str],
) -> Response[str]:
    """Say what acting as the user means, and ask for the reason."""
    visitor = await signed_in_pages.open(request, admin=True, fresh=True)
    return await _show(request, visitor, database, user_id, act_for_support, entered=visitor.draft.get("reason", ""))


@post(_PATH, opt=OF_ADMIN | FORM, include_in_schema=False, status_code=200, exception_handlers=SIGNED_IN_ERRORS)
async def act_as_user_form(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    act_for_support: NamedDependency[ActForSupport],
    session_cookies: NamedDependency[SessionCookies],
    database: NamedDependency[Database],
    user_id: FromPath[str],
) -> Response[str] | Redirect:
    """Start the session of support; the administrator's own comes back afterwards."""
    page = f"/admin/users/{user_id}/act"
    visitor, form = await signed_in_pages.submit(request, page=page, admin=True, fresh=True)
    entered = " ".join(form.get("reason", "").split())
    valid = read(_Form, {"reason": entered})
    if valid is None:
        return await _show(
            request, visitor, database, user_id, act_for_support, entered=entered[:500], problem="reason"
        )
    try:
        started = await act_for_support.start(
            visitor.principal, user_id, valid.reason, origin_of(request), by_cookie=True
        )
    except CannotActForUser as error:
        request.scope["error"] = error  # type: ignore[typeddict-unknown-key]
        return await _show(request, visitor, database, user_id, act_for_support, entered=entered, problem="refused")
    except UserNotFound:
        raise NotFound from None
    return redirect("/account", cookies=enter(request, session_cookies, started))


async def _show(
    request: AnyRequest,
    visitor: Visitor,
    database: Database,
    user_id: str,
    act_for_support: ActForSupport,
    *,
    entered: str,
    problem: str | None = None,
) -> Response[str]:
    try:
        async with database.transaction() as session:
            person = await administration.get_user(session, user_id)
    except UserNotFound:
        raise NotFound from None
    return show(
        request,
        "admin/act_as_user.html",
        visitor,
        section="admin_users",
        status=422 if problem else 200,
        person=person,
        minutes=act_for_support.minutes,
        entered=entered,
        problem=problem,
    )


ROUTES = (act_as_user_page, act_as_user_form)
