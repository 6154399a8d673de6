"""The decision about a request without its waiting: what `Gate` and `SyncGate` have in common.

Everything here is computed from a request's headers or from an answer; only the gates verify, ask and wait.
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
Question = tuple[str, tuple[()], str | None, str | None]


class GateParts(Generic[Client]):
    """What a gate decides with: an offline verifier, a client of the service, or both. See `Gate`."""

    _client: ClassVar[type[Any]]

    def __init__(
        self,
        *,
        offline: OfflineVerifier | None = None,
        online: Client | None = None,
        service_name: str | None = None,
    ) -> None:
        if offline is None and online is None:
            raise ValueError("a gate needs a way to decide: offline, online, or both")
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
        """Return a gate with both ways to one service.

        Args:
            auth_service_url: where it answers this service, such as http://auth-service:8000.
            issuer: what IDP_PUBLIC_URL is set to over there, if it is another address.
            service_name: what to call this service when asking.
            allow_development: take tokens that `idp dev` made; only for a developer's own machine.
        """
        url = auth_service_url.rstrip("/")
        keys = JwksCache(f"{url}/.well-known/jwks.json")
        offline = OfflineVerifier(issuer or url, keys=keys, allow_development=allow_development)
        return cls(offline=offline, online=cls._client(url), service_name=service_name)

    def _question(self, token: str, action: str | None) -> Question:
        """Return the arguments of `validate_token`."""
        return token, (), self._service_name, action

    def _question_about_roles(self, caller: Caller, headers: Headers, action: str | None) -> Question | None:
        """Return what to ask for the caller's roles; None where they are known, or the service cannot be asked."""
        token = find_token(headers) if self._online is not None and caller.roles_are_unknown else None
        return None if token is None else self._question(token, action)


def presented_token(headers: Headers) -> str | None:
    """Return the credential of a request, None where there is none.

    Args:
        headers: pairs of name and value.

    Raises:
        AmbiguousCredentials: two explicit credentials that differ.
        TokenRejected: it cannot be a credential of any kind.
    """
    token = find_token(headers)
    if token is not None and not is_plausible(token):
        raise TokenRejected("empty, too long, or of another scheme than Bearer")
    return token


def outcome_of(error: AuthError) -> Rejected | Unavailable:
    """Return the outcome that an error stands for, and log its reason."""
    if isinstance(error, AuthUnavailable):
        log.warning("no decision about a credential: %s", error.reason)
        return Unavailable(error)
    log.info("credential refused: %s: %s", error.code, error.reason)
    return Rejected(error)


def caller_in(outcome: Outcome) -> Caller | None:
    """Return the authenticated caller, None where the request carries no credential.

    Raises:
        AuthError: the credential is bad (401, 400), or cannot be checked now (503).
    """
    match outcome:
        case Absent():
            return None
        case Authenticated(caller):
            return caller
        case Rejected(error) | Unavailable(error):
            raise error


def require_scopes(caller: Caller | None, required_scopes: Iterable[str]) -> Caller:
    """Return the caller if there is one and they hold all of these scopes.

    Raises:
        NoCredential: the request carries no credential.
        InsufficientScopes: a scope is missing.
    """
    if caller is None:
        raise NoCredential
    caller.require(required_scopes)
    return caller
