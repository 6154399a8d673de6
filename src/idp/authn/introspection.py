"""Credential -> verdict: the one decision behind the middleware and `/auth/validate` (rule 3)."""

from msgspec import Struct

from idp.authn.chain import AuthenticatorChain
from idp.authn.credential import Presented
from idp.authn.outcome import Authenticated, NotMine
from idp.authn.resolve import Resolver
from idp.errors import IdpError, Unauthenticated
from idp.ops import metrics
from idp.principal.model import Principal


class Verdict(Struct, frozen=True):
    """Either a principal, or the error that says why not: exactly one of them is set."""

    principal: Principal | None = None
    error: IdpError | None = None

    @property
    def unknown(self) -> bool:
        """Whether nothing could be decided: the answer is 503, never "invalid"."""
        return self.error is not None and self.error.status >= 500


class Introspector:
    """Decides about a credential, the same for everyone who asks."""

    def __init__(self, chain: AuthenticatorChain, resolver: Resolver) -> None:
        self._chain = chain
        self._resolver = resolver

    async def introspect(self, presented: Presented) -> Verdict:
        """Return the verdict; `Unauthenticated` if nothing was presented."""
        verdict = await self._decide(presented)
        if isinstance(verdict.error, Unauthenticated):
            return verdict
        metrics.count_attempt(
            method=verdict.principal.credential.method if verdict.principal else "unknown",
            outcome=verdict.error.code if verdict.error else "authenticated",
        )
        return verdict

    async def _decide(self, presented: Presented) -> Verdict:
        outcome = await self._chain.authenticate(presented)
        if isinstance(outcome, NotMine):
            return Verdict(error=Unauthenticated())
        if not isinstance(outcome, Authenticated):
            return Verdict(error=outcome.error)
        try:
            return Verdict(principal=await self._resolver.resolve(outcome))
        except IdpError as error:
            return Verdict(error=error)
