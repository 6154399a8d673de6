"""GET /auth/forward: a proxy asks it about each request to an app (nginx `auth_request`, Traefik ForwardAuth).

The answer is in the status: 200, 401 or 403, because nginx turns any other status into 500. Only when the credential
cannot be checked is it 503.
"""

from collections.abc import Sequence
from urllib.parse import quote

from litestar import MediaType, Response, get
from litestar.di import NamedDependency

from idp import errors
from idp.authn.credential import Presented, from_headers
from idp.authn.forward_headers import describe_principal
from idp.authn.introspection import Introspector
from idp.authn.routes import client_of
from idp.errors import Forbidden, IdpError
from idp.ops.openapi import responses
from idp.principal.guards import decided_by_handler
from idp.principal.model import AuthMethod, Principal
from idp.principal.requests import AnyRequest
from idp.settings import Settings
from idp.signing.jwt import TokenService

_REQUIREMENTS = ("role", "team", "domain", "scope", "resource")
# Kinds of tokens that are issued for a resource; other credentials are for every service.
_FOR_RESOURCES = frozenset({AuthMethod.OAUTH_TOKEN, AuthMethod.CLIENT})
_MAX_URI = 2000  # of the page to return to after signing in
_NO_STORE = {"Cache-Control": "no-store"}


@get(
    "/auth/forward",
    opt=decided_by_handler("the credential of the forwarded request"),
    tags=["Authentication"],
    summary="Decide about a request for a proxy",
    media_type=MediaType.TEXT,
    responses=responses(errors.Unauthenticated, errors.Forbidden, errors.DatabaseUnavailable),
)
async def forward_auth(
    request: AnyRequest,
    introspector: NamedDependency[Introspector],
    settings: NamedDependency[Settings],
    tokens: NamedDependency[TokenService],
) -> Response[str]:
    """Return 200 and the caller in `X-Auth-…` headers; 401 without a valid credential; 403 if a requirement is unmet.

    Every parameter is a requirement, and all must be met: `role`, `team` (name or id), `domain` (key), `scope`,
    `resource`; any other parameter is refused. A 401 has `X-Auth-Login`, where a browser signs in, and returns to
    `X-Original-URI` (or `X-Forwarded-Uri`) afterwards.
    """
    try:
        presented = from_headers(request.scope["headers"])
        principal = await _caller(request, introspector, presented)
        _check_use(principal, presented, required := list(request.query_params.multi_items()))
        for name, value in required:
            _check_one(principal, name, value)
    except IdpError as error:
        if error.status >= 500:
            raise
        raise _refusal(request, error, tokens.issuer) from None
    request.scope["user"] = principal
    headers = describe_principal(principal, max_items=settings.tokens.max_roles)
    return Response("", headers=_NO_STORE | headers, media_type=MediaType.TEXT)


async def _caller(request: AnyRequest, introspector: Introspector, presented: Presented) -> Principal:
    verdict = await introspector.introspect(presented, client=client_of(request))
    if verdict.principal is None:
        raise verdict.error or errors.Unauthenticated()
    return verdict.principal


def _check_use(principal: Principal, presented: Presented, required: Sequence[tuple[str, str]]) -> None:
    """Refuse a credential that is not for this app.

    A token that a user granted to an app acts for the user only where a scope or resource says so: otherwise any app
    could use it here (RFC 9700 section 2.3).

    Raises:
        CredentialNotAccepted: the kind of credential is not for apps behind a proxy.
        TokenInvalid: the token is for other resources (SEC-24).
    """
    credential, resources = principal.credential, {value for name, value in required if name == "resource"}
    if credential.method == AuthMethod.ADMIN_TOKEN:
        raise errors.CredentialNotAccepted
    if credential.method == AuthMethod.OAUTH_TOKEN and not any(name in {"scope", "resource"} for name, _ in required):
        raise errors.CredentialNotAccepted("A token of an app is accepted only where a scope or resource is required.")
    if credential.method in _FOR_RESOURCES and not _audience(presented) >= resources:
        raise errors.TokenInvalid("This token is not for the required resource.")
    if credential.audience and not resources:
        raise errors.TokenInvalid(f"This token is for {', '.join(credential.audience)}.")


def _audience(presented: Presented) -> set[str]:
    """Return the audience of a token that is verified already."""
    audience = presented.jwt.claims.get("aud") if presented.jwt else None
    return {each for each in (audience if isinstance(audience, list) else [audience]) if isinstance(each, str)}


def _check_one(principal: Principal, name: str, value: str) -> None:
    user = principal.user
    if name == "scope" and value not in principal.credential.scopes:
        raise errors.InsufficientScope(f"Missing scope: {value}")
    held: dict[str, set[str]] = {
        "role": set(user.roles) if user else set(),
        "team": {text for team in user.teams for text in (team.name, str(team.id))} if user else set(),
        "domain": {domain.key for domain in user.domains} if user else set(),
    }
    if name not in _REQUIREMENTS or (name in held and value not in held[name]):
        raise Forbidden(f"Required: {name} {value}")


def _refusal(request: AnyRequest, error: IdpError, issuer: str) -> IdpError:
    """Return the error with the headers for proxies; 401 in place of any status but 403."""
    kind = type(error) if error.status in {401, 403} else errors.Unauthenticated
    headers = {**kind.default_headers, **_NO_STORE, "X-Auth-Error": error.code}
    if kind.status == 401:
        headers["X-Auth-Login"] = _login(request, issuer)
    return kind(error.detail, headers=headers, remedy=error.remedy, **error.extra)


def _login(request: AnyRequest, issuer: str) -> str:
    """Return where a browser signs in; the page itself accepts only paths of our own host to return to (SEC-42)."""
    wanted = request.headers.get("x-original-uri") or request.headers.get("x-forwarded-uri") or ""
    if not wanted.startswith("/") or len(wanted) > _MAX_URI:
        return f"{issuer}/login"
    return f"{issuer}/login?return_to={quote(wanted, safe='/')}"


ROUTES = (forward_auth,)
