"""The pages /account/data and /account/delete: the export of one's data, and the deletion of the account."""

from datetime import timedelta

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect, Stream

from idp import clock
from idp.accounts.delete_account import DeleteAccount, check_confirmation
from idp.accounts.my_data import export_for
from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.errors import LastAdmin, ValidationFailed
from idp.ops.security_headers import NO_STORE
from idp.pages.forms import FORM
from idp.pages.rendering import FormOf, form_page, redirect
from idp.pages.return_path import safe_path
from idp.pages.signed_in import OF_PERSON, SIGNED_IN_ERRORS, SignedInPages, Visitor, show
from idp.principal.requests import AnyRequest
from idp.sessions.cookie import SessionCookies

_DATA, _DELETE, _KEEP = "/account/data", "/account/delete", "/account/keep"


@get(_DATA, opt=OF_PERSON, include_in_schema=False, exception_handlers=SIGNED_IN_ERRORS)
async def data_page(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    delete_account: NamedDependency[DeleteAccount],
) -> Response[str]:
    """Show the export and the way to the deletion."""
    visitor = await signed_in_pages.open(request)
    due = await delete_account.due(visitor.user.id)
    return show(request, "account/data.html", visitor, section="account_data", delete_after=due)


@get(
    "/account/data/export",
    opt=OF_PERSON,
    include_in_schema=False,
    exception_handlers=SIGNED_IN_ERRORS,
    cache_control=NO_STORE,
)
async def export(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], database: NamedDependency[Database]
) -> Stream:
    """Download the export."""
    visitor = await signed_in_pages.open(request)
    return await export_for(database, visitor.principal)


@get(_DELETE, opt=OF_PERSON, include_in_schema=False, exception_handlers=SIGNED_IN_ERRORS)
async def delete_page(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    delete_account: NamedDependency[DeleteAccount],
) -> Response[str]:
    """Say what a deletion does, and ask to confirm it."""
    visitor = await signed_in_pages.open(request, fresh=True)
    return _show_form(request, visitor, delete_account)


@post(_DELETE, opt=OF_PERSON | FORM, include_in_schema=False, status_code=200, exception_handlers=SIGNED_IN_ERRORS)
async def delete_form(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    delete_account: NamedDependency[DeleteAccount],
    session_cookies: NamedDependency[SessionCookies],
) -> Response[str]:
    """Delete the account, or schedule that, and sign out everywhere."""
    visitor, form = await signed_in_pages.submit(request, page=_DELETE, fresh=True)
    try:
        check_confirmation(visitor.user, form.get("confirm", "").strip()[:512])
        if delete_account.grace_days:
            due = await delete_account.schedule(visitor.principal, origin_of(request))
        else:
            await delete_account.now(visitor.principal, origin_of(request))
            due = None
    except ValidationFailed:
        return _show_form(request, visitor, delete_account, problem="confirm")
    except LastAdmin:
        return _show_form(request, visitor, delete_account, problem="last_admin")
    return form_page(request, "account/goodbye.html", form=FormOf(cookies=session_cookies.clear()), due=due)


@get(_KEEP, opt=OF_PERSON, include_in_schema=False, exception_handlers=SIGNED_IN_ERRORS)
async def keep_page(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    delete_account: NamedDependency[DeleteAccount],
) -> Response[str] | Redirect:
    """Say when the account will be deleted, and offer to keep it."""
    visitor = await signed_in_pages.open(request)
    due, onward = await delete_account.due(visitor.user.id), _onward(request)
    if due is None:
        return redirect(onward)
    return show(request, "account/keep.html", visitor, section="account_data", delete_after=due, onward=onward)


@post(_KEEP, opt=OF_PERSON | FORM, include_in_schema=False, status_code=200, exception_handlers=SIGNED_IN_ERRORS)
async def keep_form(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    delete_account: NamedDependency[DeleteAccount],
) -> Redirect:
    """Keep the account, and go on."""
    visitor, form = await signed_in_pages.submit(request, page=_KEEP)
    await delete_account.keep(visitor.principal, origin_of(request))
    onward = safe_path(form.get("return_to"))
    return redirect(onward or "/account?done=kept")


def _onward(request: AnyRequest) -> str:
    return safe_path(request.query_params.get("return_to")) or "/account"


def _show_form(
    request: AnyRequest, visitor: Visitor, delete_account: DeleteAccount, *, problem: str | None = None
) -> Response[str]:
    days = delete_account.grace_days
    return show(
        request,
        "account/delete.html",
        visitor,
        section="account_data",
        status=409 if problem == "last_admin" else 422 if problem else 200,
        days=days,
        due=clock.now() + timedelta(days=days),
        problem=problem,
    )


ROUTES = (data_page, export, delete_page, delete_form, keep_page, keep_form)
