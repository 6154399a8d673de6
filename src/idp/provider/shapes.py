"""Client metadata (RFC 7591), the form and response of the token endpoint (RFC 6749), and metadata (RFC 8414)."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from idp.plain_text import LINE
from idp.provider.models import ClientRow

ClientName = Annotated[str, Meta(min_length=1, max_length=200, pattern=LINE, examples=["Nightly export"])]
_SCOPE = r"[\x21\x23-\x5b\x5d-\x7e]+"  # RFC 6749 section 3.3
ScopeText = Annotated[str, Meta(max_length=4000, pattern=rf"^({_SCOPE}( {_SCOPE})*)?(?!\n)$", examples=["read write"])]
GrantType = Literal["client_credentials"]
AuthMethod = Literal["client_secret_basic", "client_secret_post"]


class ClientMetadata(Struct, frozen=True):
    """A client to register. Unknown members are ignored (RFC 7591 section 2)."""

    client_name: ClientName
    scope: ScopeText = ""
    grant_types: Annotated[tuple[GrantType, ...], Meta(min_length=1, max_length=1)] = ("client_credentials",)
    token_endpoint_auth_method: AuthMethod = "client_secret_basic"  # noqa: S105


class ClientOut(Struct, frozen=True):
    """A registered client. `client_secret` is returned only by its creation and rotation."""

    client_id: str
    client_name: str
    scope: str
    grant_types: tuple[GrantType, ...]
    token_endpoint_auth_method: AuthMethod
    client_id_issued_at: Annotated[int, Meta(description="Seconds since 1970.")]
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
            grant_types=("client_credentials",),
            token_endpoint_auth_method="client_secret_basic",  # noqa: S106  either method is accepted
            client_id_issued_at=int(row.created_at.timestamp()),
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


class TokenRequest(Struct, frozen=True):
    """The form of a token request (RFC 6749 section 4), with the client's credential unless it is in a header."""

    grant_type: Annotated[str, Meta(max_length=200, examples=["client_credentials"])] = ""
    scope: Annotated[str, Meta(max_length=4000)] | None = None
    code: Annotated[str, Meta(max_length=8192)] | None = None
    redirect_uri: Annotated[str, Meta(max_length=8192)] | None = None
    code_verifier: Annotated[str, Meta(max_length=8192)] | None = None
    refresh_token: Annotated[str, Meta(max_length=8192)] | None = None
    resource: Annotated[str, Meta(max_length=2000)] | None = None
    client_id: Annotated[str, Meta(max_length=200)] | None = None
    client_secret: Annotated[str, Meta(max_length=1000)] | None = None
    client_assertion: Annotated[str, Meta(max_length=8192)] | None = None
    client_assertion_type: Annotated[str, Meta(max_length=200)] | None = None

    def __repr__(self) -> str:
        return f"TokenRequest(grant_type={self.grant_type!r})"


class TokenResponse(Struct, frozen=True):
    """An access token (RFC 6749 section 5.1); of a user also an ID token and a refresh token, by its scopes."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str
    refresh_token: str | UnsetType = UNSET
    id_token: str | UnsetType = UNSET

    def __repr__(self) -> str:
        return "TokenResponse(token hidden)"
