"""The page /second-factor: finish a sign-in that waits, or make the browser's session stronger for an app or a page.

The token of a sign-in that waits is in a cookie, never in an address. A link to a step that is over leads to a page
that says so, or onward if the browser is signed in with two factors already.
"""

from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response import Redirect

from idp import clock
from idp.accounts.manage_factors import ManageFactors
from idp.accounts.pending_sign_ins import FoundSignIn
from idp.accounts.second_factor import SecondFactor
from idp.accounts.start_session import StartedSession
from idp.audit.record import origin_of
from idp.authn.introspection import Introspector
from idp.errors import FreshLoginRequired, NoSecondFactor, SecondFactorInvalid, SignInExpired, SupportSession
from idp.ops.address_limits import checks_address
from idp.pages.browser_session import find_browser
from idp.pages.forms import ERROR_PAGES, FORM, read_form
from idp.pages.leaving import leave_form
from idp.pages.mail_link import Page
from idp.pages.passkey_login import parse_credential
from idp.pages.rendering import form_page, redirect
from idp.pages.sign_in_steps import SECOND_FACTOR, SET_UP, Journey, RequestId, ReturnTo, find_journey, finish
from idp.principal.guards import public
from idp.principal.model import TWO_FACTORS, Principal
from idp.principal.requests import AnyRequest
from idp.provider.authorization import Authorization
from idp.sessions.form_tokens import FormTokens
from idp.settings import Settings
from idp.signing.jwt import TokenService

_MAX_CODE = 64  # characters
Method = Annotated[str | None, QueryParameter(description="What to prove: totp or recovery_code.")]


@get(SECOND_FACTOR, opt=public(), include_in_schema=False, exception_handlers=ERROR_PAGES)
async def second_factor_page(
    request: AnyRequest,
    second_factor: NamedDependency[SecondFactor],
    manage_factors: NamedDependency[ManageFactors],
    authorizations: NamedDependency[Authorization],
    introspector: NamedDependency[Introspector],
    form_tokens: NamedDependency[FormTokens],
    settings: NamedDependency[Settings],
    request_id: RequestId = None,
    return_to: ReturnTo = None,
    method: Method = None,
) -> Page | Redirect:
    """Ask for the code, if a sign-in waits for it or the browser's session is not strong enough."""
    journey = await find_journey(authorizations, request_id, return_to)
    waiting = await find_waiting(request, second_factor)
    if waiting is not None:
        if waiting.details.enrols:
            return redirect(f"{SET_UP}{journey.query}")
        return await _form(
            request, journey, form_tokens, manage_factors, second_factor, waiting.user_id, steps_up=False, method=method
        )
    browser = await find_browser(request, introspector)
    if browser is None:
        return show_over(request, journey)
    if browser.credential.acr == TWO_FACTORS:
        return redirect(journey.onward())
    if browser.credential.is_for_support:
        raise SupportSession
    if not is_fresh(browser, settings):
        return redirect(sign_in_again(journey))
    if not (await manage_factors.state(browser.user_id)).factors.has_any:
        return redirect(f"{SET_UP}{journey.query}")
    return await _form(
        request, journey, form_tokens, manage_factors, second_factor, browser.user_id, steps_up=True, method=method
    )


