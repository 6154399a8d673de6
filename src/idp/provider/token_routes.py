"""POST /oauth2/token (RFC 6749 section 4.4) and the metadata of the authorization server (RFC 8414)."""

from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, URLEncodedBody
from litestar.response import Response

from idp import errors
from idp.apikeys.secret import is_intact
from idp.ops import metrics
from idp.ops.bad_credential_limit import BadCredentialLimit
from idp.ops.json_body import check_form
from idp.ops.openapi import responses
from idp.principal.guards import decided_by_handler, decides_only, public
from idp.principal.requests import AnyRequest
from idp.provider.client_auth import presented
from idp.provider.clients import SECRET_PREFIX, Clients
from idp.provider.shapes import ServerMetadata, TokenRequest, TokenResponse
from idp.signing.jwt import TokenService
from idp.signing.routes import JWKS_PATH

_TAGS = ["OAuth"]
_TOKEN = "/oauth2/token"  # noqa: S105  a path
_GRANT = "client_credentials"
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_BASIC = {"WWW-Authenticate": "Basic"}
_PUBLIC = {"Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"}


@post(
    _TOKEN,
    before_request=check_form,
    opt=decided_by_handler("client") | decides_only(),
    tags=_TAGS,
    summary="Get an access token for a client (RFC 6749)",
    status_code=200,
    responses=responses(
        errors.InvalidClient,
        errors.UnsupportedGrantType,
        errors.InvalidScope,
        errors.OAuthInvalidRequest,
        errors.RateLimited,
        errors.DatabaseUnavailable,
    ),
)
async def token(
    request: AnyRequest,
    clients: NamedDependency[Clients],
    tokens: NamedDependency[TokenService],
    bad_credentials: NamedDependency[BadCredentialLimit],
    data: URLEncodedBody[TokenRequest],
    authorization: Annotated[
        str | None, HeaderParameter(name="Authorization", description="Basic, with the client's id and secret.")
    ] = None,
) -> Response[TokenResponse]:
    """Issue an access token that represents the client itself; it has no user and no refresh token (SEC-51)."""
    if data.grant_type != _GRANT:
        raise errors.UnsupportedGrantType if data.grant_type else errors.OAuthInvalidRequest("grant_type is missing.")
    address = request.client.host if request.client else None
    try:
        client_id, secret = presented(authorization, data)
        bad_credentials.check(address, plausible=lambda: is_intact(secret, SECRET_PREFIX))
        allowed = await clients.authenticate(client_id, secret)
    except errors.InvalidClient as error:
        bad_credentials.count(address)
        metrics.count_attempt(method="client", outcome=error.code)
        raise errors.InvalidClient(error.detail, headers=_BASIC) from None
    scopes = _granted(data.scope, allowed)
    metrics.count_attempt(method="client", outcome="authenticated")
    issued = await tokens.issue_for_client(client_id, scopes)
    body = TokenResponse(issued.token, "Bearer", issued.expires_in, " ".join(scopes))
    return Response(body, headers=_NO_STORE)


def _granted(requested: str | None, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """Return the requested scopes, all of the client's by default.

    Raises:
        InvalidScope: names those that the client does not have.
    """
    if requested is None:
        return allowed
    scopes = tuple(dict.fromkeys(requested.split()))
    if missing := [scope for scope in scopes if scope not in allowed]:
        raise errors.InvalidScope(f"The client does not have {', '.join(repr(each[:100]) for each in missing[:10])}.")
    return scopes


@get(
    "/.well-known/oauth-authorization-server",
    opt=public(),
    tags=_TAGS,
    summary="Metadata of the authorization server (RFC 8414)",
    sync_to_thread=False,
)
def metadata(tokens: NamedDependency[TokenService]) -> Response[ServerMetadata]:
    """Return where the endpoints are and what they support."""
    issuer = tokens.issuer
    return Response(
        ServerMetadata(
            issuer=issuer,
            token_endpoint=f"{issuer}{_TOKEN}",
            jwks_uri=f"{issuer}{JWKS_PATH}",
            introspection_endpoint=f"{issuer}/oauth2/introspect",
            grant_types_supported=(_GRANT,),
            response_types_supported=(),
            token_endpoint_auth_methods_supported=("client_secret_basic", "client_secret_post"),
            introspection_endpoint_auth_methods_supported=("bearer",),
            service_documentation=f"{issuer}/docs",
        ),
        headers=_PUBLIC,
    )


ROUTES = (token, metadata)
