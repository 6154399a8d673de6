"""Rate limits, counted in Valkey for all processes together, or in memory where there is none (S3-54, SEC-8)."""

import asyncio
import functools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv6Address, ip_address
from weakref import WeakValueDictionary

import structlog
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter, RateLimiter
from msgspec import Struct
from valkey.asyncio import Valkey
from valkey.exceptions import ValkeyError

from idp.errors import RateLimited
from idp.ops import metrics
from idp.settings_schema import RateLimits

log = structlog.get_logger("idp.rate_limit")


class Rule(Struct, frozen=True):
    """A limit and its name in metrics."""

    name: str
    item: RateLimitItem


class _Gate:
    """Attempts under way for one key: together with the failures that are counted they never pass the limit."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.ended = asyncio.Event()
        self.under_way = 0


class Attempt:
    """An attempt under way."""

    def __init__(self) -> None:
        self.failed = False

    def fail(self) -> None:
        """Say that it failed, so that it counts."""
        self.failed = True


class Limiter:
    """Counts attempts.

    Args:
        valkey: shared storage; None counts in this process alone.
    """

    def __init__(self, valkey: Valkey | None) -> None:
        self._local = MovingWindowRateLimiter(MemoryStorage())
        self._shared: RateLimiter | None = None
        if valkey is not None:
            # The address is only a form here: connections come from the pool that the caller owns and closes.
            storage = RedisStorage("async+valkey://", connection_pool=valkey.connection_pool)  # type: ignore[arg-type]
            self._shared = MovingWindowRateLimiter(storage)
        self._warned = False
        self._gates: WeakValueDictionary[tuple[str, ...], _Gate] = WeakValueDictionary()

    async def check(self, *counted: tuple[Rule, tuple[str, ...]]) -> None:
        """Refuse if a limit is used up, without counting anything.

        Args:
            counted: each rule with what it counts by, such as an address.

        Raises:
            RateLimited: with `Retry-After` in seconds.
        """
        for rule, key in counted:
            if not await self._ask("test", rule, key):
                await self._refuse(rule, key)

    async def count(self, *counted: tuple[Rule, tuple[str, ...]]) -> None:
        """Count an attempt under each rule."""
        for rule, key in counted:
            await self._ask("hit", rule, key)

    @asynccontextmanager
    async def attempt(
        self, rule: Rule, key: tuple[str, ...], *further: tuple[Rule, tuple[str, ...]]
    ) -> AsyncIterator[Attempt]:
        """Let an attempt happen, and count it under all rules if it failed.

        Attempts at once could each see an unused limit, so as many as the first rule still allows go on together and
        the others wait for their outcome.

        Args:
            rule: the narrowest limit.
            key: what it counts by.
            further: wider limits.

        Raises:
            RateLimited: with `Retry-After` in seconds.
        """
        gate = self._gates.setdefault((rule.name, *key), _Gate())
        async with gate.turn:
            await self.check(*further)
            while not await self._ask("test", rule, key, cost=gate.under_way + 1):
                if gate.under_way == 0:
                    await self._refuse(rule, key)
                gate.ended.clear()
                await gate.ended.wait()
            gate.under_way += 1
        attempt = Attempt()
        try:
            yield attempt
        finally:
            try:
                if attempt.failed:
                    await self.count((rule, key), *further)
            finally:
                gate.under_way -= 1
                gate.ended.set()

    async def _refuse(self, rule: Rule, key: tuple[str, ...]) -> None:
        metrics.count_limited(rule.name)
        # The window slides, so the first free place comes at the latest when the oldest attempt leaves it.
        raise RateLimited(headers={"Retry-After": str(max(1, await self._seconds_left(rule, key)))})

    async def _seconds_left(self, rule: Rule, key: tuple[str, ...]) -> int:
        for limiter in self._limiters():
            try:
                return int((await limiter.get_window_stats(rule.item, rule.name, *key)).reset_time - time.time()) + 1
            except (ValkeyError, OSError):
                continue
        return 1

    def _limiters(self) -> list[RateLimiter]:
        return [self._shared, self._local] if self._shared else [self._local]

    async def _ask(self, verb: str, rule: Rule, key: tuple[str, ...], *, cost: int = 1) -> bool:
        for limiter in self._limiters():
            try:
                answer: bool = await getattr(limiter, verb)(rule.item, rule.name, *key, cost=cost)
            except (ValkeyError, OSError) as error:
                if not self._warned:
                    log.warning("valkey unavailable: limits count in this process alone", error=type(error).__name__)
                self._warned = True
            else:
                self._warned = self._warned and limiter is self._local
                return answer
        return True


class LoginRules:
    """The limits of sign-in and registration, from the settings."""

    def __init__(self, settings: RateLimits) -> None:
        window = settings.login_window_seconds
        self._pair = Rule("login_pair", RateLimitItemPerSecond(settings.failed_logins_per_pair, window))
        self._account = Rule("login_account", RateLimitItemPerSecond(settings.failed_logins_per_account, window))
        self._address = Rule("login_address", RateLimitItemPerSecond(settings.failed_logins_per_address, window))
        self._register = Rule("register_address", RateLimitItemPerHour(settings.registrations_per_address_per_hour))
        self._resets = _two_rules("reset", settings.resets_per_account_per_hour, settings.resets_per_address_per_hour)
        self._verifications = _two_rules(
            "verification",
            settings.verifications_per_account_per_hour,
            settings.verifications_per_address_per_hour,
        )
        self._bad_link = Rule("bad_link_address", RateLimitItemPerHour(settings.bad_links_per_address_per_hour))

    def login(self, account: str, address: str) -> tuple[tuple[Rule, tuple[str, ...]], ...]:
        """Return what a failed login counts under: the pair, the account, the address."""
        address = network(address)
        return (self._pair, (account, address)), (self._account, (account,)), (self._address, (address,))

    def registration(self, address: str) -> tuple[Rule, tuple[str, ...]]:
        """Return what a registration counts under."""
        return self._register, (network(address),)

    def reset(self, account: str, address: str) -> tuple[tuple[Rule, tuple[str, ...]], ...]:
        """Return what asking for a new password counts under: the account, which need not exist, and the address."""
        return tuple(zip(self._resets, ((account,), (network(address),)), strict=True))

    def verification(self, account: str, address: str) -> tuple[tuple[Rule, tuple[str, ...]], ...]:
        """Return what asking for a link that verifies an address counts under, like `reset`."""
        return tuple(zip(self._verifications, ((account,), (network(address),)), strict=True))

    def bad_link(self, address: str) -> tuple[Rule, tuple[str, ...]]:
        """Return what a link that does not work counts under."""
        return self._bad_link, (network(address),)


def _two_rules(name: str, per_account: int, per_address: int) -> tuple[Rule, Rule]:
    return (
        Rule(f"{name}_account", RateLimitItemPerHour(per_account)),
        Rule(f"{name}_address", RateLimitItemPerHour(per_address)),
    )


@functools.lru_cache(maxsize=4096)
def network(address: str) -> str:
    """Return what one client has to itself: an IPv4 address, or the /64 that every IPv6 client owns whole."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or f"{IPv6Address(int(parsed) >> 64 << 64)}/64")
    return str(parsed)
