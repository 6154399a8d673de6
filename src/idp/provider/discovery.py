"""Metadata of the OpenID provider and authorization server (OpenID Connect Discovery 1.0, RFC 8414): what is built."""

import msgspec
from litestar import MediaType, get
from litestar.di import NamedDependency
from litestar.response import Response
from litestar.types import HTTPScope
from msgspec import Struct

from idp.ops.fast_route import JSON, FastRoute, UseFramework
from idp.ops.openapi import documents
from idp.principal.guards import public
from idp.principal.model import SINGLE_FACTOR, TWO_FACTORS
from idp.principal.permissions import USER_SCOPES
from idp.provider import claims, userinfo
from idp.provider.authorization_request import PROMPTS, RESPONSE_MODES
from idp.provider.client_auth import ASSERTION, AUTH_METHODS, SECRET_METHODS
from idp.provider.grants import GRANT_TYPES
from idp.provider.introspection_endpoint import PATH as INTROSPECT
from idp.provider.revocation import PATH as REVOKE
from idp.provider.token_endpoint import PATH as TOKEN
from idp.signing import pkce
from idp.signing.client_assertion import ALGORITHMS as ASSERTION_ALGORITHMS
from idp.signing.routes import JWKS_PATH
from idp.signing.signing_key import ALGORITHMS

OPENID_CONFIGURATION, SERVER_METADATA = "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"
AUTHORIZE, LOGOUT = "/oauth2/authorize", "/oauth2/logout"
_PROTOCOL_CLAIMS = ("sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "at_hash")
_TAGS = ["OAuth"]
_PUBLIC = {"Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"}


class ProviderMetadata(Struct, frozen=True):
    """The members of both specifications that apply."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str
    jwks_uri: str
    introspection_endpoint: str
    revocation_endpoint: str
    end_session_endpoint: str
    scopes_supported: tuple[str, ...]
    claims_supported: tuple[str, ...]
    response_types_supported: tuple[str, ...]
    response_modes_supported: tuple[str, ...]
    grant_types_supported: tuple[str, ...]
    acr_values_supported: tuple[str, ...]
    subject_types_supported: tuple[str, ...]
    id_token_signing_alg_values_supported: tuple[str, ...]
    token_endpoint_auth_methods_supported: tuple[str, ...]
    token_endpoint_auth_signing_alg_values_supported: tuple[str, ...]
    introspection_endpoint_auth_methods_supported: tuple[str, ...]
    introspection_endpoint_auth_signing_alg_values_supported: tuple[str, ...]
    revocation_endpoint_auth_methods_supported: tuple[str, ...]
    revocation_endpoint_auth_signing_alg_values_supported: tuple[str, ...]
    code_challenge_methods_supported: tuple[str, ...]
    prompt_values_supported: tuple[str, ...]
    ui_locales_supported: tuple[str, ...]
    claims_parameter_supported: bool
    request_parameter_supported: bool
    request_uri_parameter_supported: bool
    authorization_response_iss_parameter_supported: bool
    backchannel_logout_supported: bool
    backchannel_logout_session_supported: bool
    service_documentation: str


def metadata(issuer: str, ui_locales: tuple[str, ...]) -> ProviderMetadata:
    """Return the metadata.

    Args:
        issuer: our issuer identifier.
        ui_locales: languages of the pages.
    """
    return ProviderMetadata(
        issuer=issuer,
        authorization_endpoint=f"{issuer}{AUTHORIZE}",
        token_endpoint=f"{issuer}{TOKEN}",
        userinfo_endpoint=f"{issuer}{userinfo.PATH}",
        jwks_uri=f"{issuer}{JWKS_PATH}",
        introspection_endpoint=f"{issuer}{INTROSPECT}",
        revocation_endpoint=f"{issuer}{REVOKE}",
        end_session_endpoint=f"{issuer}{LOGOUT}",
        scopes_supported=USER_SCOPES,
        claims_supported=(*_PROTOCOL_CLAIMS, *claims.SUPPORTED),
        response_types_supported=("code",),
        response_modes_supported=RESPONSE_MODES,
        grant_types_supported=GRANT_TYPES,
        acr_values_supported=(SINGLE_FACTOR, TWO_FACTORS),
        subject_types_supported=("public",),
        id_token_signing_alg_values_supported=ALGORITHMS,
        token_endpoint_auth_methods_supported=AUTH_METHODS,
        token_endpoint_auth_signing_alg_values_supported=ASSERTION_ALGORITHMS,
        introspection_endpoint_auth_methods_supported=(*SECRET_METHODS, ASSERTION, "bearer"),
        introspection_endpoint_auth_signing_alg_values_supported=ASSERTION_ALGORITHMS,
        revocation_endpoint_auth_methods_supported=AUTH_METHODS,
        revocation_endpoint_auth_signing_alg_values_supported=ASSERTION_ALGORITHMS,
        code_challenge_methods_supported=(pkce.METHOD,),
        prompt_values_supported=PROMPTS,
        ui_locales_supported=ui_locales,
        claims_parameter_supported=True,
        request_parameter_supported=False,
        request_uri_parameter_supported=False,
        authorization_response_iss_parameter_supported=True,
        backchannel_logout_supported=True,
        backchannel_logout_session_supported=True,
        service_documentation=f"{issuer}/docs",
    )


class Discovery:
    """The metadata document, encoded once.

    Args:
        issuer: our issuer identifier.
        ui_locales: languages of the pages.
    """

    def __init__(self, issuer: str, ui_locales: tuple[str, ...]) -> None:
        self.document = msgspec.json.encode(metadata(issuer, ui_locales))

    @property
    def routes(self) -> dict[tuple[str, str], FastRoute]:
        """The fast routes of both addresses."""
        headers = (JSON, *((name.lower().encode(), value.encode()) for name, value in _PUBLIC.items()))
        return {("GET", path): FastRoute(self._answer, headers) for path in (OPENID_CONFIGURATION, SERVER_METADATA)}

    def _answer(self, scope: HTTPScope, _body: bytes) -> bytes:
        if any(name == b"origin" for name, _ in scope["headers"]):
            raise UseFramework
        return self.document


@get(
    OPENID_CONFIGURATION,
    opt=public(),
    tags=_TAGS,
    summary="Metadata of the OpenID provider (OpenID Connect Discovery)",
    responses=documents(ProviderMetadata),
    sync_to_thread=False,
)
def get_openid_configuration(discovery: NamedDependency[Discovery]) -> Response[bytes]:
    """Return where the endpoints are and what they support."""
    return Response(discovery.document, media_type=MediaType.JSON, headers=_PUBLIC)


@get(
    SERVER_METADATA,
    opt=public(),
    tags=_TAGS,
    summary="Metadata of the authorization server (RFC 8414)",
    responses=documents(ProviderMetadata),
    sync_to_thread=False,
)
def get_server_metadata(discovery: NamedDependency[Discovery]) -> Response[bytes]:
    """Return the same as /.well-known/openid-configuration."""
    return Response(discovery.document, media_type=MediaType.JSON, headers=_PUBLIC)


ROUTES = (get_openid_configuration, get_server_metadata)
# What pages of every origin may call (SEC-78); single-page apps do.
OPEN_PATHS = frozenset({OPENID_CONFIGURATION, SERVER_METADATA, JWKS_PATH, TOKEN, userinfo.PATH, REVOKE})
