"""Example Corp, the OpenID provider of another company for development: its documents, pages and endpoints."""

from typing import Any
from urllib.parse import urlencode, urlsplit

import structlog
from litestar import MediaType, Request, Response, Router, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.response import Redirect
from litestar.types import ControllerRouterHandler

from idp.dev.local_host import is_local_request
from idp.dev.rendering import TEMPLATES
from idp.dev.upstream_issuer import PATH, PERSONAS, PROVIDER, UpstreamIssuer
from idp.dev.upstream_sign_in import (
    COOKIE,
    Refused,
    TokenRefused,
    UpstreamRequest,
    UpstreamSession,
    UpstreamSignIn,
    logout_target,
    read_request,
)
from idp.errors import NotFound
from idp.ops.json_body import parse_form
from idp.pages.forms import FORM
from idp.principal.guards import public
from idp.settings import Settings
from idp.signing.fetch import Fetcher, FetchFailed

log = structlog.get_logger("idp.dev")
AnyRequest = Request[Any, Any, Any]
# Without `form-action`, which Chromium applies to redirects too: it cannot be known where our callback leads.
_POLICY = "default-src 'none'; img-src 'self'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'"
_PRIVATE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
_NOTICE_SECONDS = 3.0


@get("/.well-known/openid-configuration", opt=public())
async def discovery(
    request: AnyRequest, upstream_issuer: NamedDependency[UpstreamIssuer], settings: NamedDependency[Settings]
) -> Response[Any]:
    """Return the discovery document."""
    _check_local(request, settings)
    return Response(upstream_issuer.discovery(), media_type=MediaType.JSON)


@get("/jwks.json", opt=public())
async def keys(
    request: AnyRequest, upstream_issuer: NamedDependency[UpstreamIssuer], settings: NamedDependency[Settings]
) -> Response[Any]:
    """Return the public keys."""
    _check_local(request, settings)
    return Response(upstream_issuer.jwks(), media_type=MediaType.JSON)


@get("/", opt=public())
async def front_page(
    request: AnyRequest, upstream_sign_in: NamedDependency[UpstreamSignIn], settings: NamedDependency[Settings]
) -> Response[str]:
    """Say who is signed in at Example Corp."""
    _check_local(request, settings)
    return _page("home", session=upstream_sign_in.session(request.cookies.get(COOKIE, "")))


@get("/authorize", opt=public())
async def authorize(
    request: AnyRequest, upstream_sign_in: NamedDependency[UpstreamSignIn], settings: NamedDependency[Settings]
) -> Response[Any]:
    """Answer with the browser's session, or ask who it is."""
    _check_local(request, settings)
    try:
        asked = read_request(dict(request.query_params))
    except Refused as error:
        return _page("refused", status=400, problem=str(error))
    if asked.problem is not None:
        return _leave(upstream_sign_in.refuse(asked, asked.problem))
    session = upstream_sign_in.session(request.cookies.get(COOKIE, ""))
    if session is not None and asked.accepts(session):
        return _leave(upstream_sign_in.answer(asked, session))
    if "none" in asked.prompt:
        return _leave(upstream_sign_in.refuse(asked, "login_required"))
    return _ask(request, asked)


@post("/authorize", opt=public() | FORM, status_code=200)
async def sign_in_there(
    request: AnyRequest, upstream_sign_in: NamedDependency[UpstreamSignIn], settings: NamedDependency[Settings]
) -> Response[Any]:
    """Sign in as the chosen person, without a password, and answer; or answer that the user refuses."""
    _check_local(request, settings)
    try:
        asked = read_request(dict(request.query_params))
    except Refused as error:
        return _page("refused", status=400, problem=str(error))
    form = dict(parse_form(await request.body()))
    if "deny" in form:
        return _leave(upstream_sign_in.refuse(asked, "access_denied"))
    person = form.get("person", "").strip()[:100]
    if not person:
        return _ask(request, asked)
    session, cookie = upstream_sign_in.start(person)
    return _leave(upstream_sign_in.answer(asked, session), _cookie(cookie))


@post("/token", opt=public() | FORM, status_code=200)
async def token(
    request: AnyRequest, upstream_sign_in: NamedDependency[UpstreamSignIn], settings: NamedDependency[Settings]
) -> Response[Any]:
    """Exchange a code for tokens."""
    _check_local(request, settings)
    try:
        form = dict(parse_form(await request.body()))
        issued = upstream_sign_in.exchange(form, request.headers.get("authorization", ""))
    except TokenRefused as error:
        status = 401 if str(error) == "invalid_client" else 400
        return Response({"error": str(error)}, status_code=status, media_type=MediaType.JSON, headers=_PRIVATE)
    return Response(issued, media_type=MediaType.JSON, headers=_PRIVATE)


