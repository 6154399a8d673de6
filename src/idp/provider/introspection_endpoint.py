"""Introspection (RFC 7662) by a service token with `idp:introspect`, or by a confidential client (SEC-57).

The decision about the credential is that of `authn/introspection.py`. A service token sees every credential; a client
sees the access tokens that concern it. The usual request of both is answered without the framework.
"""

import re
from collections.abc import Awaitable
from functools import partial

import msgspec
from litestar.types import HTTPScope

from idp.authn import verdict_responses
from idp.authn.fast_path import accepted, address_of, caller_of, with_verdict
from idp.authn.introspection import Introspector
from idp.authn.verdicts import Verdict
from idp.errors import IdpError, InvalidClient
from idp.ops.fast_route import FastRoute, UseFramework
from idp.ops.json_body import parse_form
from idp.ops.misspelt_members import strict
from idp.principal.model import AuthMethod
from idp.principal.permissions import IDP_INTROSPECT
from idp.provider.client_auth import AuthenticatedClient, ClientAuthentication
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
        return {("POST", PATH): FastRoute(self._fast, check_head=_check_head)}

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
        return self._respond_to_client(client, form.token, await self._decide(form.token, address))

    async def _decide(self, token: str, address: str | None) -> Verdict:
        return await self._introspector.introspect_token(token, client=address)

    def _fast(self, scope: HTTPScope, body: bytes) -> bytes | Awaitable[bytes]:
        address = address_of(scope)
        if (basic := _basic_of(scope)) is not None:
            form = _form_of(body)
            client = self._clients.at_once(basic, form)
            if client is None or client.is_public:
                return self.for_client(basic, form, address=address)
            verdict = self._introspector.token_at_once(form.token, client=address)
            return with_verdict(verdict, partial(self._respond_to_client, client, form.token))
        caller = _bearer_of(scope)
        form = _form_of(body)
        if form.names_client:
            raise UseFramework
        service = self._introspector.caller_at_once(caller, scope["headers"], client=address)
        if not isinstance(service, Verdict):
            return self._fast_for_service(service, form.token, scope)
        self._require_service(service, scope)
        verdict = self._introspector.token_at_once(form.token, client=address)
        return with_verdict(verdict, lambda verdict: verdict_responses.introspect(verdict, self._issuer, form.token))

    async def _fast_for_service(self, asking: Awaitable[Verdict], token: str, scope: HTTPScope) -> bytes:
        self._require_service(await asking, scope)
        return await self.for_service(token, address=address_of(scope))

    @staticmethod
    def _require_service(asking: Verdict, scope: HTTPScope) -> None:
        """Check that the caller is a service that may introspect.

        Raises:
            UseFramework: it is another caller.
            IdpError: its credential was rejected.
        """
        principal = accepted(asking)
        if principal.credential.method != AuthMethod.SERVICE_TOKEN or IDP_INTROSPECT not in principal.credential.scopes:
            raise UseFramework
        scope["user"] = principal

    def _respond_to_client(self, client: AuthenticatedClient, token: str, verdict: Verdict) -> bytes:
        return verdict_responses.introspect_for_client(
            verdict, self._issuer, token, client_id=client.client_id, serves=client.serves
        )


def _check_head(scope: HTTPScope) -> None:
    if _basic_of(scope) is None:
        _bearer_of(scope)


def _bearer_of(scope: HTTPScope) -> str:
    """Return the credential of the usual request of a service.

    Raises:
        UseFramework: it is another request.
    """
    caller, content_type = caller_of(scope["headers"])
    if content_type != _FORM:
        raise UseFramework
    return caller


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


def _form_of(body: bytes) -> TokenForm:
    """Return the form; the usual one has only `token`, unencoded."""
    if _TOKEN_ALONE.match(body):
        return TokenForm(str(body[6:], "ascii"))
    try:
        return msgspec.convert(dict(parse_form(body)), _StrictForm)  # type: ignore[no-any-return]
    except (msgspec.ValidationError, IdpError):
        raise UseFramework from None
