"""The page /account/password: change the password, or have a link mailed that sets the first one."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from idp.accounts.account_services import run_after_response
from idp.accounts.change_password import ChangePassword
from idp.accounts.reset_password import ResetPassword
from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.errors import IdpError, InvalidCredentials, PasswordRejected
from idp.pages.forms import FORM
from idp.pages.rendering import redirect
from idp.pages.signed_in import OF_PERSON, SIGNED_IN_ERRORS, SignedInPages, Visitor, show
from idp.principal.requests import AnyRequest, session_id_of
from idp.settings import Settings
from idp.users import credentials

_PATH = "/account/password"


@get(_PATH, opt=OF_PERSON, include_in_schema=False, exception_handlers=SIGNED_IN_ERRORS)
async def password_page(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    settings: NamedDependency[Settings],
) -> Response[str]:
    """Show the form, or for a user without a password the way to the first one."""
    visitor = await signed_in_pages.open(request, fresh=True)
    return await _show(request, visitor, database, settings)


@post(_PATH, opt=OF_PERSON | FORM, include_in_schema=False, status_code=200, exception_handlers=SIGNED_IN_ERRORS)
async def password_form(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    change_password: NamedDependency[ChangePassword],
    database: NamedDependency[Database],
    settings: NamedDependency[Settings],
) -> Response[str] | Redirect:
    """Change the password; all other sessions end (SEC-6)."""
    visitor, form = await signed_in_pages.submit(request, page=_PATH, fresh=True)
    current, new = form.get("current_password", ""), form.get("new_password", "")
    try:
        await change_password.change(visitor.principal, current, new, origin_of(request), keep=session_id_of(request))
    except (InvalidCredentials, PasswordRejected) as error:
        request.scope["error"] = error  # type: ignore[typeddict-unknown-key]
        return await _show(request, visitor, database, settings, error=error)
    return redirect("/account/profile?done=password")


@post(
    "/account/password/link",
    opt=OF_PERSON | FORM,
    include_in_schema=False,
    status_code=200,
    exception_handlers=SIGNED_IN_ERRORS,
)
async def mail_password_link(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], reset_password: NamedDependency[ResetPassword]
) -> Redirect:
    """Mail a link that sets a password, to the user's address."""
    visitor, _ = await signed_in_pages.submit(request, page=_PATH, fresh=True)
    origin = origin_of(request)
    recipient = await reset_password.request_link(visitor.user.email or "", origin, cookies=request.cookies)
    return redirect(
        "/account/profile?done=mailed", background=run_after_response(reset_password.send, recipient, origin)
    )


async def _show(
    request: AnyRequest, visitor: Visitor, database: Database, settings: Settings, *, error: IdpError | None = None
) -> Response[str]:
    async with database.transaction() as session:
        holder = await credentials.find_by_id(session, visitor.user.id)
    return show(
        request,
        "account/password.html",
        visitor,
        section="account_profile",
        status=422 if error else 200,
        has_password=holder is not None and holder.password_hash is not None,
        rejected=error if isinstance(error, PasswordRejected) else None,
        is_wrong=isinstance(error, InvalidCredentials),
        policy=settings.passwords,
    )


ROUTES = (password_page, password_form, mail_password_link)
