"""Issues tokens at the token endpoint (RFC 6749 section 4.4), and its fast path past the framework."""

import msgspec
from litestar.types import HTTPScope, Receive

from idp import errors
from idp.authn.fast_path import whole_body
from idp.ops.envelope import JSON, NO_STORE, FastRoute, UseFramework
from idp.ops.json_body import parse_form
from idp.provider.client_auth import ClientAuthentication
from idp.provider.shapes import TokenRequest, TokenResponse
from idp.signing.jwt import TokenService

PATH = "/oauth2/token"
GRANT = "client_credentials"
NO_CACHE = (b"pragma", b"no-cache")
_FORM = b"application/x-www-form-urlencoded"
_FIELDS = frozenset(TokenRequest.__struct_fields__)
_convert = msgspec.convert
_encode = msgspec.json.Encoder().encode


class TokenEndpoint:
    """Issues access tokens.

    Args:
        clients: authenticates clients.
        tokens: signs tokens.
    """

    def __init__(self, clients: ClientAuthentication, tokens: TokenService) -> None:
        self._clients = clients
        self._tokens = tokens

    @property
    def routes(self) -> dict[tuple[str, str], FastRoute]:
        """The usual request past the framework; the framework answers any other, with the same decision."""
        return {("POST", PATH): FastRoute(self._fast, (JSON, NO_STORE, NO_CACHE))}

    async def issue(self, authorization: str | None, form: TokenRequest, *, address: str | None) -> bytes:
        """Return the encoded response: a token that represents the client itself (SEC-51).

        Args:
            authorization: the header.
            form: the form.
            address: the client's address, for the limit of wrong secrets.

        Raises:
            OAuthInvalidRequest, UnsupportedGrantType, InvalidClient, UnauthorizedClient, InvalidScope: as RFC 6749
                section 5.2 says.
            RateLimited: too many wrong secrets from this address.
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        if form.grant_type != GRANT:
            raise (
                errors.UnsupportedGrantType()
                if form.grant_type
                else errors.OAuthInvalidRequest("grant_type is missing.")
            )
        client = await self._clients.authenticate(authorization, form, address=address)
        if GRANT not in client.grant_types:
            raise errors.UnauthorizedClient
        scopes = _granted(form.scope, client.scopes)
        issued = await self._tokens.issue_for_client(client.client_id, scopes)
        return _encode(TokenResponse(issued.token, "Bearer", issued.expires_in, " ".join(scopes)))

    async def _fast(self, scope: HTTPScope, receive: Receive) -> bytes:
        authorization: str | None = None
        is_form = False
        for name, value in scope["headers"]:
            if name == b"authorization":
                if authorization is not None:
                    raise UseFramework
                authorization = value.decode("latin-1")
            elif name == b"content-type":
                is_form = value == _FORM
            elif name in {b"origin", b"x-api-key"}:
                raise UseFramework
        if not is_form:
            raise UseFramework
        message = await whole_body(receive)
        try:
            fields = dict(parse_form(message["body"]))
            if not _FIELDS.issuperset(fields):
                raise UseFramework(message)
            form = _convert(fields, TokenRequest)
        except (msgspec.ValidationError, errors.IdpError):
            raise UseFramework(message) from None
        client = scope["client"]
        return await self.issue(authorization, form, address=client[0] if client else None)


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
