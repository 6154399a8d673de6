"""Who is calling, for asyncio: request -> one of four outcomes. `sync_gate` is the same for threads."""

from collections.abc import Iterable

from idp_client.auth_client import AuthClient
from idp_client.caller import ABSENT, Authenticated, Caller, Outcome
from idp_client.credentials import Headers
from idp_client.decision import GateParts, Question, caller_in, outcome_of, presented_token, require_scopes
from idp_client.errors import AuthError, NotOurs
from idp_client.token_info import caller_of


class Gate(GateParts[AuthClient]):
    """Decides who is calling a service.

    With both ways, JWTs of the issuer are verified offline, and everything else (API keys, service tokens, tokens
    signed with a shared secret) is asked about. With `online` alone every request is asked about, so a revocation
    counts at once. With `offline` alone only JWTs are good.

    Args:
        offline: verifies JWTs of one issuer with its keys.
        online: asks the service.
        service_name: what to call this service when asking.

    Raises:
        ValueError: both `offline` and `online` are None, so no credential could ever be accepted.
    """

    _client = AuthClient

    async def decide(self, headers: Headers, action: str | None = None) -> Outcome:
        """Return what holds for a request.

        Args:
            headers: ASGI header pairs.
            action: what the caller wants, such as the path; told to the service when it is asked.
        """
        try:
            token = presented_token(headers)
            return ABSENT if token is None else Authenticated(await self._caller(token, action))
        except AuthError as error:
            return outcome_of(error)

    async def with_roles(self, caller: Caller, headers: Headers, action: str | None = None) -> Caller:
        """Return the caller with their roles: where the token names none, the service is asked if it can be.

        Raises:
            AuthError: the service refuses the credential, or cannot be asked.
        """
        question = self._question_about_roles(caller, headers, action)
        return caller if question is None else await self._ask(question)

    async def _caller(self, token: str, action: str | None) -> Caller:
        if self._offline is not None:
            try:
                return await self._offline.verify(token)
            except NotOurs:
                if self._online is None:
                    raise
        return await self._ask(self._question(token, action))

    async def _ask(self, question: Question) -> Caller:
        assert self._online is not None
        return caller_of(await self._online.validate_token(*question))

    async def close(self) -> None:
        """Close what it keeps open."""
        if self._online is not None:
            await self._online.close()


class Authentication:
    """The decision about one request, made on first use and only once.

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
        return caller_in(await self.outcome())

    async def require(self, required_scopes: Iterable[str] = (), *, required_roles: Iterable[str] = ()) -> Caller:
        """Return who is calling, if they hold all of these scopes, and all of these roles.

        Raises:
            NoCredential: the request carries no credential.
            InsufficientScopes: a scope is missing.
            InsufficientRoles: a role is missing, or the caller is a service.
            AuthError: as `caller` does.
        """
        caller = require_scopes(await self.caller(), required_scopes)
        if roles := tuple(required_roles):
            caller = await self._gate.with_roles(caller, self._headers, self._action)
            caller.require_roles(roles)
            self._outcome = Authenticated(caller)
        return caller
