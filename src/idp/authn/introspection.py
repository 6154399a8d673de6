"""Credential -> verdict: the one decision behind the middleware, validate, validate-key and RFC 7662 (rule 3)."""

import asyncio
import time
from collections.abc import Callable

from idp.apikeys.usage import Usage
from idp.authn.chain import AuthenticatorChain
from idp.authn.credential import Presented, from_token
from idp.authn.outcome import Authenticated, NotMine, Rejected
from idp.authn.resolve import Resolved, Resolver
from idp.authn.verdicts import Verdict, Verdicts
from idp.db.snapshot import Stamp
from idp.errors import DatabaseUnavailable, IdpError, Unauthenticated
from idp.ops import metrics
from idp.ops.flood import Flood

_SHARED_FLIGHT_SECONDS = 0.1  # whoever comes later asks anew, so that no answer is older than its question by more
_READS = 3


class _Flight:
    """A decision under way, which callers at the same moment share."""

    def __init__(self, task: "asyncio.Task[tuple[Verdict, Stamp | None, tuple[str, ...]]]") -> None:
        self.task = task
        self.began = time.monotonic()


class Introspector:
    """Decides about a credential, the same for everyone who asks.

    Args:
        chain: the authenticators.
        resolver: finds out who it is.
        verdicts: what was decided before.
        usage: notes which keys were used.
        flood: counts bad credentials by address.
        is_intact: whether a credential has the form and checksum of a key of ours.
    """

    def __init__(
        self,
        chain: AuthenticatorChain,
        resolver: Resolver,
        *,
        verdicts: Verdicts,
        usage: Usage,
        flood: Flood,
        is_intact: Callable[[str], bool],
    ) -> None:
        self.chain = chain
        self._resolver = resolver
        self._verdicts = verdicts
        self._usage = usage
        self._flood = flood
        self._is_intact = is_intact
        self._flights: dict[bytes, _Flight] = {}

    def remembered(self, token: str) -> Verdict | None:
        """Return the verdict about an explicit credential, if it is in memory and may be used."""
        started = time.perf_counter()
        verdict = self._verdicts.remembered(self._verdicts.name(token))
        if verdict is not None:
            self._count(verdict, "memory", started)
        return verdict

    async def introspect(self, presented: Presented, *, client: str | None = None) -> Verdict:
        """Return the verdict; `Unauthenticated` if nothing was presented.

        Args:
            presented: what the caller presented.
            client: the address that asks; None for questions of our own.

        Raises:
            RateLimited: this address sent too many bad credentials, and this one would have to be looked up.
        """
        started = time.perf_counter()
        if presented.token is None:
            undecided, _, _ = await self._decide(presented)
            if not isinstance(undecided.error, Unauthenticated):
                self._count(undecided, "database", started)
            return undecided
        name = self._verdicts.name(presented.token)
        verdict, source = self._verdicts.remembered(name), "memory"
        if verdict is None:
            verdict, source = await self._verdicts.shared(name), "shared"
        if verdict is None:
            self._flood.check(client, plausible=presented.jwt is not None or self._is_intact(presented.token))
            verdict, source = await self._look_up(name, presented), "database"
        if verdict.error is not None and not verdict.unknown:
            self._flood.count(client)
        self._count(verdict, source, started)
        return verdict

    async def introspect_token(self, token: str, *, client: str | None) -> Verdict:
        """Return the verdict about a credential that somebody asks about."""
        return self.remembered(token) or await self.introspect(from_token(token), client=client)

    def _count(self, verdict: Verdict, source: str, started: float) -> None:
        metrics.observe_decision(verdict.kind, verdict.method, verdict.outcome, source, time.perf_counter() - started)
        if verdict.key is not None and verdict.error is None:
            self._usage.note(verdict.key)

    # --- deciding ----------------------------------------------------------------------------------------------------

    async def _look_up(self, name: bytes, presented: Presented) -> Verdict:
        """Decide, once for all who ask at the same moment; again if a change was heard meanwhile that was not seen."""
        for _ in range(_READS):
            verdict, stamp, about = await self._share(name, presented)
            if not self._verdicts.outdated(stamp, about):
                return verdict
        return Verdict(error=DatabaseUnavailable())

    async def _share(self, name: bytes, presented: Presented) -> tuple[Verdict, Stamp | None, tuple[str, ...]]:
        flight = self._flights.get(name)
        if flight is None or time.monotonic() - flight.began > _SHARED_FLIGHT_SECONDS or flight.task.done():
            flight = self._flights[name] = _Flight(asyncio.create_task(self._decide_and_keep(name, presented)))
            flight.task.add_done_callback(lambda _: self._land(name, flight))
        return await asyncio.shield(flight.task)

    def _land(self, name: bytes, flight: _Flight) -> None:
        if self._flights.get(name) is flight:
            del self._flights[name]

    async def _decide_and_keep(
        self, name: bytes, presented: Presented
    ) -> tuple[Verdict, Stamp | None, tuple[str, ...]]:
        verdict, resolved, cacheable = await self._decide(presented)
        stamp, about = (resolved.stamp, resolved.about) if resolved else (None, ())
        if cacheable and not self._verdicts.outdated(stamp, about):
            self._verdicts.keep(name, verdict, stamp, about)
        return verdict, stamp, about

    async def _decide(self, presented: Presented) -> tuple[Verdict, Resolved | None, bool]:
        """Return the verdict, what was read for it, and whether it may be kept."""
        outcome = await self.chain.authenticate(presented)
        if isinstance(outcome, NotMine):
            return Verdict(error=Unauthenticated()), None, False
        if not isinstance(outcome, Authenticated):
            return Verdict(error=outcome.error), None, isinstance(outcome, Rejected) and outcome.cacheable
        try:
            resolved = await self._resolver.resolve(outcome)
        except IdpError as error:
            return Verdict(error=error), None, False
        return Verdict(resolved.principal, resolved.error, resolved.key), resolved, outcome.cacheable
