"""/federation/{provider}: a browser's way to another provider and back, and the proof of an account that is there."""

from typing import Annotated
from urllib.parse import parse_qsl, urlencode, urlsplit

from litestar import Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from litestar.response import Redirect

from idp.accounts.pending_sign_ins import PendingSignIn
from idp.authn.introspection import Introspector
from idp.db.engine import Database
from idp.errors import BadRequest, FederatedLoginInvalid, OriginNotAllowed
from idp.federation.login_state import FederatedJourney
from idp.federation.sign_in import FederatedSignIn, IdentityLinked, ProveAccount, ReturnToApp, SignedIn, Tested
from idp.ops.origins import AllowedOrigins, serialize_origin
from idp.ops.rate_limit import Limiter
from idp.ops.rate_limit_rules import RateLimitRules
from idp.pages.admin.tested_provider import show_tested
from idp.pages.browser_session import find_browser
from idp.pages.forms import ERROR_PAGES, FORM
from idp.pages.leaving import leave_form
from idp.pages.rendering import redirect
from idp.pages.return_path import safe_path
from idp.pages.sign_in_steps import Journey, RequestId, find_journey, finish
from idp.pages.signed_in import SIGNED_IN_ERRORS, SignedInPages
from idp.principal.guards import public
from idp.principal.requests import AnyRequest
from idp.provider.authorization import Authorization
from idp.sessions.form_tokens import FormTokens
from idp.signing import pkce

Responded = SignedIn | ProveAccount | ReturnToApp | IdentityLinked
_MAX_PARAMETERS, _MAX_ANSWER, _MAX_HINT = 30, 16_384, 320
ReturnTo = Annotated[str | None, QueryParameter(description="A path of this service, or a page of an allowed origin.")]
Mode = Annotated[str | None, QueryParameter(description="How the session of a page continues: cookie or code.")]
Challenge = Annotated[str | None, QueryParameter(description="The S256 challenge of the page, for mode=code.")]
Hint = Annotated[str | None, QueryParameter(description="An address to fill in at the provider.")]


@get("/federation/{provider:str}/start", opt=public(), include_in_schema=False, exception_handlers=ERROR_PAGES)
async def start_federated_login(
    request: AnyRequest,
    provider: FromPath[str],
    federated_sign_in: NamedDependency[FederatedSignIn],
    authorizations: NamedDependency[Authorization],
    form_tokens: NamedDependency[FormTokens],
    origins: NamedDependency[AllowedOrigins],
    limiter: NamedDependency[Limiter],
    rate_limit_rules: NamedDependency[RateLimitRules],
    request_id: RequestId = None,
    return_to: ReturnTo = None,
    mode: Mode = None,
    code_challenge: Challenge = None,
    login_hint: Hint = None,
) -> Redirect:
    """Send the browser to a provider, for our page or that of an app."""
    chosen = federated_sign_in.providers.get(provider)
    journey = await find_journey(authorizations, request_id, return_to)
    hint = login_hint or (journey.pending.login_hint if journey.pending else None)
    hint = hint if hint is not None and len(hint) <= _MAX_HINT else None
    if journey.pending is None and return_to is not None and safe_path(return_to) is None:
        federated = _journey_of_app(return_to, mode, code_challenge, origins)
    else:
        is_fresh = journey.pending is not None and "login" in journey.pending.prompt
        federated = FederatedJourney("sign_in", query=journey.query, fresh=is_fresh)
    rule = rate_limit_rules.authorization(request.client.host if request.client else "")
    await limiter.take(rule)
    browser, cookies = form_tokens.browser(request.cookies)
    url = await federated_sign_in.begin(chosen, federated, browser=browser, login_hint=hint)
    return _leave(url, cookies)


@get("/federation/{provider:str}/callback", opt=public(), include_in_schema=False, exception_handlers=SIGNED_IN_ERRORS)
async def finish_federated_login(
    request: AnyRequest,
    provider: FromPath[str],
    federated_sign_in: NamedDependency[FederatedSignIn],
    authorizations: NamedDependency[Authorization],
    form_tokens: NamedDependency[FormTokens],
    introspector: NamedDependency[Introspector],
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
) -> Response[str] | Redirect:
    """Take a provider's answer: sign in, ask for a proof of the account, or show what went wrong."""
    chosen = federated_sign_in.providers.get(provider)
    answer = _answer(request.scope["query_string"])
    browser = request.cookies.get(form_tokens.name, "")
    signed_in = await find_browser(request, introspector)
    user_id = signed_in.user.id if signed_in is not None and signed_in.user is not None else None
    outcome = await federated_sign_in.come_back(request, chosen, answer, browser=browser, user_id=user_id)
    if isinstance(outcome, Tested):
        return await show_tested(request, signed_in_pages, database, chosen, outcome)
    return await _respond(request, outcome, authorizations)


