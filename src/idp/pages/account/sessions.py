"""The page /account/sessions: where the account is signed in; end one session, or all others."""

from uuid import UUID

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from idp.accounts.end_sessions import end_others, end_own
from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.errors import SessionNotFound
from idp.pages.account.devices import in_words
from idp.pages.forms import FORM
from idp.pages.rendering import redirect
from idp.pages.signed_in import OF_PERSON, SIGNED_IN_ERRORS, SignedInPages, show
from idp.principal.requests import AnyRequest
from idp.sessions.cookie import SessionCookies
from idp.sessions.listing import list_live

_PATH = "/account/sessions"


@get(_PATH, opt=OF_PERSON, include_in_schema=False, exception_handlers=SIGNED_IN_ERRORS)
async def sessions_page(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], database: NamedDependency[Database]
) -> Response[str]:
    """Show the live sessions, newest first, with the apps that each signed in to."""
    visitor = await signed_in_pages.open(request)
    async with database.transaction() as session:
        live = await list_live(session, visitor.user.id, current=visitor.principal.credential.session_id)
    return show(request, "account/sessions.html", visitor, section="account_sessions", sessions=await in_words(live))


@post(
    "/account/sessions/end",
    opt=OF_PERSON | FORM,
    include_in_schema=False,
    status_code=200,
    exception_handlers=SIGNED_IN_ERRORS,
)
async def end_session_form(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    session_cookies: NamedDependency[SessionCookies],
) -> Redirect:
    """End a session, or by its `sid` that of an app. One that has ended meanwhile is no error."""
    visitor, form = await signed_in_pages.submit(request, page=_PATH)
    try:
        session_id = UUID(form.get("session_id", ""))
        await end_own(database, visitor.principal, origin_of(request), session_id)
    except (ValueError, SessionNotFound):
        return redirect(f"{_PATH}?done=session_over")
    if str(session_id) == visitor.principal.credential.session_id:
        return redirect("/login", cookies=session_cookies.clear())
    return redirect(f"{_PATH}?done=session_ended")


@post(
    "/account/sessions/end-others",
    opt=OF_PERSON | FORM,
    include_in_schema=False,
    status_code=200,
    exception_handlers=SIGNED_IN_ERRORS,
)
async def end_others_form(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], database: NamedDependency[Database]
) -> Redirect:
    """End all sessions but this one."""
    visitor, _ = await signed_in_pages.submit(request, page=_PATH)
    await end_others(database, visitor.principal, origin_of(request))
    return redirect(f"{_PATH}?done=sessions_ended")


ROUTES = (sessions_page, end_session_form, end_others_form)
