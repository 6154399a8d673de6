"""/oauth2/authorize and /oauth2/continue: the browser's side of the authorization endpoint.

A client sends a browser here (RFC 6749 section 3.1, OpenID Connect Core section 3.1.2.1). `provider/authorization.py`
decides; here its decision becomes a redirect, a self-submitting form or a page.
"""

from urllib.parse import parse_qsl, urlencode

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from idp.audit.record import origin_of
from idp.authn.introspection import Introspector
from idp.errors import AuthorizationRequestInvalid
from idp.ops.rate_limit import Limiter
from idp.ops.rate_limit_rules import RateLimitRules
from idp.pages.browser_session import find_browser
from idp.pages.forms import ERROR_PAGES, FORM
from idp.pages.rendering import form_page, form_policy, redirect
from idp.principal.guards import public
from idp.principal.requests import AnyRequest
from idp.provider.authorization import Authorization, Page, Show, Step
from idp.provider.authorization_response import AuthorizationResponse
from idp.provider.redirect_uris import origin_of_uri

AUTHORIZE, CONTINUE = "/oauth2/authorize", "/oauth2/continue"
_MAX_PARAMETERS = 50
_PAGES: dict[Page, tuple[str, dict[str, str]]] = {
    "continue": (CONTINUE, {}),
    "login": ("/login", {}),
    "choose": ("/login", {"choose": "1"}),
    "second_factor": ("/second-factor", {}),
    "consent": ("/consent", {}),
}
_NOT_STORED = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


@get(AUTHORIZE, opt=public(), include_in_schema=False, exception_handlers=ERROR_PAGES)
async def authorize(
    request: AnyRequest,
    authorizations: NamedDependency[Authorization],
    introspector: NamedDependency[Introspector],
    limiter: NamedDependency[Limiter],
    rate_limit_rules: NamedDependency[RateLimitRules],
) -> Response[str] | Redirect:
    """Answer an authorization request: with a code, an error, or the page that it waits for."""
    pairs = _parameters(request.scope["query_string"])
    rule = rate_limit_rules.authorization(request.client.host if request.client else "")
    await limiter.check(rule)
    browser = await find_browser(request, introspector)
    step = await authorizations.begin(pairs, browser, origin_of(request))
    if isinstance(step, Show):
        await limiter.take(rule)
    return respond(request, step)


@post(AUTHORIZE, opt=public() | FORM, include_in_schema=False, status_code=200, exception_handlers=ERROR_PAGES)
async def authorize_by_form(
    request: AnyRequest,
    authorizations: NamedDependency[Authorization],
    limiter: NamedDependency[Limiter],
    rate_limit_rules: NamedDependency[RateLimitRules],
) -> Response[str] | Redirect:
    """Save a request that a client's page posts, and continue it with GET.

    A browser sends no `SameSite=Lax` cookie with another site's POST, but with the GET that follows.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise AuthorizationRequestInvalid("Send the parameters as application/x-www-form-urlencoded.")
    rule = rate_limit_rules.authorization(request.client.host if request.client else "")
    await limiter.take(rule)
    return respond(request, await authorizations.save(_parameters(await request.body())))


@get(CONTINUE, opt=public(), include_in_schema=False, exception_handlers=ERROR_PAGES)
async def continue_authorization(
    request: AnyRequest,
    authorizations: NamedDependency[Authorization],
    introspector: NamedDependency[Introspector],
) -> Response[str] | Redirect:
    """Take the next step of a saved request, after a page."""
    browser = await find_browser(request, introspector)
    return respond(
        request, await authorizations.resume(request.query_params.get("request", ""), browser, origin_of(request))
    )


def respond(request: AnyRequest, step: Step) -> Response[str] | Redirect:
    """Return the response of a step."""
    if isinstance(step, Show):
        path, more = _PAGES[step.page]
        return redirect(f"{path}?{urlencode({'request': str(step.request_id), **more})}")
    if step.address.mode == "form_post":
        return _form_post(request, step)
    return Redirect(step.location, status_code=303, headers=_NOT_STORED)


def _form_post(request: AnyRequest, response: AuthorizationResponse) -> Response[str]:
    """Return a form that submits itself (OAuth 2.0 Form Post Response Mode)."""
    action = response.address.redirect_uri
    return form_page(
        request,
        "form_post.html",
        headers={"Content-Security-Policy": form_policy(origin_of_uri(action))},
        action=action,
        fields=response.parameters,
    )


def _parameters(encoded: bytes) -> list[tuple[str, str]]:
    """Decode parameters strictly.

    Raises:
        AuthorizationRequestInvalid: they are not UTF-8, or too many.
    """
    try:
        return parse_qsl(encoded.decode(), keep_blank_values=True, max_num_fields=_MAX_PARAMETERS, errors="strict")
    except ValueError:
        raise AuthorizationRequestInvalid("The parameters are not UTF-8, or too many.") from None


ROUTES = (authorize, authorize_by_form, continue_authorization)
