"""The form and response of the token endpoint (RFC 6749 section 4 and 5)."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType


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


class TokenForm(Struct, frozen=True):
    """The form of RFC 7662 and RFC 7009 section 2.1, with the client's credential unless it is in a header."""

    token: Annotated[str, Meta(max_length=100_000, examples=["eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9…"])]
    token_type_hint: Annotated[str, Meta(max_length=100)] | None = None
    client_id: Annotated[str, Meta(max_length=200)] | None = None
    client_secret: Annotated[str, Meta(max_length=1000)] | None = None
    client_assertion: Annotated[str, Meta(max_length=8192)] | None = None
    client_assertion_type: Annotated[str, Meta(max_length=200)] | None = None

    def __repr__(self) -> str:
        return "TokenForm(token hidden)"

    @property
    def names_client(self) -> bool:
        """Whether the form has a credential of a client."""
        return bool(self.client_id or self.client_secret or self.client_assertion)
