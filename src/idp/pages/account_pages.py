"""The pages that links in mails lead to: /verify-email, /reset-password and /change-email (C-31).

GET shows what a link is for and changes nothing, because mail scanners follow links; the form's POST uses it up. They
work without JavaScript. A token is nowhere on a page but in the form's hidden field.
"""

from typing import Annotated, Any
from urllib.parse import urlencode

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response import Redirect

from idp.accounts.account_services import afterwards
from idp.accounts.change_email import ChangeEmail
from idp.accounts.reset_password import ResetPassword
from idp.accounts.verify_email import VerifyEmail
from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.errors import IdpError, InvalidCredentials, OneTimeTokenInvalid, PasswordRejected
from idp.pages.forms import ERROR_PAGES, FORM, read_form
from idp.pages.rendering import form_page, go_on
from idp.principal.guards import public
from idp.principal.requests import AnyRequest
from idp.settings import Settings
from idp.signing.jwt import TokenService
from idp.users.one_time_tokens import Purpose

_VERIFY, _RESET, _CHANGE = "/verify-email", "/reset-password", "/change-email"
Token = Annotated[str | None, QueryParameter(description="From the link in the mail.")]
Step = Annotated[str | None, QueryParameter(description="What a form has just done.")]
Page = Response[str]
_DONE, _SENT = "done", "sent"
_SHOWN = frozenset({_DONE, _SENT})


# --- /verify-email ---------------------------------------------------------------------------------------------------


@get(_VERIFY, opt=public(), include_in_schema=False, exception_handlers=ERROR_PAGES)
async def verify_email_page(
    request: AnyRequest,
    verify_email: NamedDependency[VerifyEmail],
    settings: NamedDependency[Settings],
    token: Token = None,
    step: Step = None,
) -> Page:
    """Show whose address a link verifies, and the button that does it."""
    show = _Show("verify_email.html", settings, request)
    if token is None:
        return show.page(step if step in _SHOWN else "ask")
    try:
        found = await verify_email.check_link(token, origin_of(request))
    except OneTimeTokenInvalid as error:
        return show.dead(error)
    return show.page("form", token=token, email=found.email)


@post(_VERIFY, opt=public() | FORM, include_in_schema=False, status_code=200, exception_handlers=ERROR_PAGES)
async def verify_email_form(
    request: AnyRequest,
    database: NamedDependency[Database],
    verify_email: NamedDependency[VerifyEmail],
    reset_password: NamedDependency[ResetPassword],
    settings: NamedDependency[Settings],
    tokens: NamedDependency[TokenService],
) -> Page | Redirect:
    """Verify an address, or mail another link. Whoever has no password afterwards goes on to choose one."""
    form, origin = await read_form(request, public_url=tokens.issuer), origin_of(request)
    if "email" in form:
        holder = await verify_email.ask_again(form["email"], origin, cookies=request.cookies)
        return _go_on(_VERIFY, step=_SENT, background=afterwards(verify_email.send_again, holder))
    presented_token = form.get("token", "")
    try:
        found = await verify_email.check_link(presented_token, origin)
        async with database.transaction() as session:
            holder = await verify_email.verify(session, presented_token, found, origin, cookies=request.cookies)
            offered = await reset_password.offer(session, holder)
    except OneTimeTokenInvalid as error:
        return _Show("verify_email.html", settings, request).dead(error)
    return _go_on(_RESET, token=offered, step="verified") if offered else _go_on(_VERIFY, step=_DONE)


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
    show = _Show("reset_password.html", settings, request)
    if token is None:
        return show.page(step if step in _SHOWN else "ask")
    return await _choose(request, reset_password, show, token, just_verified=step == "verified")


