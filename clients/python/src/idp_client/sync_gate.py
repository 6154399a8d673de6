"""The decision of `idp_client.gate` for threads: WSGI servers, Flask, Django."""

import logging
from collections.abc import Iterable
from typing import Self

from idp_client.auth_client import SyncAuthClient
from idp_client.caller import Caller
from idp_client.credentials import Headers, find_token, is_plausible
from idp_client.errors import AuthError, AuthUnavailable, NoCredential, NotOurs, TokenRejected
from idp_client.jwks import JwksCache
from idp_client.token_info import caller_of
from idp_client.verifier import OfflineVerifier

log = logging.getLogger("idp_client")


class SyncGate:
    """Decides who is calling a service, in the thread of the request. One gate serves all threads.

    Args:
        offline: verifies JWTs of one issuer with its keys.
        online: asks the service.
        service_name: what to call this service when asking.

    Raises:
        ValueError: neither way is given: nobody could ever come in.
    """

    def __init__(
        self,
        *,
        offline: OfflineVerifier | None = None,
        online: SyncAuthClient | None = None,
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
        """Return a gate with both ways to one service; the arguments are those of `Gate.at`."""
        url = auth_service_url.rstrip("/")
        keys = JwksCache(f"{url}/.well-known/jwks.json")
        offline = OfflineVerifier(issuer or url, keys=keys, allow_development=allow_development)
        return cls(offline=offline, online=SyncAuthClient(url), service_name=service_name)

    def caller(self, headers: Headers, action: str | None = None) -> Caller | None:
        """Return who is calling, None where there is no credential.

        Args:
            headers: pairs of name and value.
            action: what the caller wants, such as the path; told to the service when it is asked.

        Raises:
            AuthError: the credential is bad (401, 400), or cannot be checked now (503).
        """
        try:
            token = find_token(headers)
            return None if token is None else self._caller(token, action)
        except AuthUnavailable as error:
            log.warning("no decision about a credential: %s", error.reason)
            raise
        except AuthError as error:
            log.info("credential refused: %s: %s", error.code, error.reason)
            raise

    def with_roles(self, caller: Caller, headers: Headers, action: str | None = None) -> Caller:
        """Return the caller with their roles: where the token names none, the service is asked if it can be.

        Raises:
            AuthError: the service refuses the credential, or cannot be asked.
        """
        if self._online is None or not caller.roles_are_unknown:
            return caller
        token = find_token(headers)
        assert token is not None
        return self._ask(self._online, token, action)

    def _caller(self, token: str, action: str | None) -> Caller:
        if not is_plausible(token):
            raise TokenRejected("empty, too long, or of another scheme than Bearer")
        if self._offline is not None:
            try:
                return self._offline.verify_sync(token)
            except NotOurs:
                if self._online is None:
                    raise
        assert self._online is not None
        return self._ask(self._online, token, action)

    def _ask(self, online: SyncAuthClient, token: str, action: str | None) -> Caller:
        return caller_of(online.validate_token(token, (), self._service_name, action))

    def close(self) -> None:
        """Close what it keeps open."""
        if self._online is not None:
            self._online.close()


class SyncAuthentication:
    """The decision about one request, made when it is first asked for, and only once.

    A route that asks for nothing is public: there no credential is looked at, so that a stale token breaks nothing.
    """

    def __init__(self, gate: SyncGate, headers: Headers, action: str | None = None) -> None:
        self._gate = gate
        self._headers = tuple(headers)
        self._action = action
        self._decided: tuple[Caller | None, AuthError | None] | None = None

    def caller(self) -> Caller | None:
        """Return who is calling, None where there is no credential, for routes that serve both.

        Raises:
            AuthError: the credential is bad (401, 400), or cannot be checked now (503).
        """
        if self._decided is None:
            try:
                self._decided = self._gate.caller(self._headers, self._action), None
            except AuthError as error:
                self._decided = None, error
        caller, refusal = self._decided
        if refusal is not None:
            raise refusal
        return caller

    def require(self, required_scopes: Iterable[str] = (), *, required_roles: Iterable[str] = ()) -> Caller:
        """Return who is calling, if they hold all of these scopes, and all of these roles.

        Raises:
            NoCredential: the request carries no credential.
            InsufficientScopes: a scope is missing.
            InsufficientRoles: a role is missing, or the caller is a service.
            AuthError: as `caller` does.
        """
        caller, roles = self.caller(), tuple(required_roles)
        if caller is None:
            raise NoCredential
        caller.require(required_scopes)
        if roles:
            caller = self._gate.with_roles(caller, self._headers, self._action)
            caller.require_roles(roles)
            self._decided = caller, None
        return caller
