"""POST /oauth2/introspect (RFC 7662) and /oauth2/revoke (RFC 7009)."""

from typing import Annotated

from litestar import MediaType, post
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, URLEncodedBody
from litestar.response import Response

from idp import errors
from idp.audit.record import origin_of
from idp.authn.credential import from_headers
from idp.authn.introspection import Introspector
from idp.authn.shapes import IntrospectOut
from idp.ops.json_body import check_form, parse_form
from idp.ops.openapi import documents, responses
from idp.principal.guards import (
    accepts,
    check_accepted,
    check_introspects,
    decided_by_handler,
    decides_only,
    from_any_origin,
    public,
)
from idp.principal.model import AuthMethod
from idp.principal.requests import AnyRequest
from idp.provider.introspection_endpoint import PATH as INTROSPECT
from idp.provider.introspection_endpoint import IntrospectionEndpoint
from idp.provider.revocation import PATH as REVOKE
from idp.provider.revocation import Revocation
from idp.provider.shapes import TokenForm

_TAGS = ["OAuth"]
_CLIENT_FIELDS = frozenset({"client_id", "client_secret", "client_assertion"})
_NO_STORE = {"Cache-Control": "no-store"}
_ERRORS = (errors.InvalidClient, errors.OAuthInvalidRequest, errors.RateLimited, errors.DatabaseUnavailable)
Authorization = Annotated[
    str | None,
    HeaderParameter(name="Authorization", description="Basic with the client's id and secret, or a Bearer token."),
]


async def check_asker(request: AnyRequest) -> None:
    """Authenticate a service token, before the form is checked (a `before_request` hook); clients authenticate later.

    Raises:
        Unauthenticated: there is no credential, neither of a service nor of a client.
        IntrospectScopeRequired, CredentialNotAccepted: it may not introspect.
        OAuthInvalidRequest: the form is malformed.
    """
    if not _has_basic(request):
        presented = from_headers(request.scope["headers"])
        if presented.token is not None or not await _names_client(request):
            introspector: Introspector = request.app.state.introspector
            verdict = await introspector.introspect(presented, client=_address(request), confirm=True)
            if verdict.principal is None:
                assert verdict.error is not None
                raise verdict.error
            request.scope["user"] = verdict.principal
            check_accepted(verdict.principal, request.route_handler)
            check_introspects(verdict.principal)
    await check_form(request)


def _has_basic(request: AnyRequest) -> bool:
    return request.headers.get("authorization", "")[:6].lower() == "basic "


async def _names_client(request: AnyRequest) -> bool:
    """Whether the form has a client's credential; a malformed one has none."""
    try:
        return not _CLIENT_FIELDS.isdisjoint(dict(parse_form(await request.body())))
    except errors.OAuthInvalidRequest:
        return False


def _address(request: AnyRequest) -> str | None:
    return request.client.host if request.client else None


@post(
    INTROSPECT,
    before_request=check_asker,
    opt=decided_by_handler("scope idp:introspect, or a client")
    | accepts(AuthMethod.SERVICE_TOKEN)
    | decides_only()
    | from_any_origin(),
    tags=_TAGS,
    summary="Token introspection (RFC 7662)",
    status_code=200,
    responses=documents(IntrospectOut) | responses(errors.Unauthenticated, errors.IntrospectScopeRequired, *_ERRORS),
)
async def introspect(
    request: AnyRequest,
    introspection: NamedDependency[IntrospectionEndpoint],
    data: URLEncodedBody[TokenForm],
    authorization: Authorization = None,
) -> Response[bytes]:
    """Introspect a credential for a resource server.

    A service token with the scope `idp:introspect` sees every credential. A confidential client, authenticated as at
    the token endpoint, sees the access tokens issued to it, and those whose `aud` has a resource that it `serves`. An
    inactive credential is exactly `{"active": false}`, without a reason; `token_type_hint` is ignored.
    """
    if "user" not in request.scope:  # `check_asker` found no service token
        body = await introspection.for_client(authorization, data, address=_address(request))
    elif data.names_client:
        raise errors.OAuthInvalidRequest("Authenticate once: with a Bearer token, or as a client.")
    else:
        body = await introspection.for_service(data.token, address=_address(request))
    return Response(body, media_type=MediaType.JSON, headers=_NO_STORE)


@post(
    REVOKE,
    before_request=check_form,
    opt=public() | from_any_origin(),  # the client authenticates in the request, from any origin
    tags=_TAGS,
    summary="Revoke a token (RFC 7009)",
    status_code=200,
    media_type=MediaType.TEXT,
    responses=responses(*_ERRORS),
)
async def revoke_oauth_token(
    request: AnyRequest,
    revocation: NamedDependency[Revocation],
    data: URLEncodedBody[TokenForm],
    authorization: Authorization = None,
) -> Response[str]:
    """Revoke a refresh or access token of the client that asks.

    A user's token ends the client's session of the user with all its tokens; a token of the client itself ends alone.
    An unknown token, and one of another client, changes nothing and is answered the same.
    """
    await revocation.revoke(authorization, data, origin_of(request))
    return Response("", headers=_NO_STORE, media_type=MediaType.TEXT)


ROUTES = (introspect, revoke_oauth_token)
