"""Authentication for asyncio: a request has one of four outcomes. `sync_gate` is the same for threads."""

from collections.abc import Iterable

from idp_client.auth_client import AuthClient
from idp_client.caller import ABSENT, Authenticated, Caller, Outcome
from idp_client.credentials import Headers
from idp_client.decision import GateParts, ValidateArguments, caller_in, outcome_of, presented_token, require_scopes
from idp_client.errors import AuthError, NotOurs
from idp_client.token_info import caller_of


class Gate(GateParts[AuthClient]):
    """Authenticates requests.

    With both arguments, JWTs of the issuer are verified offline, and other credentials (API keys, service tokens,
    tokens signed with a shared secret) online. With `online` only, every request is verified online, so revocations
    apply immediately. With `offline` only, only JWTs are accepted.

    Args:
        offline: verifies JWTs of one issuer with its JWKS.
        online: verifies credentials with the service.
        service_name: of the calling service, for idp's log.

    Raises:
        ValueError: both `offline` and `online` are None, so no credential could ever be accepted.
    """

    _client = AuthClient

    async def decide(self, headers: Headers, action: str | None = None) -> Outcome:
        """Return the outcome for a request.

        Args:
            headers: ASGI header pairs.
            action: such as the path, for idp's log; sent with online verification.
        """
        try:
            token = presented_token(headers)
            return ABSENT if token is None else Authenticated(await self._caller(token, action))
        except AuthError as error:
            return outcome_of(error)

    async def with_roles(self, caller: Caller, headers: Headers, action: str | None = None) -> Caller:
        """Return the caller with roles, which are looked up online if the token contains none.

        Raises:
            AuthError: the service rejects the credential, or is unreachable.
        """
        arguments = self._role_arguments(caller, headers, action)
        return caller if arguments is None else await self._validate(arguments)

    async def _caller(self, token: str, action: str | None) -> Caller:
        if self._offline is not None:
            try:
                return await self._offline.verify(token)
            except NotOurs:
                if self._online is None:
                    raise
        return await self._validate(self._arguments(token, action))

    async def _validate(self, arguments: ValidateArguments) -> Caller:
        assert self._online is not None
        return caller_of(await self._online.validate_token(*arguments))

    async def close(self) -> None:
        """Close the connections."""
        if self._online is not None:
            await self._online.close()


class Authentication:
    """The authentication of a request, done once, on first use.

    A route that does not use it is public and ignores credentials, even invalid ones.
    """

    def __init__(self, gate: Gate, headers: Headers, action: str | None = None) -> None:
        self._gate = gate
        self._headers = headers
        self._action = action
        self._outcome: Outcome | None = None

    async def outcome(self) -> Outcome:
        """Return the outcome."""
        if self._outcome is None:
            self._outcome = await self._gate.decide(self._headers, self._action)
        return self._outcome

    async def caller(self) -> Caller | None:
        """Return the caller, None if there is no credential, for routes with optional authentication.

        Raises:
            AuthError: the credential is invalid (401, 400), or cannot be verified now (503).
        """
        return caller_in(await self.outcome())

    async def require(self, required_scopes: Iterable[str] = (), *, required_roles: Iterable[str] = ()) -> Caller:
        """Return the caller, who must have all of these scopes and roles.

        Raises:
            NoCredential: the request has no credential.
            InsufficientScopes: a scope is missing.
            InsufficientRoles: a role is missing, or the caller is a service.
            AuthError: as for `caller`.
        """
        caller = require_scopes(await self.caller(), required_scopes)
        if roles := tuple(required_roles):
            caller = await self._gate.with_roles(caller, self._headers, self._action)
            caller.require_roles(roles)
            self._outcome = Authenticated(caller)
        return caller
