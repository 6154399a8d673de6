"""Pages for links in mails: /verify-email, /reset-password and /change-email (C-31).

GET only shows a form, because mail scanners follow links; the form's POST consumes the link. The pages work without
JavaScript. The token is only in the form's hidden field.
"""

from typing import Annotated
from urllib.parse import urlencode

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response import Redirect

from idp.accounts.account_services import run_after_response
from idp.accounts.change_email import ChangeEmail
from idp.accounts.reset_password import ResetPassword
from idp.accounts.verify_email import VerifyEmail
from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.errors import InvalidCredentials, OneTimeTokenInvalid, PasswordRejected
from idp.pages.forms import ERROR_PAGES, FORM, read_form
from idp.pages.mail_link import DONE, SENT, MailLinkPage, Page
from idp.pages.rendering import redirect
from idp.principal.guards import public
from idp.principal.requests import AnyRequest
from idp.settings import Settings
from idp.signing.jwt import TokenService

_VERIFY, _RESET, _CHANGE = "/verify-email", "/reset-password", "/change-email"
Token = Annotated[str | None, QueryParameter(description="The token from the link in the mail.")]
Step = Annotated[str | None, QueryParameter(description="The result of the submitted form.")]


# --- /verify-email ---------------------------------------------------------------------------------------------------


@get(_VERIFY, opt=public(), include_in_schema=False, exception_handlers=ERROR_PAGES)
async def verify_email_page(
    request: AnyRequest,
    verify_email: NamedDependency[VerifyEmail],
    settings: NamedDependency[Settings],
    token: Token = None,
    step: Step = None,
) -> Page:
    """Show the address that a link verifies, and a button to confirm."""
    return await MailLinkPage(_VERIFY, verify_email, settings, request).open(token, step)


@post(_VERIFY, opt=public() | FORM, include_in_schema=False, status_code=200, exception_handlers=ERROR_PAGES)
async def verify_email_form(
    request: AnyRequest,
    database: NamedDependency[Database],
    verify_email: NamedDependency[VerifyEmail],
    reset_password: NamedDependency[ResetPassword],
    settings: NamedDependency[Settings],
    tokens: NamedDependency[TokenService],
) -> Page | Redirect:
    """Verify an address, or mail a new link. A user without a password continues to set one."""
    form, origin = await read_form(request, public_url=tokens.issuer), origin_of(request)
    page = MailLinkPage(_VERIFY, verify_email, settings, request)
    if "email" in form:
        holder = await verify_email.request_resend(form["email"], origin, cookies=request.cookies)
        return page.redirect(SENT, background=run_after_response(verify_email.resend, holder))
    presented_token = form.get("token", "")
    try:
        link = await verify_email.check_link(presented_token, origin)
        async with database.transaction() as session:
            holder = await verify_email.verify(session, presented_token, link, origin, cookies=request.cookies)
            offered = await reset_password.offer(session, holder)
    except OneTimeTokenInvalid as error:
        return page.dead(error)
    if offered:
        return redirect(f"{_RESET}?{urlencode({'token': offered, 'step': 'verified'})}")
    return page.redirect(DONE)


# --- /reset-password -------------------------------------------------------------------------------------------------


@get(_RESET, opt=public(), include_in_schema=False, exception_handlers=ERROR_PAGES)
async def reset_password_page(
    request: AnyRequest,
    reset_password: NamedDependency[ResetPassword],
    settings: NamedDependency[Settings],
    token: Token = None,
    step: Step = None,
) -> Page:
    """Show the form that chooses a password, or the one that asks for a link."""
    return await MailLinkPage(_RESET, reset_password, settings, request).open(token, step)


@post(_RESET, opt=public() | FORM, include_in_schema=False, status_code=200, exception_handlers=ERROR_PAGES)
async def reset_password_form(
    request: AnyRequest,
    reset_password: NamedDependency[ResetPassword],
    settings: NamedDependency[Settings],
    tokens: NamedDependency[TokenService],
) -> Page | Redirect:
    """Set the password, or mail a link."""
    form, origin = await read_form(request, public_url=tokens.issuer), origin_of(request)
    page = MailLinkPage(_RESET, reset_password, settings, request)
    if "email" in form:
        holder = await reset_password.request_link(form["email"], origin, cookies=request.cookies)
        return page.redirect(SENT, background=run_after_response(reset_password.send, holder, origin))
    presented_token = form.get("token", "")
    try:
        await reset_password.confirm(presented_token, form.get("new_password", ""), origin)
    except OneTimeTokenInvalid as error:
        return page.dead(error)
    except PasswordRejected as error:
        return await page.form(presented_token, error=error)
    return page.redirect(DONE)


# --- /change-email ---------------------------------------------------------------------------------------------------


@get(_CHANGE, opt=public(), include_in_schema=False, exception_handlers=ERROR_PAGES)
async def change_email_page(
    request: AnyRequest,
    change_email: NamedDependency[ChangeEmail],
    settings: NamedDependency[Settings],
    token: Token = None,
    step: Step = None,
) -> Page:
    """Show the address that a link confirms, and ask for the account's password: the link alone is not enough."""
    return await MailLinkPage(_CHANGE, change_email, settings, request).open(token, step)


@post(_CHANGE, opt=public() | FORM, include_in_schema=False, status_code=200, exception_handlers=ERROR_PAGES)
async def change_email_form(
    request: AnyRequest,
    change_email: NamedDependency[ChangeEmail],
    settings: NamedDependency[Settings],
    tokens: NamedDependency[TokenService],
) -> Page | Redirect:
    """Change the address."""
    form = await read_form(request, public_url=tokens.issuer)
    page = MailLinkPage(_CHANGE, change_email, settings, request)
    presented_token = form.get("token", "")
    try:
        await change_email.confirm_with_password(presented_token, form.get("current_password", ""), origin_of(request))
    except OneTimeTokenInvalid as error:
        return page.dead(error)
    except InvalidCredentials as error:
        return await page.form(presented_token, error=error)
    return page.redirect(DONE)


ROUTES = (
    verify_email_page,
    verify_email_form,
    reset_password_page,
    reset_password_form,
    change_email_page,
    change_email_form,
)
