"""The one decision behind every adapter: request -> one of four outcomes."""

import logging
from collections.abc import Iterable
from typing import Self

from idp_client.auth_client import AuthClient
from idp_client.caller import ABSENT, Absent, Authenticated, Caller, Outcome, Rejected, Unavailable
from idp_client.credentials import Headers, find_token, is_plausible
from idp_client.errors import AuthError, AuthUnavailable, NoCredential, NotOurs, TokenRejected
from idp_client.jwks import JwksCache
from idp_client.token_info import caller_of
from idp_client.verifier import OfflineVerifier

log = logging.getLogger("idp_client")


class Gate:
    """Decides who is calling a service.

    With both ways, JWTs of the issuer are verified offline, and everything else (API keys, service tokens, tokens
    signed with a shared secret) is asked about. With `online` alone every request is asked about, so a revocation
    counts at once. With `offline` alone only JWTs are good.

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
        online: AuthClient | None = None,
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
        return cls(offline=offline, online=AuthClient(url), service_name=service_name)

    async def decide(self, headers: Headers, action: str | None = None) -> Outcome:
        """Return what holds for a request.

        Args:
            headers: ASGI header pairs.
            action: what the caller wants, such as the path; told to the service when it is asked.
        """
        try:
            token = find_token(headers)
            return ABSENT if token is None else Authenticated(await self._caller(token, action))
        except AuthUnavailable as error:
            log.warning("no decision about a credential: %s", error.reason)
            return Unavailable(error)
        except AuthError as error:
            log.info("credential refused: %s: %s", error.code, error.reason)
            return Rejected(error)

    async def with_roles(self, caller: Caller, headers: Headers, action: str | None = None) -> Caller:
        """Return the caller with their roles: where the token names none, the service is asked if it can be.

        Raises:
            AuthError: the service refuses the credential, or cannot be asked.
        """
        if self._online is None or not caller.roles_are_unknown:
            return caller
        token = find_token(headers)
        assert token is not None
        return await self._ask(self._online, token, action)

    async def _caller(self, token: str, action: str | None) -> Caller:
        if not is_plausible(token):
            raise TokenRejected("empty, too long, or of another scheme than Bearer")
        if self._offline is not None:
            try:
                return await self._offline.verify(token)
            except NotOurs:
                if self._online is None:
                    raise
        assert self._online is not None
        return await self._ask(self._online, token, action)

    async def _ask(self, online: AuthClient, token: str, action: str | None) -> Caller:
        return caller_of(await online.validate_token(token, (), self._service_name, action))

    async def close(self) -> None:
        """Close what it keeps open."""
        if self._online is not None:
            await self._online.close()


class Authentication:
    """The decision about one request, made when somebody first asks for it, and only once.

    A route that asks for nothing is public: there no credential is looked at, so that a stale token breaks nothing.
    """

    def __init__(self, gate: Gate, headers: Headers, action: str | None = None) -> None:
        self._gate = gate
        self._headers = headers
        self._action = action
        self._outcome: Outcome | None = None

    async def outcome(self) -> Outcome:
        """Return which of the four things holds."""
        if self._outcome is None:
            self._outcome = await self._gate.decide(self._headers, self._action)
        return self._outcome

    async def caller(self) -> Caller | None:
        """Return who is calling, None where there is no credential, for routes that serve both.

        Raises:
            AuthError: the credential is bad (401, 400), or cannot be checked now (503).
        """
        match await self.outcome():
            case Absent():
                return None
            case Authenticated(caller):
                return caller
            case Rejected(error) | Unavailable(error):
                raise error

    async def require(self, required_scopes: Iterable[str] = (), *, required_roles: Iterable[str] = ()) -> Caller:
        """Return who is calling, if they hold all of these scopes, and all of these roles.

        Raises:
            NoCredential: the request carries no credential.
            InsufficientScopes: a scope is missing.
            InsufficientRoles: a role is missing, or the caller is a service.
            AuthError: as `caller` does.
        """
        caller, roles = await self.caller(), tuple(required_roles)
        if caller is None:
            raise NoCredential
        caller.require(required_scopes)
        if roles:
            caller = await self._gate.with_roles(caller, self._headers, self._action)
            caller.require_roles(roles)
            self._outcome = Authenticated(caller)
        return caller
