"""GET and POST /oauth2/userinfo (OpenID Connect Core section 5.3; SEC-60)."""

from typing import Any
from uuid import UUID

from litestar import MediaType, get, post
from litestar.di import NamedDependency
from litestar.response import Response

from idp import errors
from idp.authn.credential import from_headers, from_token
from idp.authn.introspection import Introspector
from idp.authn.resolve import Resolver
from idp.db.engine import Database
from idp.ops.json_body import parse_form
from idp.ops.openapi import responses
from idp.principal.guards import check_audience, decided_by_handler, decides_only, from_any_origin
from idp.principal.model import AuthMethod, Principal
from idp.principal.permissions import OPENID
from idp.principal.requests import AnyRequest
from idp.provider.claims import claims_of, claims_within
from idp.provider.models import ClientRow
from idp.sessions.models import SessionRow

PATH = "/oauth2/userinfo"
_TAGS = ["OAuth"]
_ACCEPTED = frozenset({AuthMethod.LOCAL_JWT, AuthMethod.OAUTH_TOKEN})
_FORM = "application/x-www-form-urlencoded"
_POLICY: dict[str, Any] = decided_by_handler("access token with the scope openid") | decides_only()
_RESPONSES = responses(
    errors.Unauthenticated, errors.TokenInvalid, errors.InsufficientScope, errors.NotAUser, errors.DatabaseUnavailable
)


@get(PATH, opt=_POLICY, tags=_TAGS, summary="Claims about the user (OpenID Connect)", responses=_RESPONSES)
async def get_userinfo(
    request: AnyRequest,
    introspector: NamedDependency[Introspector],
    resolver: NamedDependency[Resolver],
    database: NamedDependency[Database],
) -> Response[dict[str, Any]]:
    """Return the claims that the scopes of the access token cover."""
    return await _answer(request, introspector, resolver, database, token=None)


@post(
    PATH,
    opt=_POLICY | from_any_origin(),
    tags=_TAGS,
    summary="Claims about the user (OpenID Connect)",
    status_code=200,
    responses=_RESPONSES,
)
async def request_userinfo(
    request: AnyRequest,
    introspector: NamedDependency[Introspector],
    resolver: NamedDependency[Resolver],
    database: NamedDependency[Database],
) -> Response[dict[str, Any]]:
    """Return the same; the access token may be the form field `access_token` (RFC 6750 section 2.2)."""
    return await _answer(request, introspector, resolver, database, token=await _token_in_form(request))


async def _token_in_form(request: AnyRequest) -> str | None:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        return None
    return dict(parse_form(await request.body())).get("access_token")


async def _answer(
    request: AnyRequest, introspector: Introspector, resolver: Resolver, database: Database, *, token: str | None
) -> Response[dict[str, Any]]:
    presented = from_headers(request.scope["headers"])
    if token is not None and presented.token is not None:
        raise errors.OAuthInvalidRequest("Send the access token once: in Authorization or in the form.")
    presented = presented if token is None else from_token(token)
    if presented.token is None:
        raise errors.Unauthenticated
    verdict = await introspector.introspect(presented, client=request.client.host if request.client else None)
    if verdict.principal is None:
        assert verdict.error is not None
        raise verdict.error
    claims = await _claims(verdict.principal, resolver, database)
    return Response(claims, media_type=MediaType.JSON, headers={"Cache-Control": "no-store"})


async def _claims(principal: Principal, resolver: Resolver, database: Database) -> dict[str, Any]:
    """Return the claims of a principal.

    Raises:
        NotAUser, CredentialNotAccepted: it is no access token of a user.
        TokenInvalid: it is for other resources only.
        InsufficientScope: it has not the scope `openid`.
    """
    credential = principal.credential
    if principal.user is None:
        raise errors.NotAUser
    if credential.method not in _ACCEPTED:
        raise errors.CredentialNotAccepted("Send an access token that a user granted.")
    check_audience(principal)
    if OPENID not in credential.scopes:
        raise errors.InsufficientScope
    extra: tuple[str, ...] = ()
    if credential.method == AuthMethod.OAUTH_TOKEN and credential.session_id is not None:
        async with database.transaction() as session:
            row = await session.get(SessionRow, UUID(credential.session_id))
            if row is not None and row.claims:
                client = await session.get(ClientRow, row.client_id)
                extra = claims_within(row.claims, client.scopes) if client is not None else ()
    user = await resolver.user(principal.user_id)
    claims = {"sub": user.id, **claims_of(user, credential.scopes, extra)}
    return claims | ({"act": {"sub": credential.impersonator}} if credential.is_for_support else {})


ROUTES = (get_userinfo, request_userinfo)
