"""The page /consent: what an app asks for, to allow or to deny (SEC-45)."""

from urllib.parse import urlsplit

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from idp.audit.record import origin_of
from idp.authn.introspection import Introspector
from idp.errors import AuthorizationRequestExpired, BadRequest
from idp.pages.authorize_routes import respond
from idp.pages.browser_session import find_browser
from idp.pages.forms import ERROR_PAGES, FORM, has_session_token, read_form
from idp.pages.rendering import form_page, redirect
from idp.pages.sign_in_steps import Journey, RequestId, find_journey
from idp.principal.guards import check_not_for_support, public
from idp.principal.permissions import USER_SCOPES
from idp.principal.requests import AnyRequest
from idp.provider.authorization import Authorization, PendingRequest
from idp.sessions.cookie import SessionCookies
from idp.signing.jwt import TokenService

CONSENT = "/consent"


@get(CONSENT, opt=public(), include_in_schema=False, exception_handlers=ERROR_PAGES)
async def consent_page(
    request: AnyRequest,
    authorizations: NamedDependency[Authorization],
    introspector: NamedDependency[Introspector],
    session_cookies: NamedDependency[SessionCookies],
    request_id: RequestId = None,
) -> Response[str] | Redirect:
    """Show who asks for what, in words."""
    journey, pending = await _load(authorizations, request_id)
    browser = await find_browser(request, introspector)
    if browser is None:
        return redirect(journey.onward())
    check_not_for_support(browser)  # nobody consents for the user
    return form_page(
        request,
        "consent.html",
        form=journey.form(),
        pending=pending,
        user=browser.user,
        query=journey.query,
        scopes=[(scope if scope in USER_SCOPES else "other", scope) for scope in pending.scopes],
        links=_links(pending),
        host=urlsplit(pending.redirect_uri).hostname,
        csrf_token=session_cookies.csrf_token(browser.credential.session_id or ""),
    )


@post(CONSENT, opt=public() | FORM, include_in_schema=False, status_code=200, exception_handlers=ERROR_PAGES)
async def consent_form(
    request: AnyRequest,
    authorizations: NamedDependency[Authorization],
    introspector: NamedDependency[Introspector],
    session_cookies: NamedDependency[SessionCookies],
    tokens: NamedDependency[TokenService],
    request_id: RequestId = None,
) -> Response[str] | Redirect:
    """Record the decision. The form's token is that of the session, so that the one who decides is the one shown."""
    form = await read_form(request, public_url=tokens.issuer)
    journey, pending = await _load(authorizations, request_id)
    browser = await find_browser(request, introspector)
    if browser is None:
        return redirect(journey.onward())
    if not has_session_token(request, session_cookies, browser, form):
        return redirect(f"{CONSENT}{journey.query}")  # the session is another one now: ask again
    match form.get("decision"):
        case "allow":
            await authorizations.approve(str(pending.id), browser, origin_of(request))
            return redirect(journey.onward())
        case "deny":
            return respond(request, await authorizations.deny(str(pending.id), browser, origin_of(request)))
    raise BadRequest("The form has no decision.")


async def _load(authorizations: Authorization, request_id: str | None) -> tuple[Journey, PendingRequest]:
    journey = await find_journey(authorizations, request_id)
    if journey.pending is None:
        raise AuthorizationRequestExpired
    return journey, journey.pending


def _links(pending: PendingRequest) -> list[tuple[str, str]]:
    """Return the client's links by their texts; only those that a browser opens as a web page (SEC-46)."""
    links = {"website": pending.client_uri, "policy": pending.policy_uri, "tos": pending.tos_uri}
    return [(text, uri) for text, uri in links.items() if uri and urlsplit(uri).scheme in {"http", "https"}]


ROUTES = (consent_page, consent_form)