@post(
    SECOND_FACTOR,
    opt=public() | FORM,
    before_request=checks_address("login"),
    include_in_schema=False,
    status_code=200,
    exception_handlers=ERROR_PAGES,
)
async def second_factor_form(
    request: AnyRequest,
    second_factor: NamedDependency[SecondFactor],
    manage_factors: NamedDependency[ManageFactors],
    authorizations: NamedDependency[Authorization],
    introspector: NamedDependency[Introspector],
    form_tokens: NamedDependency[FormTokens],
    tokens: NamedDependency[TokenService],
    request_id: RequestId = None,
    return_to: ReturnTo = None,
    method: Method = None,
) -> Page | Redirect:
    """Check the code, and go on; a wrong one is shown on the same page."""
    form = await read_form(request, public_url=tokens.issuer)
    form_tokens.check(request.cookies, form.get("csrf_token", ""))
    journey = await find_journey(authorizations, request_id, return_to)
    waiting = await find_waiting(request, second_factor)
    if credential := form.get("credential"):
        parsed, steps_up = parse_credential(credential), waiting is None
        prove = second_factor.by_passkey(parsed, origin_of(request), verifies_user=steps_up)
    else:
        prove = second_factor.by_code(form.get("code", "")[:_MAX_CODE])
    browser = await find_browser(request, introspector) if waiting is None else None
    try:
        if waiting is not None:
            presented_token = request.cookies[second_factor.pending_sign_ins.name]
            started = await second_factor.complete(request, presented_token, prove)
            return await lead_on(request, second_factor, authorizations, journey, started, waiting)
        if browser is None:
            return show_over(request, journey)
        if browser.credential.is_for_support:
            raise SupportSession
        started = await second_factor.step_up(request, browser, prove, mode="cookie")
        return await lead_on(request, second_factor, authorizations, journey, started)
    except FreshLoginRequired:
        return redirect(sign_in_again(journey))
    except (SignInExpired, NoSecondFactor):
        return show_over(request, journey)
    except SecondFactorInvalid as refused:
        request.scope["error"] = refused  # type: ignore[typeddict-unknown-key]
        user_id = waiting.user_id if waiting else browser.user_id if browser else ""
        error = "passkey_wrong" if credential else "wrong"
        return await _form(
            request,
            journey,
            form_tokens,
            manage_factors,
            second_factor,
            user_id,
            steps_up=waiting is None,
            method=method,
            error=error,
        )


async def find_waiting(request: AnyRequest, second_factor: SecondFactor) -> FoundSignIn | None:
    """Return the sign-in of this browser that waits, None without one."""
    token = request.cookies.get(second_factor.pending_sign_ins.name)
    return await second_factor.find(token) if token else None


async def lead_on(
    request: AnyRequest,
    second_factor: SecondFactor,
    authorizations: Authorization,
    journey: Journey,
    started: StartedSession,
    waiting: FoundSignIn | None = None,
) -> Response[str] | Redirect:
    """Set the cookies of the session, and lead to the next step: of the journey, or to the page of an app."""
    started = started.with_cookie(second_factor.pending_sign_ins.cookie(None))
    if waiting is not None and waiting.details.leave_to is not None:
        url = waiting.details.leave_to
        return leave_form(request, url, label=urlsplit(url).hostname or url, cookies=list(started.cookies))
    return await finish(authorizations, journey, started)


def is_fresh(browser: Principal, settings: Settings) -> bool:
    """Whether the sign-in is recent enough to be made stronger."""
    signed_in_at = browser.credential.auth_time
    oldest = settings.accounts.fresh_login_seconds
    return signed_in_at is not None and (clock.now() - signed_in_at).total_seconds() <= oldest


def sign_in_again(journey: Journey) -> str:
    """Return the path of the page where a user signs in again, and comes back to this journey."""
    return f"/login{journey.query}{'&' if journey.query else '?'}fresh=1"


def show_over(request: AnyRequest, journey: Journey) -> Response[str]:
    """Return the page of a step that is over."""
    return form_page(request, "second_factor_over.html", status=410, form=journey.form(), query=journey.query)


async def _form(
    request: AnyRequest,
    journey: Journey,
    form_tokens: FormTokens,
    manage_factors: ManageFactors,
    second_factor: SecondFactor,
    user_id: str,
    *,
    steps_up: bool,
    method: str | None,
    error: str | None = None,
) -> Response[str]:
    token, cookies = form_tokens.issue(request.cookies)
    methods = (await manage_factors.state(user_id)).factors.methods
    options = None
    if "passkey" in methods:
        options = msgspec.json.encode(await second_factor.passkey_options(user_id, verifies_user=steps_up)).decode()
    return form_page(
        request,
        "second_factor.html",
        status=422 if error else 200,
        form=journey.form(cookies),
        client=journey.client,
        query=journey.query,
        csrf_token=token,
        methods=methods,
        passkey_options=options,
        by_recovery_code=method == "recovery_code" or "totp" not in methods,
        error=error,
    )


ROUTES = (second_factor_page, second_factor_form)
