"""Responses of the authorization endpoint: a code or an error, always with `iss` (RFC 6749 section 4.1.2, RFC 9207)."""

from urllib.parse import quote, urlencode

from msgspec import Struct

from idp.provider.authorization_request import ReturnAddress


class AuthorizationResponse(Struct, frozen=True):
    """What is sent to the client through the browser.

    Attributes:
        address: where it goes; proven to belong to the client.
        parameters: in order, as sent.
    """

    address: ReturnAddress
    parameters: dict[str, str]

    def __repr__(self) -> str:
        return f"AuthorizationResponse({sorted(self.parameters)})"

    @property
    def location(self) -> str:
        """The redirect URI with the parameters in its query, which keeps what is there (RFC 6749 section 3.1.2)."""
        uri = self.address.redirect_uri
        query = urlencode(self.parameters, quote_via=quote)
        return f"{uri}{'&' if '?' in uri else '?'}{query}"


class AuthorizationError(Exception):
    """An error that the client is told at its redirect URI (RFC 6749 section 4.1.2.1).

    Args:
        code: of RFC 6749, OpenID Connect Core section 3.1.2.6 or RFC 8707.
        description: for the client's developers.
    """

    def __init__(self, code: str, description: str) -> None:
        self.code = code
        self.description = description
        super().__init__(f"{code}: {description}")


def code_response(address: ReturnAddress, code: str, *, issuer: str) -> AuthorizationResponse:
    """Return the response with an authorization code."""
    return _response(address, {"code": code}, issuer)


def error_response(address: ReturnAddress, error: AuthorizationError, *, issuer: str) -> AuthorizationResponse:
    """Return the response with an error."""
    return _response(address, {"error": error.code, "error_description": error.description}, issuer)


def _response(address: ReturnAddress, parameters: dict[str, str], issuer: str) -> AuthorizationResponse:
    state = {} if address.state is None else {"state": address.state}
    return AuthorizationResponse(address, parameters | state | {"iss": issuer})