@get("/userinfo", opt=public())
async def userinfo(
    request: AnyRequest, upstream_sign_in: NamedDependency[UpstreamSignIn], settings: NamedDependency[Settings]
) -> Response[Any]:
    """Return the claims of an access token's person."""
    _check_local(request, settings)
    scheme, _, presented = request.headers.get("authorization", "").partition(" ")
    claims = upstream_sign_in.userinfo(presented) if scheme.lower() == "bearer" else None
    if claims is None:
        refused = {**_PRIVATE, "WWW-Authenticate": 'Bearer error="invalid_token"'}
        return Response({"error": "invalid_token"}, status_code=401, media_type=MediaType.JSON, headers=refused)
    return Response(claims, media_type=MediaType.JSON, headers=_PRIVATE)


@get("/logout", opt=public())
async def sign_out_there(
    request: AnyRequest, upstream_sign_in: NamedDependency[UpstreamSignIn], settings: NamedDependency[Settings]
) -> Response[Any]:
    """End the browser's session there, tell it to us, and return to the page that the request names."""
    _check_local(request, settings)
    parameters = dict(request.query_params)
    session = upstream_sign_in.session(request.cookies.get(COOKIE, ""))
    ended = {upstream_sign_in.ended_by(parameters.get("id_token_hint", ""))}
    if session is not None:
        ended.add((session.sid, session.person.subject))
    for each in ended - {None}:
        await _notify(upstream_sign_in, *each)  # type: ignore[misc]
    target = logout_target(parameters)
    gone = _cookie("", max_age=0)
    return _leave(target, gone) if target is not None else _page("signed_out", cookie=gone)


async def _notify(sign_in: UpstreamSignIn, sid: str, subject: str) -> None:
    """Send us a logout token, as a real provider does."""
    issuer = urlsplit(sign_in.issuer.issuer)
    url = f"{issuer.scheme}://{issuer.netloc}/federation/{PROVIDER}/backchannel-logout"
    body = urlencode({"logout_token": sign_in.logout_token(sid, subject)}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    try:
        await Fetcher(allow_loopback=True).post(url, body, headers, seconds=_NOTICE_SECONDS)
    except FetchFailed as error:
        log.warning("Example Corp cannot send its logout token", reason=str(error))


def _ask(request: AnyRequest, asked: UpstreamRequest) -> Response[str]:
    first = asked.hinted
    people = sorted(PERSONAS, key=lambda each: each != first)
    other = asked.login_hint if first is None else ""
    return _page("sign_in", people=people, other=other, action=f"{PATH}/authorize?{request.url.query}")


def _page(
    state: str,
    *,
    status: int = 200,
    session: UpstreamSession | None = None,
    cookie: Cookie | None = None,
    **values: Any,
) -> Response[str]:
    return Response(
        TEMPLATES.get_template("upstream.html").render(
            prefix="", root="/docs", path=PATH, state=state, session=session, **values
        ),
        status_code=status,
        media_type=MediaType.HTML,
        headers={"Content-Security-Policy": _POLICY, **_PRIVATE},
        cookies=[cookie] if cookie else [],
    )


def _leave(url: str, cookie: Cookie | None = None) -> Redirect:
    return Redirect(url, status_code=303, headers=_PRIVATE, cookies=[cookie] if cookie else [])


def _cookie(value: str, *, max_age: int | None = None) -> Cookie:
    return Cookie(key=COOKIE, value=value, path=PATH, httponly=True, samesite="lax", max_age=max_age)


def _check_local(request: AnyRequest, settings: Settings) -> None:
    """Refuse requests to other host names (DNS rebinding, docs/decisions/0010).

    Raises:
        NotFound: the host is not local.
    """
    if not is_local_request(request.headers, in_container=settings.dev.in_container):
        raise NotFound("Example Corp is available only at localhost.")


_HANDLERS = [discovery, keys, front_page, authorize, sign_in_there, token, userinfo, sign_out_there]
ROUTES: tuple[ControllerRouterHandler, ...] = (Router(path=PATH, route_handlers=_HANDLERS, include_in_schema=False),)
