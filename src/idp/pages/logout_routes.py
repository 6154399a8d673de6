"""/oauth2/logout: signs a browser out (OpenID Connect RP-Initiated Logout 1.0; SEC-72), and the page afterwards.

`provider/logout.py` decides; here its decision becomes a redirect or a page.
"""

from functools import partial
from typing import Annotated
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from litestar.response import Redirect
from litestar.types import ExceptionHandlersMap

from idp.audit.record import origin_of
from idp.authn.introspection import Introspector
from idp.errors import LogoutRequestInvalid, PostLogoutRedirectUriMismatch, UnknownClient
from idp.federation.logout import FederatedLogout
from idp.pages.browser_session import find_browser
from idp.pages.forms import ERROR_PAGES, FORM, check_session_form, read_form, show_request_error
from idp.pages.leaving import leave_form
from idp.pages.rendering import FormOf, form_page, redirect
from idp.principal.guards import public
from idp.principal.model import Principal
from idp.principal.requests import AnyRequest
from idp.provider.authorization_checks import MAX_STATE
from idp.provider.logout import NAMES, Logout, LogoutRequest
from idp.sessions.cookie import SessionCookies
from idp.signing.jwt import TokenService

LOGOUT, CONFIRM, SIGNED_OUT = "/oauth2/logout", "/oauth2/logout/confirm", "/signed-out"
_MAX_PARAMETERS = 50
SentState = Annotated[str, QueryParameter(name="state", description="As sent to the provider.")]
_NOT_STORED = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
_show_error = partial(show_request_error, texts="sign_out_error")
_ERRORS: ExceptionHandlersMap = {
    **ERROR_PAGES,
    LogoutRequestInvalid: _show_error,
    UnknownClient: _show_error,
    PostLogoutRedirectUriMismatch: _show_error,
}


@get(LOGOUT, opt=public(), include_in_schema=False, exception_handlers=_ERRORS)
async def logout(
    request: AnyRequest,
    logouts: NamedDependency[Logout],
    introspector: NamedDependency[Introspector],
    federated_logout: NamedDependency[FederatedLogout],
    session_cookies: NamedDependency[SessionCookies],
) -> Response[str] | Redirect:
    """Sign out if the request proves that it comes from an app of this session; ask otherwise."""
    pairs = _parameters(request.scope["query_string"])
    return await _answer(request, pairs, logouts, introspector, federated_logout, session_cookies)


@post(LOGOUT, opt=public() | FORM, include_in_schema=False, status_code=200, exception_handlers=_ERRORS)
async def logout_by_form(
    request: AnyRequest,
    logouts: NamedDependency[Logout],
    introspector: NamedDependency[Introspector],
    federated_logout: NamedDependency[FederatedLogout],
    session_cookies: NamedDependency[SessionCookies],
) -> Response[str] | Redirect:
    """Do the same for a form of a client's page.

    A browser sends no `SameSite=Lax` cookie with another site's POST, but with the GET that follows.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise LogoutRequestInvalid("Send the parameters as application/x-www-form-urlencoded.")
    pairs = _parameters(await request.body())
    if session_cookies.name in request.cookies:
        return await _answer(request, pairs, logouts, introspector, federated_logout, session_cookies)
    await logouts.check(pairs)
    # No others, and none of any length, because a proxy does not pass on a long Location.
    known = [(name, value) for name, value in pairs if name in NAMES and len(value) <= MAX_STATE]
    return redirect(f"{LOGOUT}?{urlencode(known)}")


@post(CONFIRM, opt=public() | FORM, include_in_schema=False, status_code=200, exception_handlers=_ERRORS)
async def confirm_logout(
    request: AnyRequest,
    logouts: NamedDependency[Logout],
    introspector: NamedDependency[Introspector],
    federated_logout: NamedDependency[FederatedLogout],
    session_cookies: NamedDependency[SessionCookies],
    tokens: NamedDependency[TokenService],
) -> Response[str] | Redirect:
    """Sign out after the question. The form's token is that of the session (SEC-44)."""
    form = await read_form(request, public_url=tokens.issuer)
    wanted = await logouts.check([(name, value) for name, value in form.items() if name != "csrf_token"])
    browser, ended = await find_browser(request, introspector), None
    if browser is not None:
        check_session_form(request, session_cookies, browser, form)
        ended = await logouts.end(browser, origin_of(request))
    return await _leave(request, wanted, ended, federated_logout, session_cookies)


