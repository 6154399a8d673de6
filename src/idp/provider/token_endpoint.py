"""The token endpoint (RFC 6749 section 3.2), and its fast path past the framework."""

from collections.abc import Awaitable, Callable

import msgspec
from litestar.types import HTTPScope

from idp import errors
from idp.audit.record import Origin, origin_of_scope
from idp.authn.fast_path import address_of
from idp.ops.fast_route import JSON, NO_STORE, FastRoute, UseFramework
from idp.ops.json_body import parse_form
from idp.provider.client_auth import ClientAuthentication
from idp.provider.grants import CLIENT_CREDENTIALS, GRANT_TYPES, Grants
from idp.provider.shapes import TokenRequest

PATH = "/oauth2/token"
NO_CACHE = (b"pragma", b"no-cache")
_FORM = b"application/x-www-form-urlencoded"
_FIELDS = frozenset(TokenRequest.__struct_fields__)
_USUAL_BODY, _USUAL = b"grant_type=client_credentials", TokenRequest(grant_type="client_credentials")
_convert = msgspec.convert
_encode = msgspec.json.Encoder().encode


class TokenEndpoint:
    """Authenticates the client of a token request, and answers by its grant.

    Args:
        clients: authenticates clients.
        grants: answers.
    """

    def __init__(self, clients: ClientAuthentication, grants: Grants) -> None:
        self._clients = clients
        self._grants = grants

    @property
    def routes(self) -> dict[tuple[str, str], FastRoute]:
        """The usual request past the framework; the framework answers any other, with the same decision."""
        return {("POST", PATH): FastRoute(self._fast, (JSON, NO_STORE, NO_CACHE), check_head=_credential_of)}

    async def answer(
        self, authorization: str | None, form: TokenRequest, origin: Callable[[], Origin], *, address: str | None
    ) -> bytes:
        """Return the encoded response.

        Args:
            authorization: the header.
            form: the form.
            origin: returns the request's origin, for audit records.
            address: the client's address, for limits.

        Raises:
            OAuthInvalidRequest, UnsupportedGrantType, InvalidClient, UnauthorizedClient, InvalidGrant, InvalidScope,
            InvalidTarget: as RFC 6749 section 5.2 and RFC 8707 say.
            RateLimited: too many wrong secrets or tokens from this address.
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        if not form.grant_type:
            raise errors.OAuthInvalidRequest("grant_type is missing.")
        if form.grant_type not in GRANT_TYPES:
            raise errors.UnsupportedGrantType
        client = await self._clients.authenticate(authorization, form, address=address)
        return _encode(await self._grants.answer(client, form, origin))

    def _fast(self, scope: HTTPScope, body: bytes) -> bytes | Awaitable[bytes]:
        authorization = _credential_of(scope)
        form = _USUAL if body == _USUAL_BODY else _decode(body)
        if form.grant_type == CLIENT_CREDENTIALS:
            client = self._clients.at_once(authorization, form)
            response = None if client is None else self._grants.client_token_at_once(client, form)
            if response is not None:
                return _encode(response)
        return self.answer(authorization, form, lambda: origin_of_scope(scope), address=address_of(scope))


def _credential_of(scope: HTTPScope) -> str | None:
    """Return the Authorization header of a usual request.

    Raises:
        UseFramework: it is no form, has another credential, or comes from a page.
    """
    authorization: str | None = None
    is_form = False
    for name, value in scope["headers"]:
        if name == b"authorization":
            if authorization is not None:
                raise UseFramework
            authorization = value.decode("latin-1")
        elif name == b"content-type":
            is_form = value == _FORM
        elif name == b"origin" or name == b"x-api-key":
            raise UseFramework
    if not is_form:
        raise UseFramework
    return authorization


def _decode(body: bytes) -> TokenRequest:
    """Return the form of a usual request.

    Raises:
        UseFramework: it has other parameters, or errors.
    """
    try:
        fields = dict(parse_form(body))
        if not _FIELDS.issuperset(fields):
            raise UseFramework
        return _convert(fields, TokenRequest)
    except (msgspec.ValidationError, errors.IdpError):
        raise UseFramework from None
