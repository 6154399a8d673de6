"""Metadata of clients (RFC 7591, OpenID Connect Registration and Back-Channel Logout), and our own members."""

from collections.abc import Collection
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from idp.plain_text import LINE
from idp.provider.models import ClientRow

ClientName = Annotated[str, Meta(min_length=1, max_length=200, pattern=LINE, examples=["Nightly export"])]
_SCOPE = r"[\x21\x23-\x5b\x5d-\x7e]+"  # RFC 6749 section 3.3
ScopeText = Annotated[str, Meta(max_length=4000, pattern=rf"^({_SCOPE}( {_SCOPE})*)?(?!\n)$", examples=["read write"])]
ApplicationType = Literal["web", "native"]
GrantType = Literal["authorization_code", "refresh_token", "client_credentials"]
ResponseType = Literal["code"]
AuthMethod = Literal["none", "client_secret_basic", "client_secret_post", "private_key_jwt"]
IdTokenAlgorithm = Literal["RS256", "ES256"]
Uri = Annotated[str, Meta(min_length=1, max_length=2000, examples=["https://app.example.com/callback"])]
Uris = Annotated[tuple[Uri, ...], Meta(max_length=50)]
_PKCE = "Whether authorization needs PKCE; only a confidential client may go without."
_CONSENT = "Whether an administrator vouches for the client, so that users are not asked."
_RESOURCES = "Resources that it may request tokens for (RFC 8707)."
_SERVES = "Resources that it is: it may introspect access tokens whose `aud` has one of them."
_JWKS = "Its public keys (RFC 7517), for private_key_jwt."


class ClientMetadata(Struct, frozen=True):
    """A client to register. Unknown members are ignored (RFC 7591 section 2).

    Without `grant_types`, a client with redirect URIs has authorization_code, another one client_credentials; without
    `scope`, one that signs users in has openid, profile and email, and offline_access if it refreshes tokens.
    """

    client_name: ClientName
    scope: ScopeText | None = None
    application_type: ApplicationType = "web"
    grant_types: Annotated[tuple[GrantType, ...], Meta(max_length=3)] | None = None
    response_types: Annotated[tuple[ResponseType, ...], Meta(max_length=1)] | None = None
    redirect_uris: Uris = ()
    post_logout_redirect_uris: Uris = ()
    token_endpoint_auth_method: AuthMethod = "client_secret_basic"  # noqa: S105
    jwks: Annotated[dict[str, Any], Meta(description=_JWKS)] | None = None
    jwks_uri: Uri | None = None
    id_token_signed_response_alg: IdTokenAlgorithm = "RS256"  # noqa: S105  an algorithm
    client_uri: Uri | None = None
    policy_uri: Uri | None = None
    tos_uri: Uri | None = None
    backchannel_logout_uri: Uri | None = None
    backchannel_logout_session_required: Annotated[bool, Meta(description="Logout tokens always have a `sid`.")] = True
    require_pkce: Annotated[bool, Meta(description=_PKCE)] = True
    skip_consent: Annotated[bool, Meta(description=_CONSENT)] = False
    resources: Annotated[tuple[Uri, ...], Meta(max_length=50, description=_RESOURCES)] = ()
    serves: Annotated[tuple[Uri, ...], Meta(max_length=50, description=_SERVES)] = ()


class ClientOut(Struct, frozen=True):
    """A registered client. `client_secret` is returned only by its creation and rotation."""

    client_id: str
    client_name: str
    scope: str
    application_type: ApplicationType
    grant_types: tuple[GrantType, ...]
    response_types: tuple[ResponseType, ...]
    redirect_uris: tuple[str, ...]
    post_logout_redirect_uris: tuple[str, ...]
    token_endpoint_auth_method: AuthMethod
    id_token_signed_response_alg: IdTokenAlgorithm
    require_pkce: bool
    skip_consent: bool
    resources: tuple[str, ...]
    serves: tuple[str, ...]
    declared: Annotated[bool, Meta(description="Whether config/clients.toml declares it.")]
    client_id_issued_at: Annotated[int, Meta(description="Seconds since 1970.")]
    jwks: dict[str, Any] | UnsetType = UNSET
    jwks_uri: str | UnsetType = UNSET
    client_uri: str | UnsetType = UNSET
    policy_uri: str | UnsetType = UNSET
    tos_uri: str | UnsetType = UNSET
    backchannel_logout_uri: str | UnsetType = UNSET
    backchannel_logout_session_required: bool | UnsetType = UNSET
    client_secret: str | UnsetType = UNSET
    client_secret_expires_at: Annotated[int, Meta(description="0: it does not expire.")] | UnsetType = UNSET

    def __repr__(self) -> str:
        return f"ClientOut(client_id={self.client_id!r})"

    @classmethod
    def of(cls, row: ClientRow, secret: str | None = None) -> "ClientOut":
        """Return a client.

        Args:
            row: of the client.
            secret: a new one; None if there is none to return.
        """
        return cls(
            client_id=row.client_id,
            client_name=row.name,
            scope=" ".join(row.scopes),
            application_type=row.application_type,  # type: ignore[arg-type]
            grant_types=tuple(row.grant_types),  # type: ignore[arg-type]
            response_types=response_types(row.grant_types),
            redirect_uris=tuple(row.redirect_uris),
            post_logout_redirect_uris=tuple(row.post_logout_redirect_uris),
            token_endpoint_auth_method=row.auth_method,  # type: ignore[arg-type]
            id_token_signed_response_alg=row.id_token_alg,  # type: ignore[arg-type]
            require_pkce=row.require_pkce,
            skip_consent=row.skip_consent,
            resources=tuple(row.resources),
            serves=tuple(row.serves),
            declared=row.declared,
            client_id_issued_at=int(row.created_at.timestamp()),
            jwks=row.jwks or UNSET,
            jwks_uri=row.jwks_uri or UNSET,
            client_uri=row.client_uri or UNSET,
            policy_uri=row.policy_uri or UNSET,
            tos_uri=row.tos_uri or UNSET,
            backchannel_logout_uri=row.backchannel_logout_uri or UNSET,
            backchannel_logout_session_required=True if row.backchannel_logout_uri else UNSET,
            client_secret=UNSET if secret is None else secret,
            client_secret_expires_at=UNSET if secret is None else 0,
        )


class ClientList(Struct, frozen=True):
    """A page of clients, and how many there are."""

    clients: list[ClientOut]
    total: int


class DeletedClient(Struct, frozen=True):
    """The deleted client."""

    success: bool
    client_id: str


def response_types(grant_types: Collection[str]) -> tuple[ResponseType, ...]:
    """Return the response types that fit these grant types (RFC 7591 section 2.1)."""
    return ("code",) if "authorization_code" in grant_types else ()
