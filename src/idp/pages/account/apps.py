"""The page /account/apps: the apps with access to the account, and what each may do."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.errors import ConsentNotFound
from idp.pages.forms import FORM
from idp.pages.rendering import redirect
from idp.pages.signed_in import OF_PERSON, SIGNED_IN_ERRORS, SignedInPages, show
from idp.principal.permissions import USER_SCOPES
from idp.principal.requests import AnyRequest
from idp.provider import consents

_PATH = "/account/apps"


@get(_PATH, opt=OF_PERSON, include_in_schema=False, exception_handlers=SIGNED_IN_ERRORS)
async def apps_page(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], database: NamedDependency[Database]
) -> Response[str]:
    """Show what the user granted to apps."""
    visitor = await signed_in_pages.open(request)
    async with database.transaction() as session:
        granted = await consents.list_of(session, visitor.user.id)
    shown = [(each, [(scope if scope in USER_SCOPES else "other", scope) for scope in each.scopes]) for each in granted]
    return show(request, "account/apps.html", visitor, section="account_apps", apps=shown)


@post(
    f"{_PATH}/withdraw",
    opt=OF_PERSON | FORM,
    include_in_schema=False,
    status_code=200,
    exception_handlers=SIGNED_IN_ERRORS,
)
async def withdraw_form(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], database: NamedDependency[Database]
) -> Redirect:
    """Withdraw the access of an app, which ends its sessions."""
    visitor, form = await signed_in_pages.submit(request, page=_PATH)
    try:
        await consents.take_back(database, visitor.principal, origin_of(request), form.get("client_id", ""))
    except ConsentNotFound:
        return redirect(_PATH)
    return redirect(f"{_PATH}?done=withdrawn")


ROUTES = (apps_page, withdraw_form)