@post(
    "/federation/{provider:str}/callback",
    opt=public() | FORM,
    include_in_schema=False,
    status_code=200,
    exception_handlers=ERROR_PAGES,
)
async def finish_federated_login_by_form(
    request: AnyRequest, provider: FromPath[str], federated_sign_in: NamedDependency[FederatedSignIn]
) -> Redirect:
    """Continue an answer with `response_mode=form_post` by GET: the cookie does not come with another site's POST."""
    chosen = federated_sign_in.providers.get(provider)
    answer = _answer(await request.body())
    return redirect(f"/federation/{chosen.name}/callback?{urlencode(answer)}")


async def _respond(request: AnyRequest, outcome: Responded, authorizations: Authorization) -> Response[str] | Redirect:
    match outcome:
        case SignedIn(PendingSignIn() as pending, federated):
            return await finish(authorizations, await journey_of(authorizations, federated), pending)
        case SignedIn(started, journey) if journey.purpose == "app":
            return _go_on(request, _leave(journey.return_to or "/", [*started.cookies]), journey.return_to)
        case SignedIn(started, federated):
            ours = await journey_of(authorizations, federated)
            return _go_on(request, await finish(authorizations, ours, started), ours.client)
        case ProveAccount(login_id, _):
            return redirect(f"/link-account?{urlencode({'login': str(login_id)})}")
        case ReturnToApp(url):
            return _go_on(request, _leave(url, []), url)
        case IdentityLinked(journey):
            return redirect(safe_path(journey.return_to) or "/")


def _go_on(request: AnyRequest, response: Redirect, app: str | None) -> Response[str] | Redirect:
    """Return what leads a browser to an app: a page, because the provider's `form-action` does not name the app.

    Args:
        request: the callback; browsers say that it is a navigation (Fetch Metadata), and only they apply the policy.
        response: the redirect.
        app: its name or page, None without one.
    """
    if app is None or request.headers.get("sec-fetch-mode") != "navigate":
        return response
    label = urlsplit(app).hostname or app if "://" in app else app
    return leave_form(request, response.url, label=label, cookies=response.cookies)


async def journey_of(authorizations: Authorization, journey: FederatedJourney) -> Journey:
    """Return the journey in our pages that a login at a provider belongs to."""
    kept = dict(parse_qsl(journey.query.removeprefix("?")))
    return await find_journey(authorizations, kept.get("request"), kept.get("return_to"))


def _journey_of_app(
    return_to: str, mode: str | None, code_challenge: str | None, origins: AllowedOrigins
) -> FederatedJourney:
    """Return the journey of a single-page app.

    Raises:
        OriginNotAllowed: its page is not of an allowed origin.
        BadRequest: the mode or the challenge is wrong.
    """
    is_text = len(return_to) <= 2000 and return_to.isprintable() and "#" not in return_to
    if not is_text or not origins.allows(serialize_origin(return_to)):
        raise OriginNotAllowed(f"{return_to[:100]} is not a page of an origin in AUTH_API_CORS_ORIGINS.")
    if mode == "cookie":
        return FederatedJourney("app", return_to=return_to)
    if mode != "code" or code_challenge is None or not pkce.is_challenge(code_challenge):
        raise BadRequest("Send mode=cookie, or mode=code with the S256 code_challenge of the page.")
    return FederatedJourney("app", return_to=return_to, mode="code", code_challenge=code_challenge)


def _answer(encoded: bytes) -> dict[str, str]:
    if len(encoded) > _MAX_ANSWER:
        raise FederatedLoginInvalid
    try:
        pairs = parse_qsl(encoded.decode(), keep_blank_values=True, max_num_fields=_MAX_PARAMETERS, errors="strict")
    except ValueError:
        raise FederatedLoginInvalid from None
    if len(dict(pairs)) != len(pairs):
        raise FederatedLoginInvalid
    return dict(pairs)


def _leave(url: str, cookies: list[Cookie]) -> Redirect:
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return Redirect(url, status_code=303, headers=headers, cookies=cookies)


ROUTES = (start_federated_login, finish_federated_login, finish_federated_login_by_form)
