"""POST /oauth2/token (RFC 6749 section 4.4) and the metadata of the authorization server (RFC 8414)."""

from typing import Annotated

from litestar import MediaType, get, post
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, URLEncodedBody
from litestar.response import Response

from idp import errors
from idp.ops.json_body import check_form
from idp.ops.openapi import documents, responses
from idp.principal.guards import decides_only, public
from idp.principal.requests import AnyRequest
from idp.provider.shapes import ServerMetadata, TokenRequest, TokenResponse
from idp.provider.token_endpoint import GRANT, PATH, TokenEndpoint
from idp.signing.jwt import TokenService
from idp.signing.routes import JWKS_PATH

_TAGS = ["OAuth"]
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_PUBLIC = {"Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"}


@post(
    PATH,
    before_request=check_form,
    opt=public() | decides_only(),  # the client authenticates in the request
    tags=_TAGS,
    summary="Get an access token for a client (RFC 6749)",
    status_code=200,
    responses=documents(TokenResponse)
    | responses(
        errors.InvalidClient,
        errors.UnauthorizedClient,
        errors.UnsupportedGrantType,
        errors.InvalidScope,
        errors.OAuthInvalidRequest,
        errors.RateLimited,
        errors.DatabaseUnavailable,
    ),
)
async def create_client_token(
    request: AnyRequest,
    token_endpoint: NamedDependency[TokenEndpoint],
    data: URLEncodedBody[TokenRequest],
    authorization: Annotated[
        str | None, HeaderParameter(name="Authorization", description="Basic, with the client's id and secret.")
    ] = None,
) -> Response[bytes]:
    """Issue an access token that represents the client itself; it has no user and no refresh token (SEC-51)."""
    address = request.client.host if request.client else None
    body = await token_endpoint.issue(authorization, data, address=address)
    return Response(body, media_type=MediaType.JSON, headers=_NO_STORE)


@get(
    "/.well-known/oauth-authorization-server",
    opt=public(),
    tags=_TAGS,
    summary="Metadata of the authorization server (RFC 8414)",
    sync_to_thread=False,
)
def get_server_metadata(tokens: NamedDependency[TokenService]) -> Response[ServerMetadata]:
    """Return where the endpoints are and what they support."""
    issuer = tokens.issuer
    return Response(
        ServerMetadata(
            issuer=issuer,
            token_endpoint=f"{issuer}{PATH}",
            jwks_uri=f"{issuer}{JWKS_PATH}",
            introspection_endpoint=f"{issuer}/oauth2/introspect",
            grant_types_supported=(GRANT,),
            response_types_supported=(),
            token_endpoint_auth_methods_supported=("client_secret_basic", "client_secret_post"),
            introspection_endpoint_auth_methods_supported=("bearer",),
            service_documentation=f"{issuer}/docs",
        ),
        headers=_PUBLIC,
    )


ROUTES = (create_client_token, get_server_metadata)
