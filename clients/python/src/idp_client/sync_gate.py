"""Authentication for threads: WSGI servers, Flask, Django. `gate` is the same for asyncio, with full docstrings."""

from collections.abc import Iterable

from idp_client.auth_client import SyncAuthClient
from idp_client.caller import ABSENT, Authenticated, Caller, Outcome
from idp_client.credentials import Headers
from idp_client.decision import GateParts, ValidateArguments, caller_in, outcome_of, presented_token, require_scopes
from idp_client.errors import AuthError, NotOurs
from idp_client.token_info import caller_of


class SyncGate(GateParts[SyncAuthClient]):
    """Authenticates requests in their threads. One gate serves all threads.

    The arguments are those of `Gate`, with a `SyncAuthClient` for `online`.
    """

    _client = SyncAuthClient

    def decide(self, headers: Headers, action: str | None = None) -> Outcome:
        """Same as `Gate.decide`."""
        try:
            token = presented_token(headers)
            return ABSENT if token is None else Authenticated(self._caller(token, action))
        except AuthError as error:
            return outcome_of(error)

    def caller(self, headers: Headers, action: str | None = None) -> Caller | None:
        """Return the caller, None if there is no credential.

        Args:
            headers: pairs of name and value.
            action: such as the path, for idp's log; sent with online verification.

        Raises:
            AuthError: the credential is invalid (401, 400), or cannot be verified now (503).
        """
        return caller_in(self.decide(headers, action))

    def with_roles(self, caller: Caller, headers: Headers, action: str | None = None) -> Caller:
        """Same as `Gate.with_roles`."""
        arguments = self._role_arguments(caller, headers, action)
        return caller if arguments is None else self._validate(arguments)

    def _caller(self, token: str, action: str | None) -> Caller:
        if self._offline is not None:
            try:
                return self._offline.verify_sync(token)
            except NotOurs:
                if self._online is None:
                    raise
        return self._validate(self._arguments(token, action))

    def _validate(self, arguments: ValidateArguments) -> Caller:
        assert self._online is not None
        return caller_of(self._online.validate_token(*arguments))

    def close(self) -> None:
        """Close the connections."""
        if self._online is not None:
            self._online.close()


class SyncAuthentication:
    """The authentication of a request, done once, on first use; like `Authentication`."""

    def __init__(self, gate: SyncGate, headers: Headers, action: str | None = None) -> None:
        self._gate = gate
        self._headers = tuple(headers)
        self._action = action
        self._outcome: Outcome | None = None

    def outcome(self) -> Outcome:
        """Return the outcome."""
        if self._outcome is None:
            self._outcome = self._gate.decide(self._headers, self._action)
        return self._outcome

    def caller(self) -> Caller | None:
        """Same as `Authentication.caller`."""
        return caller_in(self.outcome())

    def require(self, required_scopes: Iterable[str] = (), *, required_roles: Iterable[str] = ()) -> Caller:
        """Same as `Authentication.require`."""
        caller = require_scopes(self.caller(), required_scopes)
        if roles := tuple(required_roles):
            caller = self._gate.with_roles(caller, self._headers, self._action)
            caller.require_roles(roles)
            self._outcome = Authenticated(caller)
        return caller
