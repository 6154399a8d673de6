"""The chain: authenticators in order, the first owner of the credential decides, nobody after it is asked."""

from collections.abc import Sequence
from typing import Protocol

import structlog

from idp.authn.credential import Presented, unrecognised
from idp.authn.outcome import NOT_MINE, NotMine, Outcome, Rejected, Unavailable
from idp.errors import DatabaseUnavailable, DependencyUnavailable
from idp.ops.logging import describe

log = structlog.get_logger("idp.authn")


class Authenticator(Protocol):
    """One way to prove who is calling.

    An implementation is one file under `authn/authenticators/` and one line in `app.py`, or an entry point of another
    package (docs/authenticators.md). It looks at `presented`, says which of the four outcomes holds, and keeps no state
    between requests that another process would have to know.
    """

    name: str

    async def authenticate(self, presented: Presented) -> Outcome:
        """Say whether this credential is mine, and if so whom it names.

        Args:
            presented: what the request carried; nothing in it has been verified.
        """
        ...


class AuthenticatorChain:
    """Authenticators in the order in which they are asked."""

    def __init__(self, authenticators: Sequence[Authenticator]) -> None:
        self.authenticators = tuple(authenticators)

    async def authenticate(self, presented: Presented) -> Outcome:
        """Return the first owner's outcome; `NotMine` only if nothing was presented.

        A credential that nobody owns is rejected: presented and useless is not the same as absent (SEC-14).
        """
        for authenticator in self.authenticators:
            outcome = await self._ask(authenticator, presented)
            if not isinstance(outcome, NotMine):
                return outcome
        return NOT_MINE if presented.token is None else Rejected(unrecognised(presented))

    @staticmethod
    async def _ask(authenticator: Authenticator, presented: Presented) -> Outcome:
        # An authenticator that breaks has decided nothing. "Unavailable" is the one outcome that lets nobody in and
        # does not call a good credential bad.
        try:
            outcome = await authenticator.authenticate(presented)
        except DatabaseUnavailable as error:
            return Unavailable(error)
        except Exception as error:  # noqa: BLE001
            log.error("authenticator failed", authenticator=authenticator.name, **describe(error))  # noqa: TRY400
            return Unavailable(DependencyUnavailable())
        if not isinstance(outcome, Outcome):
            log.error("authenticator answered none of the four outcomes", authenticator=authenticator.name)
            return Unavailable(DependencyUnavailable())
        return outcome
