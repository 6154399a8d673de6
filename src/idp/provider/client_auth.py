"""Authentication of clients at every endpoint that they call (RFC 6749 section 2.3, RFC 7591 section 2; SEC-48).

A client has one method. With a secret it may use the header or the form, whichever it registered: libraries differ. A
parameter without a value counts as absent (RFC 6749 section 3.2).
"""

import base64
from collections.abc import Sequence
from typing import Protocol
from urllib.parse import unquote_plus

from msgspec import Struct

from idp.apikeys.secret import is_intact
from idp.authn.clients import ClientResolver
from idp.authn.resolved import Resolved
from idp.db.reads import Reads
from idp.errors import InvalidClient, OAuthInvalidRequest
from idp.ops import metrics
from idp.ops.bad_credential_limit import BadCredentialLimit
from idp.principal.model import Principal, Registration
from idp.principal.permissions import USER_SCOPES
from idp.settings import Secret
from idp.signing.client_assertion import ASSERTION_TYPE, ClientAssertions, client_of
from idp.signing.peppers import Peppers

NONE, ASSERTION = "none", "private_key_jwt"
SECRET_METHODS = ("client_secret_basic", "client_secret_post")
AUTH_METHODS = (*SECRET_METHODS, ASSERTION, NONE)
SECRET_PREFIX = "idp_cs"  # noqa: S105  of client secrets, for secret scanners
_BASIC = {"WWW-Authenticate": "Basic"}
_MAX_LENGTH = 512  # characters of an id or a secret
_USE = """
INSERT INTO idp.client_assertions (digest, expires_at) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING RETURNING digest
"""
_ONE_METHOD = "Authenticate the client by one method: Authorization: Basic, client_secret, or client_assertion."


class ClientFields(Protocol):
    """The fields of a form that authenticate a client."""

    @property
    def client_id(self) -> str | None: ...
    @property
    def client_secret(self) -> str | None: ...
    @property
    def client_assertion(self) -> str | None: ...
    @property
    def client_assertion_type(self) -> str | None: ...


class AuthenticatedClient(Struct, frozen=True):
    """A client that has authenticated, or a public one that named itself.

    Attributes:
        auth_method: as registered; `none` is a public client, which proved nothing.
        grant_types: that it may use.
        scopes: that it may have.
        resources: that it may request tokens for (RFC 8707).
        serves: resources whose tokens it may introspect.
        id_token_alg: signs its ID tokens.
    """

    client_id: str
    auth_method: str
    grant_types: tuple[str, ...]
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    serves: tuple[str, ...]
    id_token_alg: str

    @property
    def own_scopes(self) -> tuple[str, ...]:
        """Scopes of tokens that represent the client itself: without those about a user."""
        return tuple(scope for scope in self.scopes if scope not in USER_SCOPES)

    @property
    def is_public(self) -> bool:
        """Whether anyone can present its id."""
        return self.auth_method == NONE


