"""The form and response of the token endpoint (RFC 6749), and the server's metadata (RFC 8414)."""

from typing import Annotated

from msgspec import Meta, Struct


class TokenRequest(Struct, frozen=True):
    """The form of RFC 6749 section 4.4.2, with the client's secret unless it is in `Authorization: Basic`."""

    grant_type: Annotated[str, Meta(max_length=200, examples=["client_credentials"])] = ""
    scope: Annotated[str, Meta(max_length=4000)] | None = None
    client_id: Annotated[str, Meta(max_length=200)] | None = None
    client_secret: Annotated[str, Meta(max_length=1000)] | None = None
    client_assertion: Annotated[str, Meta(max_length=8192)] | None = None
    client_assertion_type: Annotated[str, Meta(max_length=200)] | None = None

    def __repr__(self) -> str:
        return f"TokenRequest(grant_type={self.grant_type!r})"


class TokenResponse(Struct, frozen=True):
    """An access token (RFC 6749 section 5.1)."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str

    def __repr__(self) -> str:
        return "TokenResponse(token hidden)"


class ServerMetadata(Struct, frozen=True):
    """Authorization server metadata (RFC 8414 section 2): what is built, and nothing else."""

    issuer: str
    token_endpoint: str
    jwks_uri: str
    introspection_endpoint: str
    grant_types_supported: tuple[str, ...]
    response_types_supported: tuple[str, ...]
    token_endpoint_auth_methods_supported: tuple[str, ...]
    introspection_endpoint_auth_methods_supported: tuple[str, ...]
    service_documentation: str