@get(SIGNED_OUT, opt=public(), include_in_schema=False, exception_handlers=_ERRORS)
async def signed_out(request: AnyRequest, introspector: NamedDependency[Introspector]) -> Response[str] | Redirect:
    """Say that nobody is signed in here, if that is so."""
    if await find_browser(request, introspector) is not None:
        return redirect(LOGOUT)
    return form_page(request, "signed_out.html")


@get("/federation/{provider:str}/signed-out", opt=public(), include_in_schema=False, exception_handlers=_ERRORS)
async def signed_out_at_provider(
    provider: FromPath[str], federated_logout: NamedDependency[FederatedLogout], sent_state: SentState = ""
) -> Redirect:
    """Go on to where the logout was going, after the provider's."""
    federated_logout.providers.get(provider)
    destination = federated_logout.destination(sent_state)
    if destination is None:
        return redirect(SIGNED_OUT)
    return Redirect(destination, status_code=303, headers=_NOT_STORED)


async def _answer(
    request: AnyRequest,
    pairs: list[tuple[str, str]],
    logouts: Logout,
    introspector: Introspector,
    federated_logout: FederatedLogout,
    session_cookies: SessionCookies,
) -> Response[str] | Redirect:
    wanted = await logouts.check(pairs)
    browser = await find_browser(request, introspector)
    if browser is not None and not await logouts.is_proven(wanted, browser):
        return _ask(request, wanted, browser, session_cookies)
    if browser is not None:
        ended = await logouts.end(browser, origin_of(request))
    else:
        ended = await logouts.end_expired(wanted, origin_of(request))
    return await _leave(request, wanted, ended, federated_logout, session_cookies)


def _ask(
    request: AnyRequest, wanted: LogoutRequest, browser: Principal, session_cookies: SessionCookies
) -> Response[str]:
    return form_page(
        request,
        "sign_out.html",
        form=FormOf(redirect_uri=wanted.redirect_uri),
        action=CONFIRM,
        fields=wanted.parameters,
        client_name=wanted.client_name,
        user=browser.user,
        csrf_token=session_cookies.csrf_token(browser.credential.session_id or ""),
    )


async def _leave(
    request: AnyRequest,
    wanted: LogoutRequest,
    ended: UUID | None,
    federated_logout: FederatedLogout,
    session_cookies: SessionCookies,
) -> Response[str] | Redirect:
    """Go where the request says, without cookies; first to the provider where the ended session began."""
    cookies = session_cookies.clear()
    leaving = await federated_logout.leave(ended, wanted.location) if ended is not None else None
    if leaving is not None and request.method == "POST":
        return leave_form(request, leaving.url, label=leaving.label, cookies=cookies)
    if leaving is not None:
        return Redirect(leaving.url, status_code=303, headers=_NOT_STORED, cookies=cookies)
    if wanted.location is None:
        return redirect(SIGNED_OUT, cookies=cookies)
    return Redirect(wanted.location, status_code=303, headers=_NOT_STORED, cookies=cookies)


def _parameters(encoded: bytes) -> list[tuple[str, str]]:
    """Decode parameters strictly.

    Raises:
        LogoutRequestInvalid: they are not UTF-8, or too many.
    """
    try:
        return parse_qsl(encoded.decode(), keep_blank_values=True, max_num_fields=_MAX_PARAMETERS, errors="strict")
    except ValueError:
        raise LogoutRequestInvalid("The parameters are not UTF-8, or too many.") from None


ROUTES = (logout, logout_by_form, confirm_logout, signed_out, signed_out_at_provider)
