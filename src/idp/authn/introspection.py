"""Credential -> verdict: the one decision behind the middleware, validate, validate-key and RFC 7662 (rule 3)."""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from idp.apikeys.usage import Usage
from idp.authn.chain import AuthenticatorChain
from idp.authn.credential import Headers, Presented, from_headers, from_token, unauthenticated
from idp.authn.imported_keys import asking_client
from idp.authn.outcome import Authenticated, NotMine, Rejected
from idp.authn.resolve import Resolved, Resolver
from idp.authn.verdicts import Verdict, Verdicts
from idp.db.snapshot import Stamp
from idp.errors import IdpError, Unauthenticated
from idp.ops import metrics
from idp.ops.bad_credential_limit import BadCredentialLimit
from idp.sessions.activity import Activity

_SHARED_FLIGHT_SECONDS = 0.1  # whoever comes later asks anew, so that no answer is older than its question by more
_SHARED_READS = 3


class Decided(NamedTuple):
    """A verdict, the stamp of the statement that read it, what it depends on, and `Verdicts.heard` before that."""

    verdict: Verdict
    stamp: Stamp | None
    about: tuple[str, ...]
    began: int


class _Flight:
    """A decision under way: its first caller makes it, callers at the same moment wait for it."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self._landing: asyncio.Future[Decided | None] | None = None  # made when somebody waits

    async def join(self) -> Decided | None:
        """Return what was decided; None where it was about more than the credential, or nobody knows."""
        if self._landing is None:
            self._landing = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._landing)

    def land(self, decided: Decided | None) -> None:
        if self._landing is not None and not self._landing.done():
            self._landing.set_result(decided)


class Introspector:
    """Decides about a credential, the same for everyone who asks.

    Args:
        chain: the authenticators.
        resolver: finds out who it is.
        verdicts: what was decided before.
        usage: notes which keys were used.
        activity: notes which sessions were used.
        bad_credentials: counts bad credentials by address.
        is_key: whether a credential is a key or service token by its prefix.
        is_intact: whether it has the form and checksum of one, too.
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
        """Return the verdict; `Unauthenticated` if nothing was presented.

        Args:
            presented: what the caller presented.
            client: the address that asks; None for questions of our own.
            confirm: whether nothing from Valkey will do, which everybody who can write there may have written.

        Raises:
            RateLimited: this address sent too many bad credentials, and this one would have to be looked up.
        """
        if presented.token is not None:
            return await self._introspect(presented.token, lambda: presented, client, confirm=confirm)
        started = time.perf_counter()
        verdict, _, _ = await self._decide(presented, confirm=confirm)
        if not isinstance(verdict.error, Unauthenticated):
            self._count(verdict, "database", started)
        return verdict

    async def introspect_token(self, token: str, *, client: str | None) -> Verdict:
        """Return the verdict about an explicit credential, and about nothing else. Raises what `introspect` raises."""
        return await self._introspect(token, lambda: from_token(token), client)

    async def introspect_caller(self, token: str, headers: Headers, *, client: str | None) -> Verdict:
        """Return what `introspect` returns about these headers, whose explicit credential is known already."""
        return await self._introspect(token, lambda: from_headers(headers), client)

    async def _introspect(
        self, token: str, present: Callable[[], Presented], client: str | None, *, confirm: bool = False
    ) -> Verdict:
        started = time.perf_counter()
        name = self._verdicts.name(token)
        verdict, source = self._verdicts.remembered(name), "memory"
        if verdict is None or (confirm and verdict.hint):
            presented, verdict = present(), None
            if (
                presented.jwt is None and not confirm
            ):  # what a JWT says of itself is verified here faster than it is fetched
                verdict, source = await self._verdicts.shared(name), "shared"
            if verdict is None:
                if self._is_key(token):  # the only kind that is looked up before anything else is known of it
                    self._bad_credentials.check(client, plausible=lambda: self._is_intact(token))
                    asking_client.set(client)
                verdict, source = await self._look_up(name, presented, confirm), "database"
        if verdict.error is not None and not verdict.unknown:
            self._bad_credentials.count(client)
        self._count(verdict, source, started)
        return verdict

    def _count(self, verdict: Verdict, source: str, started: float) -> None:
        metrics.observe_decision(verdict.kind, verdict.method, verdict.outcome, source, time.perf_counter() - started)
        if verdict.error is None:
            if verdict.key is not None:
                self._usage.note(verdict.key)
            elif verdict.session is not None:
                self._activity.note(verdict.session)

    # --- deciding ----------------------------------------------------------------------------------------------------

    async def _look_up(self, name: bytes, presented: Presented, confirm: bool) -> Verdict:
        """Decide, once for all who ask at the same moment; again if a change was heard meanwhile that was not seen.

        Somebody whose memberships change all the time would be read for ever. So the last read is this caller's own:
        no other question's, and nothing that was read before this question was asked. A change that it did not see was
        committed after it began, so the answer was true while the question was under way. It is not remembered.
        """
        for _ in range(_SHARED_READS):
            it = await (self._confirm(name, presented) if confirm else self._share(name, presented))
            if not self._verdicts.outdated(it.stamp, it.about, it.began):
                return it.verdict
        decided, _ = await self._decide_and_keep(name, presented, confirm=confirm)
        return decided.verdict

    async def _confirm(self, name: bytes, presented: Presented) -> Decided:
        """Decide by the database alone; another's decision under way may rest on Valkey."""
        return (await self._decide_and_keep(name, presented, confirm=True))[0]

    async def _share(self, name: bytes, presented: Presented) -> Decided:
        flight = self._flights.get(name)
        if flight is not None and time.monotonic() - flight.began <= _SHARED_FLIGHT_SECONDS:
            decided = await flight.join()
            if decided is not None:
                return decided
            return (await self._decide_and_keep(name, presented))[0]
        flight = self._flights[name] = _Flight()
        landing: Decided | None = None
        try:
            decided, of_itself = await self._decide_and_keep(name, presented)
            # Another caller's headers may decide otherwise, where more than the credential is looked at.
            landing = decided if of_itself or decided.verdict.unknown else None
            return decided
        finally:
            if self._flights.get(name) is flight:
                del self._flights[name]
            flight.land(landing)

    async def _decide_and_keep(
        self, name: bytes, presented: Presented, *, confirm: bool = False
    ) -> tuple[Decided, bool]:
        """Decide, and say whether the credential by itself decided it."""
        signing = self._verdicts.signing if presented.jwt is not None else None
        began = self._verdicts.known_changes
        verdict, resolved, cacheable = await self._decide(presented, confirm=confirm)
        stamp, about = (resolved.stamp, resolved.about) if resolved else (None, ())
        if resolved is not None and resolved.began is not None:
            began = resolved.began
        if cacheable and not self._verdicts.outdated(stamp, about, began):
            self._verdicts.keep(name, verdict, stamp, about, began=began, signing=signing)
        return Decided(verdict, stamp, about, began), cacheable

    async def _decide(self, presented: Presented, *, confirm: bool) -> tuple[Verdict, Resolved | None, bool]:
        """Return the verdict, what was read for it, and whether it may be kept."""
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
