"""POST /oauth2/token (RFC 6749 section 3.2)."""

from typing import Annotated

from litestar import MediaType, post
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, URLEncodedBody
from litestar.response import Response

from idp import errors
from idp.audit.record import origin_of
from idp.ops.json_body import check_form
from idp.ops.openapi import documents, responses
from idp.principal.guards import from_any_origin, public
from idp.principal.requests import AnyRequest
from idp.provider.shapes import TokenRequest, TokenResponse
from idp.provider.token_endpoint import PATH, TokenEndpoint

_TAGS = ["OAuth"]
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


@post(
    PATH,
    before_request=check_form,
    opt=public() | from_any_origin(),  # the client authenticates in the request, from any origin
    tags=_TAGS,
    summary="Get tokens (RFC 6749)",
    status_code=200,
    responses=documents(TokenResponse)
    | responses(
        errors.InvalidClient,
        errors.UnauthorizedClient,
        errors.UnsupportedGrantType,
        errors.InvalidGrant,
        errors.InvalidScope,
        errors.InvalidTarget,
        errors.OAuthInvalidRequest,
        errors.RateLimited,
        errors.DatabaseUnavailable,
    ),
)
async def exchange_token(
    request: AnyRequest,
    token_endpoint: NamedDependency[TokenEndpoint],
    data: URLEncodedBody[TokenRequest],
    authorization: Annotated[
        str | None, HeaderParameter(name="Authorization", description="Basic, with the client's id and secret.")
    ] = None,
) -> Response[bytes]:
    """Exchange an authorization code or a refresh token, or issue a token that represents the client itself."""
    address = request.client.host if request.client else None
    body = await token_endpoint.answer(authorization, data, lambda: origin_of(request), address=address)
    return Response(body, media_type=MediaType.JSON, headers=_NO_STORE)


ROUTES = (exchange_token,)
