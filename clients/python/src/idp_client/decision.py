"""The logic of gates without I/O, shared by `Gate` and `SyncGate`.

Everything is computed from a request's headers or a verdict; only the gates do I/O.
"""

import logging
from collections.abc import Iterable
from typing import Any, ClassVar, Generic, Self, TypeVar

from idp_client.auth_client import AuthClient, SyncAuthClient
from idp_client.caller import Absent, Authenticated, Caller, Outcome, Rejected, Unavailable
from idp_client.credentials import Headers, find_token, is_plausible
from idp_client.errors import AuthError, AuthUnavailable, NoCredential, TokenRejected
from idp_client.jwks import JwksCache
from idp_client.verifier import OfflineVerifier

log = logging.getLogger("idp_client")

Client = TypeVar("Client", bound=AuthClient | SyncAuthClient)
ValidateArguments = tuple[str, tuple[()], str | None, str | None]


class GateParts(Generic[Client]):
    """The offline verifier and the online client of a gate, of which one is optional. See `Gate`."""

    _client: ClassVar[type[Any]]

    def __init__(
        self,
        *,
        offline: OfflineVerifier | None = None,
        online: Client | None = None,
        service_name: str | None = None,
    ) -> None:
        if offline is None and online is None:
            raise ValueError("a gate requires offline, online, or both")
        self._offline = offline
        self._online = online
        self._service_name = service_name

    @classmethod
    def at(
        cls,
        auth_service_url: str,
        *,
        issuer: str | None = None,
        service_name: str | None = None,
        allow_development: bool = False,
    ) -> Self:
        """Return a gate that verifies offline and online.

        Args:
            auth_service_url: of idp, as this service reaches it, such as http://auth-service:8000.
            issuer: IDP_PUBLIC_URL of idp, if it differs from that.
            service_name: of the calling service, for idp's log.
            allow_development: accept tokens of `idp dev`; only for a developer's machine.
        """
        url = auth_service_url.rstrip("/")
        keys = JwksCache(f"{url}/.well-known/jwks.json")
        offline = OfflineVerifier(issuer or url, keys=keys, allow_development=allow_development)
        return cls(offline=offline, online=cls._client(url), service_name=service_name)

    def _arguments(self, token: str, action: str | None) -> ValidateArguments:
        """Return the arguments of `validate_token`."""
        return token, (), self._service_name, action

    def _role_arguments(self, caller: Caller, headers: Headers, action: str | None) -> ValidateArguments | None:
        """Return the arguments to look up the caller's roles; None if they are known, or without an online client."""
        token = find_token(headers) if self._online is not None and caller.roles_are_unknown else None
        return None if token is None else self._arguments(token, action)


def presented_token(headers: Headers) -> str | None:
    """Return the credential of a request, None if there is none.

    Args:
        headers: pairs of name and value.

    Raises:
        AmbiguousCredentials: there are two different credentials.
        TokenRejected: it cannot be a credential.
    """
    token = find_token(headers)
    if token is not None and not is_plausible(token):
        raise TokenRejected("empty, too long, or not a Bearer token")
    return token


def outcome_of(error: AuthError) -> Rejected | Unavailable:
    """Return the outcome for an error, and log its reason."""
    if isinstance(error, AuthUnavailable):
        log.warning("credential cannot be verified: %s", error.reason)
        return Unavailable(error)
    log.info("credential refused: %s: %s", error.code, error.reason)
    return Rejected(error)


def caller_in(outcome: Outcome) -> Caller | None:
    """Return the authenticated caller, None if the request has no credential.

    Raises:
        AuthError: the credential is invalid (401, 400), or cannot be verified now (503).
    """
    match outcome:
        case Absent():
            return None
        case Authenticated(caller):
            return caller
        case Rejected(error) | Unavailable(error):
            raise error


def require_scopes(caller: Caller | None, required_scopes: Iterable[str]) -> Caller:
    """Return the caller, who must exist and have all of these scopes.

    Raises:
        NoCredential: the request has no credential.
        InsufficientScopes: a scope is missing.
    """
    if caller is None:
        raise NoCredential
    caller.require(required_scopes)
    return caller