class ClientAuthentication:
    """Authenticates clients, from the cache of verdicts if possible.

    Args:
        clients: finds them.
        roots: root secrets, the current one first, for digests of client secrets.
        bad_credentials: counts failures by address.
        assertions: verifies assertions.
        reads: the database, which records used assertions.
    """

    def __init__(
        self,
        clients: ClientResolver,
        roots: Sequence[Secret],
        bad_credentials: BadCredentialLimit,
        assertions: ClientAssertions,
        reads: Reads,
    ) -> None:
        self._clients = clients
        self._assertions = assertions
        self._reads = reads
        self._peppers = Peppers(roots, "oauth-client-secret")
        self._bad_credentials = bad_credentials

    def at_once(self, authorization: str | None, form: ClientFields) -> AuthenticatedClient | None:
        """Return a client whose secret is known from memory to be right; None if `authenticate` has to decide.

        Args:
            authorization: the header.
            form: the form.
        """
        if form.client_assertion or form.client_assertion_type:
            return None
        try:
            client_id, secret = _presented(authorization, form)
        except (InvalidClient, OAuthInvalidRequest):
            return None
        if not secret or not (_is_storable(client_id) and _is_storable(secret)):
            return None
        principal = self._clients.remembered(client_id, secret)
        if principal is None:
            return None
        metrics.count_attempt(method="client", outcome="authenticated")
        return _registered(principal)[0]

    async def authenticate(
        self, authorization: str | None, form: ClientFields, *, address: str | None
    ) -> AuthenticatedClient:
        """Return the client.

        Args:
            authorization: the header.
            form: the form.
            address: the client's address, for the limit of wrong secrets; None for internal calls.

        Raises:
            InvalidClient: no or an unreadable credential, an unknown client, a wrong secret, or another method than
                the client's. An unknown client looks like a wrong secret.
            OAuthInvalidRequest: the request uses several methods.
            RateLimited: too many wrong secrets from this address.
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        try:
            client = await self._authenticate(authorization, form, address)
        except InvalidClient as error:
            self._bad_credentials.count(address)
            metrics.count_attempt(method="client", outcome=error.code)
            raise InvalidClient(error.detail, headers=_BASIC) from None
        metrics.count_attempt(method="client", outcome="authenticated")
        return client

    async def _authenticate(
        self, authorization: str | None, form: ClientFields, address: str | None
    ) -> AuthenticatedClient:
        if form.client_assertion or form.client_assertion_type:
            return await self._by_assertion(authorization, form, address)
        client_id, secret = _presented(authorization, form)
        self._bad_credentials.check(address, plausible=lambda: is_intact(secret, SECRET_PREFIX))
        if not (_is_storable(client_id) and _is_storable(secret)):
            raise InvalidClient
        if secret:
            return _client(await self._clients.with_secret(client_id, secret, self._peppers.possible))
        client = _client(await self._clients.by_id(client_id))
        if not client.is_public:
            raise InvalidClient
        return client

    async def _by_assertion(
        self, authorization: str | None, form: ClientFields, address: str | None
    ) -> AuthenticatedClient:
        """Return the client of an assertion, which it uses up (RFC 7523 section 3; SEC-54)."""
        if authorization is not None or form.client_secret:
            raise OAuthInvalidRequest(_ONE_METHOD)
        if not form.client_assertion or form.client_assertion_type != ASSERTION_TYPE:
            raise OAuthInvalidRequest(f"Send client_assertion, and client_assertion_type={ASSERTION_TYPE}.")
        self._bad_credentials.check(address, plausible=lambda: False)
        try:
            unverified, client_id = client_of(form.client_assertion, expected=form.client_id or None)
            client, registration = _registered(_found(await self._clients.by_id(client_id)))
            if client.auth_method != ASSERTION:
                raise InvalidClient
            verified = await self._assertions.verify(
                unverified, client_id, jwks=registration.jwks, jwks_uri=registration.jwks_uri
            )
        except ValueError as error:
            raise InvalidClient(f"The client assertion is not valid: {error}.") from None
        if await self._reads.fetchrow(_USE, verified.digest, verified.expires_at) is None:
            raise InvalidClient("The client assertion was used already.")
        return client


def _presented(authorization: str | None, form: ClientFields) -> tuple[str, str]:
    """Return the id and the secret, "" for none (RFC 6749 section 2.3.1: an empty one may be left out).

    Raises:
        InvalidClient: there is no id, or the header is malformed.
        OAuthInvalidRequest: the request uses both methods.
    """
    if authorization is None:
        if not form.client_id:
            raise InvalidClient("Send the client's id and secret, as Authorization: Basic or in the form.")
        return form.client_id, form.client_secret or ""
    client_id, secret = _basic(authorization)
    if form.client_secret or form.client_id not in {None, "", client_id}:
        raise OAuthInvalidRequest(_ONE_METHOD)
    return client_id, secret


def _basic(authorization: str) -> tuple[str, str]:
    """Decode the header; id and secret are form-encoded in it."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode()
    except ValueError:  # neither base64 nor ASCII, or not UTF-8
        raise InvalidClient("The Authorization header cannot be read.") from None
    client_id, colon, secret = decoded.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise InvalidClient("Clients authenticate with Authorization: Basic, their id and their secret.")
    if "%" in decoded or "+" in decoded:
        return unquote_plus(client_id), unquote_plus(secret)
    return client_id, secret


def _client(resolved: Resolved) -> AuthenticatedClient:
    return _registered(_found(resolved))[0]


def _found(resolved: Resolved) -> Principal:
    if resolved.principal is None:
        raise resolved.error or InvalidClient
    return resolved.principal


def _registered(principal: Principal) -> tuple[AuthenticatedClient, Registration]:
    credential, registration = principal.credential, principal.credential.registration
    assert registration is not None
    assert credential.id is not None
    client = AuthenticatedClient(
        client_id=credential.id,
        auth_method=registration.auth_method,
        grant_types=registration.grant_types,
        scopes=credential.scopes,
        resources=registration.resources,
        serves=registration.serves,
        id_token_alg=registration.id_token_alg,
    )
    return client, registration


def _is_storable(text: str) -> bool:
    return "\x00" not in text and len(text) <= _MAX_LENGTH
