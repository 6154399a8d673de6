"""POST /federation/{provider}/backchannel-logout (OpenID Connect Back-Channel Logout 1.0)."""

from typing import Annotated

from litestar import MediaType, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath, URLEncodedBody
from msgspec import Meta, Struct

from idp import errors
from idp.audit.record import origin_of
from idp.federation.backchannel_logout import BackchannelLogout
from idp.federation.sign_in import FederatedSignIn
from idp.ops.json_body import check_form
from idp.ops.openapi import responses
from idp.ops.security_headers import NO_STORE
from idp.principal.guards import from_any_origin, public
from idp.principal.requests import AnyRequest


class LogoutTokenForm(Struct, frozen=True):
    """The provider's logout token."""

    logout_token: Annotated[str, Meta(max_length=8192, examples=["eyJhbGciOiJSUzI1NiJ9.eyJzaWQiOiIxIn0.c2lnbmF0dXJl"])]

    def __repr__(self) -> str:
        return "LogoutTokenForm(hidden)"


@post(
    "/federation/{provider:str}/backchannel-logout",
    before_request=check_form,
    opt=public() | from_any_origin(),  # the token is signed by the provider
    tags=["Federation"],
    summary="Back-channel logout of a provider",
    status_code=200,
    media_type=MediaType.TEXT,
    cache_control=NO_STORE,
    responses=responses(errors.OAuthInvalidRequest, errors.ProviderNotFound, errors.DependencyUnavailable),
)
async def end_by_logout_token(
    request: AnyRequest,
    provider: FromPath[str],
    federated_sign_in: NamedDependency[FederatedSignIn],
    backchannel_logout: NamedDependency[BackchannelLogout],
    data: URLEncodedBody[LogoutTokenForm],
) -> Response[str]:
    """End the sessions that began with the session at the provider, with their apps.

    A token that is sent again, and one of a session that is not known, changes nothing and is answered the same.
    """
    await backchannel_logout.end(federated_sign_in.providers.get(provider), data.logout_token, origin_of(request))
    return Response("", media_type=MediaType.TEXT)


ROUTES = (end_by_logout_token,)
