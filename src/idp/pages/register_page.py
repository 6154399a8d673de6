"""The page /register: create an account, with verification of the address or without, as the settings say."""

import re

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery
from litestar.response import Redirect

from idp.accounts.open_registration import OpenRegistration
from idp.accounts.register_email import RegisterEmail
from idp.accounts.start_session import SessionStarter
from idp.audit.record import origin_of
from idp.errors import EmailTaken, IdpError, PasswordRejected, ValidationFailed
from idp.ops.address_limits import checks_address
from idp.ops.rate_limit import Limiter
from idp.ops.rate_limit_rules import RateLimitRules
from idp.pages.forms import ERROR_PAGES, FORM, read_form
from idp.pages.mail_link import SENT, Page
from idp.pages.rendering import form_page, redirect
from idp.pages.sign_in_steps import Journey, RequestId, ReturnTo, find_journey, finish
from idp.pages.waiting_requests import WaitingRequests
from idp.plain_text import LINE
from idp.principal.guards import public
from idp.principal.requests import AnyRequest
from idp.provider.authorization import Authorization
from idp.sessions.form_tokens import FormTokens
from idp.settings import Settings
from idp.signing.jwt import Family, TokenService
from idp.users.email import parse_email

REGISTER = "/register"
_NAME = re.compile(LINE)
_MAX_NAME, _MAX_EMAIL, _MAX_PASSWORD = 200, 254, 4096  # characters


@get(REGISTER, opt=public(), include_in_schema=False, exception_handlers=ERROR_PAGES)
async def register_page(
    request: AnyRequest,
    authorizations: NamedDependency[Authorization],
    form_tokens: NamedDependency[FormTokens],
    settings: NamedDependency[Settings],
    request_id: RequestId = None,
    return_to: ReturnTo = None,
    step: FromQuery[str | None] = None,
) -> Page:
    """Show the form for an account, or that a mail was sent."""
    journey = await find_journey(authorizations, request_id, return_to)
    return _page(request, journey, form_tokens, settings, state=SENT if step == SENT else "form")


@post(
    REGISTER,
    opt=public() | FORM,
    before_request=checks_address("registration"),
    include_in_schema=False,
    status_code=200,
    exception_handlers=ERROR_PAGES,
)
async def register_form(
    request: AnyRequest,
    authorizations: NamedDependency[Authorization],
    form_tokens: NamedDependency[FormTokens],
    settings: NamedDependency[Settings],
    limiter: NamedDependency[Limiter],
    rate_limit_rules: NamedDependency[RateLimitRules],
    session_starter: NamedDependency[SessionStarter],
    open_registration: NamedDependency[OpenRegistration],
    register_email: NamedDependency[RegisterEmail],
    waiting_requests: NamedDependency[WaitingRequests],
    tokens: NamedDependency[TokenService],
    request_id: RequestId = None,
    return_to: ReturnTo = None,
) -> Page | Redirect:
    """Create the account. With verification, the answer is the same for an address that has one (C-30)."""
    form = await read_form(request, public_url=tokens.issuer)
    form_tokens.check(request.cookies, form.get("csrf_token", ""))
    session_starter.check_origin(request, "cookie")
    journey = await find_journey(authorizations, request_id, return_to)
    rule = rate_limit_rules.registration(origin_of(request).ip_address or "")
    await limiter.check(rule)
    name, password = form.get("name", "").strip() or None, form.get("password", "")[: _MAX_PASSWORD + 1]
    email = _address(form.get("email", ""))
    wrong = "bad_email" if email is None else None if _is_name(name) else "bad_name"
    if email is not None and wrong is None:
        try:
            if settings.accounts.require_email_verification:
                await limiter.take(rule)
                await register_email.register(email, password, origin_of(request), name=name)
                waiting = [waiting_requests.remember(str(journey.pending.id))] if journey.pending else []
                step = f"{'&' if journey.query else '?'}step={SENT}"
                return redirect(f"{REGISTER}{journey.query}{step}", cookies=waiting)
            started = await open_registration.register(
                request, email, password, name, family=Family.API_AUTH, mode="cookie"
            )
            return await finish(authorizations, journey, started)
        except (EmailTaken, PasswordRejected, ValidationFailed) as error:
            return _page(request, journey, form_tokens, settings, name=name, email=email, refusal=error)
    shown = form.get("email", "")[:_MAX_EMAIL]
    return _page(request, journey, form_tokens, settings, name=name, email=shown, error=wrong)


def _address(text: str) -> str | None:
    try:
        return parse_email(text.strip())
    except ValueError:
        return None


def _is_name(name: str | None) -> bool:
    return name is None or (len(name) <= _MAX_NAME and _NAME.match(name) is not None)


def _page(
    request: AnyRequest,
    journey: Journey,
    form_tokens: FormTokens,
    settings: Settings,
    *,
    state: str = "form",
    name: str | None = None,
    email: str = "",
    error: str | None = None,
    refusal: IdpError | None = None,
) -> Page:
    token, cookies = form_tokens.issue(request.cookies)
    if refusal is not None:
        request.scope["error"] = refusal  # type: ignore[typeddict-unknown-key]
        error = {EmailTaken: "taken", PasswordRejected: "password"}.get(type(refusal), "disposable")
    return form_page(
        request,
        "register.html",
        status=422 if error else 200,
        form=journey.form(cookies=cookies),
        state=state,
        client=journey.client,
        query=journey.query,
        csrf_token=token,
        name=(name or "")[:_MAX_NAME],
        email=email,
        error=error,
        refused=refusal if isinstance(refusal, PasswordRejected) else None,
        policy=settings.passwords,
    )


ROUTES = (register_page, register_form)
