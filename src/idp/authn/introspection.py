"""The verdict about a credential, shared by the middleware, validate, validate-key and RFC 7662 (rule 3)."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from idp import checks, clock
from idp.apikeys.usage import Usage
from idp.authn.chain import AuthenticatorChain
from idp.authn.credential import Headers, Presented, from_headers, from_token, unauthenticated
from idp.authn.imported_keys import asking_client
from idp.authn.outcome import Authenticated, NotMine, Rejected
from idp.authn.resolve import Resolver
from idp.authn.resolved import Resolved
from idp.authn.verdicts import Verdict, Verdicts
from idp.checks import Trace
from idp.db.snapshot import Stamp
from idp.errors import IdpError, Unauthenticated
from idp.ops import metrics
from idp.ops.bad_credential_limit import BadCredentialLimit
from idp.sessions.activity import Activity

# Later callers start a new look-up, so that no verdict is older than its request by more than this.
_SHARED_FLIGHT_SECONDS = 0.1
_SHARED_READS = 3


class Decided(NamedTuple):
    """A verdict with its stamp, its dependencies, and `Verdicts.known_changes` from before the read."""

    verdict: Verdict
    stamp: Stamp | None
    depends_on: tuple[str, ...]
    read_version: int


class _Flight:
    """A running decision that concurrent callers share (single-flight)."""

    def __init__(self) -> None:
        self.started_at = time.monotonic()
        self._result: asyncio.Future[Decided | None] | None = None  # created by the first waiter

    async def wait(self) -> Decided | None:
        """Return the shared decision; None if it cannot be shared."""
        if self._result is None:
            self._result = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._result)

    def set_result(self, decided: Decided | None) -> None:
        if self._result is not None and not self._result.done():
            self._result.set_result(decided)


class Introspector:
    """Decides about credentials.

    Args:
        chain: the authenticators.
        resolver: resolves subjects to principals.
        verdicts: the verdict cache.
        usage: records used keys.
        activity: records used sessions.
        bad_credentials: counts invalid credentials per address.
        is_key: whether a credential has the prefix of a key or service token.
        is_intact: whether it also has their format and checksum.
    """

    def __init__(
        self,
        chain: AuthenticatorChain,
        resolver: Resolver,
        *,
        verdicts: Verdicts,
        usage: Usage,
        activity: Activity,
        bad_credentials: BadCredentialLimit,
        is_key: Callable[[str], bool],
        is_intact: Callable[[str], bool],
    ) -> None:
        self.chain = chain
        self._resolver = resolver
        self._verdicts = verdicts
        self._usage = usage
        self._activity = activity
        self._bad_credentials = bad_credentials
        self._is_key = is_key
        self._is_intact = is_intact
        self._flights: dict[bytes, _Flight] = {}

    async def introspect(self, presented: Presented, *, client: str | None = None, confirm: bool = False) -> Verdict:
        """Return the verdict; `Unauthenticated` without a credential.

        Args:
            presented: the credential.
            client: the client's address; None for internal calls.
            confirm: ignore verdicts from Valkey, which others may have written.

        Raises:
            RateLimited: the address sent too many invalid credentials, and this one is not cached.
        """
        if presented.token is not None:
            return await self._introspect(presented.token, lambda: presented, client, confirm=confirm)
        started = time.perf_counter()
        verdict, _, _ = await self._decide(presented, confirm=confirm)
        if not isinstance(verdict.error, Unauthenticated):
            self._count(verdict, "database", started)
        return verdict

    async def introspect_token(self, token: str, *, client: str | None) -> Verdict:
        """Return the verdict about an explicit credential only. Raises as `introspect`."""
        return await self._introspect(token, lambda: from_token(token), client)

    def token_at_once(self, token: str, *, client: str | None) -> Verdict | Awaitable[Verdict]:
        """Return what `introspect_token` returns, without waiting if it is in memory."""
        return self._at_once(token, lambda: from_token(token), client)

    def caller_at_once(self, token: str, headers: Headers, *, client: str | None) -> Verdict | Awaitable[Verdict]:
        """Return the verdict about these headers, whose explicit credential is already parsed, as `token_at_once`."""
        return self._at_once(token, lambda: from_headers(headers), client)

    async def explain(
        self, presented: Presented, trace: Trace, *, client: str | None, confirm: bool = False
    ) -> Verdict:
        """Return the same verdict as `introspect`, and record how it came about.

        A verdict from a cache says nothing about its checks, so it is decided once more from the database. Nothing is
        counted as used.

        Args:
            presented: the credential.
            trace: records the decision.
            client: the client's address; None for internal calls.
            confirm: ignore verdicts from Valkey.

        Raises:
            RateLimited: as `introspect`.
        """
        with checks.recording(trace):
            if presented.token is None:
                verdict = (await self._decide(presented, confirm=confirm))[0]
            else:
                verdict = await self._introspect(
                    presented.token, lambda: presented, client, confirm=confirm, trace=trace
                )
            if not trace.steps or any(each.source != "database" for each in trace.readings):
                readings, trace.fresh = trace.readings, True
                trace.again = (await self._decide(presented, confirm=True))[0].outcome
                trace.readings = readings
            return verdict

    def _tell(self, trace: Trace, name: bytes, source: str) -> None:
        """Record where a verdict came from."""
        entry = self._verdicts.entry(name) if source != "database" else None
        age = clock.seconds() - entry.read_at if entry is not None else 0.0
        place = "valkey" if source == "shared" else source
        trace.readings.insert(0, checks.Reading("verdict", place, round(age, 3)))

    def _at_once(
        self, token: str, present: Callable[[], Presented], client: str | None
    ) -> Verdict | Awaitable[Verdict]:
        started = time.perf_counter()
        name = self._verdicts.name(token)
        verdict = self._verdicts.get_cached(name)
        if verdict is None:
            return self._introspect_uncached(token, name, present, client, started)
        self._record(verdict, "memory", client, started)
        return verdict

    async def _introspect(
        self,
        token: str,
        present: Callable[[], Presented],
        client: str | None,
        *,
        confirm: bool = False,
        trace: Trace | None = None,
    ) -> Verdict:
        started = time.perf_counter()
        name = self._verdicts.name(token)
        verdict = self._verdicts.get_cached(name)
        if verdict is None or (confirm and verdict.hint):
            return await self._introspect_uncached(token, name, present, client, started, confirm=confirm, trace=trace)
        self._record(verdict, "memory", client, started, trace, name)
        return verdict

    async def _introspect_uncached(
        self,
        token: str,
        name: bytes,
        present: Callable[[], Presented],
        client: str | None,
        started: float,
        *,
        confirm: bool = False,
        trace: Trace | None = None,
    ) -> Verdict:
        """Return the verdict from Valkey or, with `confirm` always, from the database."""
        presented, verdict, source = present(), None, "shared"
        if presented.jwt is None and not confirm:  # verifying a JWT locally is faster than a look-up in Valkey
            verdict = await self._verdicts.shared(name)
        if verdict is None:
            if self._is_key(token):  # only keys need a look-up before any verification
                self._bad_credentials.check(client, plausible=lambda: self._is_intact(token))
                asking_client.set(client)
            verdict, source = await self._look_up(name, presented, confirm), "database"
        self._record(verdict, source, client, started, trace, name)
        return verdict

    def _record(
        self,
        verdict: Verdict,
        source: str,
        client: str | None,
        started: float,
        trace: Trace | None = None,
        name: bytes = b"",
    ) -> None:
        """Count a verdict, or record it in an explanation."""
        if verdict.error is not None and not verdict.unknown:
            self._bad_credentials.count(client)
        if trace is None:
            self._count(verdict, source, started)
        else:
            self._tell(trace, name, source)

    def _count(self, verdict: Verdict, source: str, started: float) -> None:
        metrics.observe_decision(verdict.kind, verdict.method, verdict.outcome, source, time.perf_counter() - started)
        if verdict.error is None:
            if verdict.key is not None:
                self._usage.note(verdict.key)
            elif verdict.session is not None:
                self._activity.note(verdict.session)

    # --- deciding ----------------------------------------------------------------------------------------------------

    async def _look_up(self, name: bytes, presented: Presented, confirm: bool) -> Verdict:
        """Decide once for concurrent callers; again if a change arrived meanwhile that the read does not include.

        A user whose memberships change continuously would be read forever. So the last read is not shared: it began
        after the request, so a change that it does not include was committed during the request, and the verdict was
        correct meanwhile. It is not cached.
        """
        for _ in range(_SHARED_READS):
            decision = await (self._confirm(name, presented) if confirm else self._share(name, presented))
            if not self._verdicts.outdated(decision.stamp, decision.depends_on, decision.read_version):
                return decision.verdict
        decided, _ = await self._decide_and_keep(name, presented, confirm=confirm)
        return decided.verdict

    async def _confirm(self, name: bytes, presented: Presented) -> Decided:
        """Decide by the database only; a shared decision may use Valkey."""
        return (await self._decide_and_keep(name, presented, confirm=True))[0]

    async def _share(self, name: bytes, presented: Presented) -> Decided:
        flight = self._flights.get(name)
        if flight is not None and time.monotonic() - flight.started_at <= _SHARED_FLIGHT_SECONDS:
            decided = await flight.wait()
            if decided is not None:
                return decided
            return (await self._decide_and_keep(name, presented))[0]
        flight = self._flights[name] = _Flight()
        shared_result: Decided | None = None
        try:
            decided, cacheable = await self._decide_and_keep(name, presented)
            # If the decision depends on other headers, another caller's verdict may differ.
            shared_result = decided if cacheable or decided.verdict.unknown else None
            return decided
        finally:
            if self._flights.get(name) is flight:
                del self._flights[name]
            flight.set_result(shared_result)

    async def _decide_and_keep(
        self, name: bytes, presented: Presented, *, confirm: bool = False
    ) -> tuple[Decided, bool]:
        """Decide and cache; also return whether the decision depends on the credential only."""
        signing = self._verdicts.signing if presented.jwt is not None else None
        read_version = self._verdicts.known_changes
        verdict, resolved, cacheable = await self._decide(presented, confirm=confirm)
        stamp, depends_on = (resolved.stamp, resolved.depends_on) if resolved else (None, ())
        if resolved is not None and resolved.read_version is not None:
            read_version = resolved.read_version
        if cacheable and not self._verdicts.outdated(stamp, depends_on, read_version):
            self._verdicts.keep(name, verdict, stamp, depends_on, read_version=read_version, signing=signing)
        return Decided(verdict, stamp, depends_on, read_version), cacheable

    async def _decide(self, presented: Presented, *, confirm: bool) -> tuple[Verdict, Resolved | None, bool]:
        """Return the verdict, the resolved subject, and whether the verdict may be cached."""
        outcome = await self.chain.authenticate(presented)
        if isinstance(outcome, NotMine):
            return Verdict(error=unauthenticated(presented)), None, False
        if not isinstance(outcome, Authenticated):
            return Verdict(error=outcome.error), None, isinstance(outcome, Rejected) and outcome.cacheable
        try:
            resolved = await self._resolver.resolve(outcome, confirm=confirm)
        except IdpError as error:
            return Verdict(error=error), None, False
        verdict = Verdict(resolved.principal, resolved.error, resolved.key, hint=resolved.hint)
        return verdict, resolved, outcome.cacheable