@post(_RESET, opt=public() | FORM, include_in_schema=False, status_code=200, exception_handlers=ERROR_PAGES)
async def reset_password_form(
    request: AnyRequest,
    reset_password: NamedDependency[ResetPassword],
    settings: NamedDependency[Settings],
    tokens: NamedDependency[TokenService],
) -> Page | Redirect:
    """Set the password, or mail a link."""
    form, origin = await read_form(request, public_url=tokens.issuer), origin_of(request)
    if "email" in form:
        holder = await reset_password.ask(form["email"], origin, cookies=request.cookies)
        return _go_on(_RESET, step=_SENT, background=afterwards(reset_password.send, holder, origin))
    show = _Show("reset_password.html", settings, request)
    presented_token = form.get("token", "")
    try:
        await reset_password.confirm(presented_token, form.get("new_password", ""), origin)
    except OneTimeTokenInvalid as error:
        return show.dead(error)
    except PasswordRejected as error:
        return await _choose(request, reset_password, show, presented_token, error=error)
    return _go_on(_RESET, step=_DONE)


async def _choose(
    request: AnyRequest,
    reset_password: ResetPassword,
    show: "_Show",
    token: str,
    *,
    error: IdpError | None = None,
    just_verified: bool = False,
) -> Page:
    try:
        found = await reset_password.check_link(token, origin_of(request))
    except OneTimeTokenInvalid as dead:
        return show.dead(dead)
    is_first = just_verified or found.purpose is Purpose.INVITE
    return show.page(
        "form", error=error, token=token, email=found.email, is_first=is_first, just_verified=just_verified
    )


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
    show = _Show("change_email.html", settings, request)
    if token is None:
        return show.page(_DONE if step == _DONE else "dead")
    return await _confirm(request, change_email, show, token)


@post(_CHANGE, opt=public() | FORM, include_in_schema=False, status_code=200, exception_handlers=ERROR_PAGES)
async def change_email_form(
    request: AnyRequest,
    change_email: NamedDependency[ChangeEmail],
    settings: NamedDependency[Settings],
    tokens: NamedDependency[TokenService],
) -> Page | Redirect:
    """Change the address."""
    form = await read_form(request, public_url=tokens.issuer)
    show = _Show("change_email.html", settings, request)
    presented_token = form.get("token", "")
    try:
        await change_email.confirm_with_password(presented_token, form.get("current_password", ""), origin_of(request))
    except OneTimeTokenInvalid as error:
        return show.dead(error)
    except InvalidCredentials as error:
        return await _confirm(request, change_email, show, presented_token, error=error)
    return _go_on(_CHANGE, step=_DONE)


async def _confirm(
    request: AnyRequest, change_email: ChangeEmail, show: "_Show", token: str, *, error: IdpError | None = None
) -> Page:
    try:
        found = await change_email.check_link(token, origin_of(request))
    except OneTimeTokenInvalid as dead:
        return show.dead(dead)
    return show.page("form", error=error, token=token, email=found.email)


# --- shared ----------------------------------------------------------------------------------------------------------


class _Show:
    """One template in its states."""

    def __init__(self, template: str, settings: Settings, request: AnyRequest) -> None:
        self._template = template
        self._settings = settings
        self._request = request

    def page(self, state: str, *, error: IdpError | None = None, **values: object) -> Page:
        # Not 401, which names a scheme that a browser would ask the password with (RFC 9110 section 11.6.1).
        self._note(error)
        return self._answer(422 if error else 200, state, error=error.detail if error else None, **values)

    def dead(self, error: OneTimeTokenInvalid) -> Page:
        self._note(error)
        return self._answer(error.status, "dead", error=None)

    def _note(self, error: IdpError | None) -> None:
        """Let the log name the refusal that a page shows in its own words."""
        if error is not None:
            self._request.scope["error"] = error  # type: ignore[typeddict-unknown-key]

    def _answer(self, status: int, state: str, **values: object) -> Page:
        shared = {"front_end": self._settings.mail.frontend_url, "policy": self._settings.passwords}
        return form_page(self._template, status=status, headers=None, state=state, **shared, **values)


def _go_on(path: str, *, background: Any = None, **query: str) -> Redirect:
    return go_on(f"{path}?{urlencode(query)}", background=background)


ROUTES = (
    verify_email_page,
    verify_email_form,
    reset_password_page,
    reset_password_form,
    change_email_page,
    change_email_form,
)
