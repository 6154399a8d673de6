"""The page /second-factor/set-up, for users of whom a second factor is required (users/factors/policy.py).

Within the days of grace it follows each sign-in and can be left; after them, the sign-in waits here until a factor is
set up.
"""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect
from msgspec import Struct

from idp.accounts.manage_factors import ManageFactors
from idp.accounts.pending_sign_ins import FoundSignIn
from idp.accounts.second_factor import SecondFactor
from idp.authn.introspection import Introspector
from idp.errors import (
    EnrolmentExpired,
    FreshLoginRequired,
    SecondFactorChanged,
    SecondFactorInvalid,
    SignInExpired,
    SupportSession,
)
from idp.ops.address_limits import checks_address
from idp.pages.browser_session import find_browser
from idp.pages.forms import ERROR_PAGES, FORM, read_form
from idp.pages.mail_link import Page
from idp.pages.qr_code import svg
from idp.pages.rendering import form_page, redirect
from idp.pages.second_factor_page import find_waiting, is_fresh, lead_on, show_over, sign_in_again
from idp.pages.sign_in_steps import SECOND_FACTOR, SET_UP, Journey, RequestId, ReturnTo, find_journey
from idp.principal.guards import public
from idp.principal.model import Principal
from idp.principal.requests import AnyRequest
from idp.provider.authorization import Authorization
from idp.sessions.form_tokens import FormTokens
from idp.settings import Settings
from idp.signing.jwt import TokenService

_MAX_CODE = 64  # characters


class _Who(Struct):
    """Whose factor is set up: of a sign-in that waits for it, or of the browser's session."""

    waiting: FoundSignIn | None
    browser: Principal | None

    @property
    def user_id(self) -> str:
        if self.waiting is not None:
            return self.waiting.user_id
        assert self.browser is not None
        return self.browser.user_id


@get(SET_UP, opt=public(), include_in_schema=False, exception_handlers=ERROR_PAGES)
async def set_up_page(
    request: AnyRequest,
    second_factor: NamedDependency[SecondFactor],
    manage_factors: NamedDependency[ManageFactors],
    authorizations: NamedDependency[Authorization],
    introspector: NamedDependency[Introspector],
    form_tokens: NamedDependency[FormTokens],
    settings: NamedDependency[Settings],
    request_id: RequestId = None,
    return_to: ReturnTo = None,
) -> Page | Redirect:
    """Show a new secret, and until when it must be set up."""
    journey = await find_journey(authorizations, request_id, return_to)
    who = await _who(request, second_factor, introspector)
    if who is None:
        return show_over(request, journey)
    if who.waiting is not None and not who.waiting.details.enrols:
        return redirect(f"{SECOND_FACTOR}{journey.query}")
    if who.browser is not None:
        if not is_fresh(who.browser, settings):
            return redirect(sign_in_again(journey))
        if (await manage_factors.state(who.user_id)).factors.has_any:
            return redirect(journey.onward())
    return await _form(request, journey, form_tokens, manage_factors, who)


@post(
    SET_UP,
    opt=public() | FORM,
    before_request=checks_address("login"),
    include_in_schema=False,
    status_code=200,
    exception_handlers=ERROR_PAGES,
)
async def set_up_form(
    request: AnyRequest,
    second_factor: NamedDependency[SecondFactor],
    manage_factors: NamedDependency[ManageFactors],
    authorizations: NamedDependency[Authorization],
    introspector: NamedDependency[Introspector],
    form_tokens: NamedDependency[FormTokens],
    settings: NamedDependency[Settings],
    tokens: NamedDependency[TokenService],
    request_id: RequestId = None,
    return_to: ReturnTo = None,
) -> Page | Redirect:
    """Store the app, show the recovery codes, and lead on."""
    form = await read_form(request, public_url=tokens.issuer)
    form_tokens.check(request.cookies, form.get("csrf_token", ""))
    journey = await find_journey(authorizations, request_id, return_to)
    who = await _who(request, second_factor, introspector)
    if who is None:
        return show_over(request, journey)
    if who.browser is not None and not is_fresh(who.browser, settings):
        return redirect(sign_in_again(journey))
    sealed, code = form.get("sealed_secret", ""), form.get("code", "")[:_MAX_CODE]
    try:
        if who.waiting is not None:
            presented_token = request.cookies[second_factor.pending_sign_ins.name]
            done = await manage_factors.confirm_totp_of_sign_in(request, presented_token, sealed, code)
        else:
            assert who.browser is not None
            done = await manage_factors.confirm_totp(request, who.browser, sealed, code, mode="cookie")
    except SignInExpired:
        return show_over(request, journey)
    except FreshLoginRequired:  # a factor was set up meanwhile
        return redirect(f"{SECOND_FACTOR}{journey.query}")
    except (SecondFactorChanged, EnrolmentExpired) as error:
        request.scope["error"] = error  # type: ignore[typeddict-unknown-key]
        return await _form(request, journey, form_tokens, manage_factors, who, error="again")
    except SecondFactorInvalid as error:
        request.scope["error"] = error  # type: ignore[typeddict-unknown-key]
        return await _form(request, journey, form_tokens, manage_factors, who, error="wrong", sealed=sealed)
    assert done.started is not None
    onward = await lead_on(request, second_factor, authorizations, journey, done.started, who.waiting)
    if not done.recovery_codes:
        return onward
    leave_to = who.waiting.details.leave_to if who.waiting is not None else None
    url = onward.url if isinstance(onward, Redirect) else leave_to or "/"
    form_of = journey.form(list(onward.cookies))
    return form_page(request, "recovery_codes.html", form=form_of, codes=done.recovery_codes, onward=url)


async def _who(request: AnyRequest, second_factor: SecondFactor, introspector: Introspector) -> _Who | None:
    waiting = await find_waiting(request, second_factor)
    browser = await find_browser(request, introspector) if waiting is None else None
    if browser is not None and browser.credential.is_for_support:
        raise SupportSession
    return _Who(waiting, browser) if waiting is not None or browser is not None else None


async def _form(
    request: AnyRequest,
    journey: Journey,
    form_tokens: FormTokens,
    manage_factors: ManageFactors,
    who: _Who,
    *,
    error: str | None = None,
    sealed: str | None = None,
) -> Response[str]:
    if sealed is not None:
        enrolment = await manage_factors.show_totp(who.user_id, sealed)
    else:
        enrolment = await manage_factors.begin_totp(who.user_id)
    state = await manage_factors.state(who.user_id)
    token, cookies = form_tokens.issue(request.cookies)
    return form_page(
        request,
        "set_up_factor.html",
        status=422 if error else 200,
        form=journey.form(cookies),
        client=journey.client,
        query=journey.query,
        csrf_token=token,
        enrolment=enrolment,
        qr=svg(enrolment.uri),
        due_at=state.due_at if who.waiting is None else None,
        later=journey.onward() if who.waiting is None else None,
        required=state.required,
        error=error,
    )


ROUTES = (set_up_page, set_up_form)
