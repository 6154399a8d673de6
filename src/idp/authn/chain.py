"""The authenticator chain: the first authenticator that owns the credential decides; later ones are not called."""

from collections.abc import Sequence
from typing import Protocol

import structlog

from idp import checks
from idp.authn.credential import Presented, unrecognised
from idp.authn.outcome import NOT_MINE, Authenticated, NotMine, Outcome, Rejected, Unavailable
from idp.checks import Trace
from idp.errors import DatabaseUnavailable, DependencyUnavailable
from idp.ops.logging import describe

log = structlog.get_logger("idp.authn")
_OUTCOMES: dict[type[Outcome], str] = {
    NotMine: "not_mine",
    Authenticated: "authenticated",
    Rejected: "rejected",
    Unavailable: "unavailable",
}


class Authenticator(Protocol):
    """Verifies one kind of credential.

    An implementation is one file under `authn/authenticators/` and one line in `app.py`, or an entry point of another
    package (docs/authenticators.md). It returns one of the four outcomes and keeps no state between requests that other
    processes would need.
    """

    name: str

    async def authenticate(self, presented: Presented) -> Outcome:
        """Return the outcome for a credential.

        Args:
            presented: the request's credential, unverified.
        """
        ...


class AuthenticatorChain:
    """Calls authenticators in order."""

    def __init__(self, authenticators: Sequence[Authenticator]) -> None:
        self.authenticators = tuple(authenticators)

    async def authenticate(self, presented: Presented) -> Outcome:
        """Return the owner's outcome; `NotMine` only without a credential.

        A credential without an owner is rejected, because invalid is not the same as absent (SEC-14).
        """
        trace = checks.current()
        if trace is not None:
            trace.restart()
        for authenticator in self.authenticators:
            if trace is None:
                outcome = await self._call(authenticator, presented)
            else:
                outcome = await self._traced(authenticator, presented, trace)
            if not isinstance(outcome, NotMine):
                return outcome
        return NOT_MINE if presented.token is None else Rejected(unrecognised(presented))

    async def _traced(self, authenticator: Authenticator, presented: Presented, trace: Trace) -> Outcome:
        step = trace.begin(authenticator.name)
        outcome = await self._call(authenticator, presented)
        step.outcome = _OUTCOMES[type(outcome)]
        if isinstance(outcome, Rejected | Unavailable):
            step.code = outcome.error.code
        return outcome

    @staticmethod
    async def _call(authenticator: Authenticator, presented: Presented) -> Outcome:
        # A failing authenticator decides nothing: `Unavailable` neither admits the caller nor calls a valid credential
        # invalid.
        try:
            outcome = await authenticator.authenticate(presented)
        except DatabaseUnavailable as error:
            return Unavailable(error)
        except Exception as error:  # noqa: BLE001
            log.error("authenticator failed", authenticator=authenticator.name, **describe(error))  # noqa: TRY400
            return Unavailable(DependencyUnavailable())
        if not isinstance(outcome, Outcome):
            log.error("authenticator returned none of the four outcomes", authenticator=authenticator.name)
            return Unavailable(DependencyUnavailable())
        return outcome
