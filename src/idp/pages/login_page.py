"""The page /login: sign in with e-mail and password, or continue with the session that the browser has."""

from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response import Redirect

from idp.accounts.passkey_sign_in import PasskeySignIn
from idp.accounts.shapes import LoginIn
from idp.accounts.sign_in import SignIn
from idp.authn.introspection import Introspector
from idp.errors import InvalidCredentials
from idp.federation.sign_in import FederatedSignIn
from idp.ops.address_limits import checks_address
from idp.ops.public_prefix import prefixed
from idp.pages.browser_session import find_browser
from idp.pages.forms import ERROR_PAGES, FORM, has_session_token, read_form
from idp.pages.leaving import leave_form
from idp.pages.login_form import LoginForm, show_login
from idp.pages.mail_link import Page
from idp.pages.provider_buttons import chosen_by_address, chosen_by_app, start_path
from idp.pages.rendering import form_page, redirect
from idp.pages.sign_in_steps import Journey, RequestId, ReturnTo, find_journey, finish, resume_journey
from idp.pages.waiting_requests import WaitingRequests
from idp.principal.guards import public
from idp.principal.model import Principal
from idp.principal.requests import AnyRequest
from idp.provider.authorization import Authorization
from idp.sessions.cookie import SessionCookies
from idp.sessions.form_tokens import FormTokens
from idp.settings import Settings
from idp.signing.jwt import Family, TokenService

LOGIN = "/login"
_MAX_EMAIL, _MAX_PASSWORD = 254, 4096  # characters; longer ones are wrong without a look-up
Choose = Annotated[str | None, QueryParameter(description="Whether to offer the account of the browser's session.")]
Resume = Annotated[str | None, QueryParameter(description="Whether to continue what waited for a mail.")]
Fresh = Annotated[str | None, QueryParameter(description="Whether to sign in again in a session that has begun.")]
Other = Annotated[str | None, QueryParameter(description="Whether to sign in with another account.")]


@get(LOGIN, opt=public(), include_in_schema=False, exception_handlers=ERROR_PAGES)
async def login_page(
    request: AnyRequest,
    authorizations: NamedDependency[Authorization],
    introspector: NamedDependency[Introspector],
    form_tokens: NamedDependency[FormTokens],
    session_cookies: NamedDependency[SessionCookies],
    settings: NamedDependency[Settings],
    waiting_requests: NamedDependency[WaitingRequests],
    federated_sign_in: NamedDependency[FederatedSignIn],
    passkey_sign_in: NamedDependency[PasskeySignIn],
    request_id: RequestId = None,
    return_to: ReturnTo = None,
    choose: Choose = None,
    other: Other = None,
    resume: Resume = None,
    fresh: Fresh = None,
) -> Page | Redirect:
    """Show the form for signing in, or the account of the browser's session to continue with."""
    if resume and request_id is None:
        journey = await resume_journey(authorizations, waiting_requests.find(request.cookies))
    else:
        journey = await find_journey(authorizations, request_id, return_to)
    providers = federated_sign_in.providers
    if not other and (provider := chosen_by_app(providers, journey)) is not None:
        return redirect(start_path(provider, journey))
    browser = await find_browser(request, introspector) if not other else None
    if browser is not None and not fresh and (choose or journey.pending is None):
        return _choice(request, journey, browser, session_cookies)
    email = journey.pending.login_hint if journey.pending else None
    if browser is not None and browser.user is not None:
        email = email or browser.user.email
    shown = LoginForm(email=email or "")
    return show_login(request, journey, form_tokens, settings, providers, passkey_sign_in, shown)


@post(
    LOGIN,
    opt=public() | FORM,
    before_request=checks_address("login"),
    include_in_schema=False,
    status_code=200,
    exception_handlers=ERROR_PAGES,
)
async def login_form(
    request: AnyRequest,
    authorizations: NamedDependency[Authorization],
    introspector: NamedDependency[Introspector],
    form_tokens: NamedDependency[FormTokens],
    session_cookies: NamedDependency[SessionCookies],
    settings: NamedDependency[Settings],
    sign_in: NamedDependency[SignIn],
    federated_sign_in: NamedDependency[FederatedSignIn],
    passkey_sign_in: NamedDependency[PasskeySignIn],
    tokens: NamedDependency[TokenService],
    request_id: RequestId = None,
    return_to: ReturnTo = None,
) -> Page | Redirect:
    """Sign in and go on to the next step; wrong credentials are shown on the same page (SEC-9)."""
    form = await read_form(request, public_url=tokens.issuer)
    journey = await find_journey(authorizations, request_id, return_to)
    if "continue" in form:
        browser = await find_browser(request, introspector)
        return await _continue(request, authorizations, journey, browser, form, session_cookies)
    form_tokens.check(request.cookies, form.get("csrf_token", ""))
    email, password, remember = form.get("email", "").strip(), form.get("password", ""), "remember" in form
    providers = federated_sign_in.providers
    if (provider := chosen_by_address(providers, email, password)) is not None:
        start = prefixed(start_path(provider, journey, login_hint=email[:_MAX_EMAIL]))
        return leave_form(request, start, label=provider.label)
    error = "missing"
    if email and password:
        verified_only, error = settings.accounts.require_email_verification, "wrong"
        data = LoginIn(email=email[: _MAX_EMAIL + 1], password=password[: _MAX_PASSWORD + 1], remember_me=remember)
        try:
            started = await sign_in.log_in(request, data, "cookie", family=Family.API_AUTH, verified_only=verified_only)
            return await finish(authorizations, journey, started)
        except InvalidCredentials as refused:
            request.scope["error"] = refused  # type: ignore[typeddict-unknown-key]
    shown = LoginForm(email if len(email) <= _MAX_EMAIL else "", remember, error)
    return show_login(request, journey, form_tokens, settings, providers, passkey_sign_in, shown)


async def _continue(
    request: AnyRequest,
    authorizations: Authorization,
    journey: Journey,
    browser: Principal | None,
    form: dict[str, str],
    session_cookies: SessionCookies,
) -> Redirect:
    """Continue as the user of the browser's session, which the form must name by its CSRF token."""
    if browser is None:
        return redirect(f"{LOGIN}{journey.query}")
    if not has_session_token(request, session_cookies, browser, form):
        return redirect(f"{LOGIN}{journey.query}{'&' if journey.query else '?'}choose=1")  # ask again
    if journey.pending is not None:
        await authorizations.choose(str(journey.pending.id), browser)
    return redirect(journey.onward())


def _choice(request: AnyRequest, journey: Journey, browser: Principal, session_cookies: SessionCookies) -> Page:
    return form_page(
        request,
        "choose.html",
        form=journey.form(),
        user=browser.user,
        client=journey.client,
        query=journey.query,
        csrf_token=session_cookies.csrf_token(browser.credential.session_id or ""),
    )


ROUTES = (login_page, login_form)
