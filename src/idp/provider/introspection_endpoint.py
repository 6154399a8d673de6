"""Introspection (RFC 7662) by a service token with `idp:introspect`, or by a confidential client (SEC-57).

The decision about the credential is that of `authn/introspection.py`. A service token sees every credential; a client
sees the access tokens that concern it. The usual request of both is answered without the framework.
"""

import re
from typing import Any

import msgspec
from litestar.types import HTTPScope, Receive

from idp.authn import verdict_responses
from idp.authn.fast_path import accepted, caller_of, whole_body
from idp.authn.introspection import Introspector
from idp.authn.verdicts import Verdict
from idp.errors import IdpError, InvalidClient
from idp.ops.envelope import FastRoute, UseFramework
from idp.ops.json_body import parse_form
from idp.ops.misspelt_members import strict
from idp.principal.model import AuthMethod
from idp.principal.permissions import IDP_INTROSPECT
from idp.provider.client_auth import ClientAuthentication
from idp.provider.shapes import TokenForm

PATH = "/oauth2/introspect"
_FORM = b"application/x-www-form-urlencoded"
_TOKEN_ALONE = re.compile(rb"token=[A-Za-z0-9._~-]+\Z")
_StrictForm = strict(TokenForm)  # other form fields are handled by the framework


class IntrospectionEndpoint:
    """Answers introspection requests.

    Args:
        introspector: decides about credentials.
        clients: authenticates clients.
        issuer: for responses.
    """

    def __init__(self, introspector: Introspector, clients: ClientAuthentication, *, issuer: str) -> None:
        self._introspector = introspector
        self._clients = clients
        self._issuer = issuer

    @property
    def routes(self) -> dict[tuple[str, str], FastRoute]:
        """The usual requests past the framework; the framework answers any other, with the same decision."""
        return {("POST", PATH): FastRoute(self._fast)}

    async def for_service(self, token: str, *, address: str | None) -> bytes:
        """Return the response for a service token that may introspect.

        Args:
            token: the credential in question.
            address: the caller's address, for the limit of bad credentials.

        Raises:
            RateLimited: too many bad credentials from this address.
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        return verdict_responses.introspect(await self._decide(token, address), self._issuer, token)

    async def for_client(self, authorization: str | None, form: TokenForm, *, address: str | None) -> bytes:
        """Return the response for a confidential client.

        Args:
            authorization: the header.
            form: the form.
            address: the client's address, for the limits of wrong secrets and bad credentials.

        Raises:
            InvalidClient: it cannot be authenticated, or is public.
            OAuthInvalidRequest: the request uses several methods.
            RateLimited, DatabaseUnavailable: as `for_service`.
        """
        client = await self._clients.authenticate(authorization, form, address=address)
        if client.is_public:
            raise InvalidClient("A public client cannot introspect tokens.", headers={"WWW-Authenticate": "Basic"})
        verdict = await self._decide(form.token, address)
        return verdict_responses.introspect_for_client(
            verdict, self._issuer, form.token, client_id=client.client_id, serves=client.serves
        )

    async def _decide(self, token: str, address: str | None) -> Verdict:
        return await self._introspector.introspect_token(token, client=address)

    async def _fast(self, scope: HTTPScope, receive: Receive) -> bytes:
        client = scope["client"]
        address = client[0] if client else None
        if (basic := _basic_of(scope)) is not None:
            message = await whole_body(receive)
            return await self.for_client(basic, _form_of(message), address=address)
        caller, content_type = caller_of(scope["headers"])
        if content_type != _FORM:
            raise UseFramework
        principal = accepted(await self._introspector.introspect_caller(caller, scope["headers"], client=address))
        if principal.credential.method != AuthMethod.SERVICE_TOKEN or IDP_INTROSPECT not in principal.credential.scopes:
            raise UseFramework
        scope["user"] = principal
        message = await whole_body(receive)
        form = _form_of(message)
        if form.names_client:
            raise UseFramework(message)
        return await self.for_service(form.token, address=address)


def _basic_of(scope: HTTPScope) -> str | None:
    """Return `Authorization: Basic` of the usual request of a client; None for any other request."""
    basic: str | None = None
    is_form = False
    for name, value in scope["headers"]:
        if name == b"authorization":
            if basic is not None or value[:6].lower() != b"basic ":
                return None
            basic = value.decode("latin-1")
        elif name == b"content-type":
            is_form = value == _FORM
        elif name in {b"origin", b"x-api-key"}:
            return None
    return basic if is_form else None


def _form_of(message: Any) -> TokenForm:
    """Return the form; the usual one has only `token`, unencoded."""
    body = message["body"]
    if _TOKEN_ALONE.match(body):
        return TokenForm(str(body[6:], "ascii"))
    try:
        return msgspec.convert(dict(parse_form(body)), _StrictForm)  # type: ignore[no-any-return]
    except (msgspec.ValidationError, IdpError):
        raise UseFramework(message) from None
