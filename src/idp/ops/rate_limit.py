"""Rate limits, counted in Valkey for all processes together, or in memory where there is none (S3-54, SEC-8)."""

import asyncio
import functools
import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
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
from idp.ops.back_off import BackOff
from idp.settings_schema import RateLimits

log = structlog.get_logger("idp.rate_limit")


class Rule(Struct, frozen=True):
    """A limit and its name in metrics.

    Attributes:
        told: whether a client may know what is left of it.
        backs_off: whether using it up again and again means waiting longer. Never for an account: its owner would wait.
    """

    name: str
    item: RateLimitItem
    told: bool = True
    backs_off: bool = False


Counted = tuple[Rule, tuple[str, ...]]
# Each request is a task of its own, with a context of its own.
_COUNTED: ContextVar[dict[str, Counted] | None] = ContextVar("counted", default=None)


def counted_in_this_request() -> list[Counted]:
    """Return the rules that were asked about in this request, each with what it counts by."""
    return list((_COUNTED.get() or {}).values())


def _remember(rule: Rule, key: tuple[str, ...]) -> None:
    counted = _COUNTED.get()
    if counted is None:
        counted = {}
        _COUNTED.set(counted)
    counted[rule.name] = (rule, key)


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
        back_off: how long (seconds) a limit stays closed that is used up once, twice, and so on within a day.
    """

    def __init__(self, valkey: Valkey | None, *, back_off: Sequence[int] = ()) -> None:
        self._back_off = BackOff(valkey, back_off)
        self._local = MovingWindowRateLimiter(MemoryStorage())
        self._shared: RateLimiter | None = None
        if valkey is not None:
            # The address is only a form here: connections come from the pool that the caller owns and closes.
            storage = RedisStorage("async+valkey://", connection_pool=valkey.connection_pool)  # type: ignore[arg-type]
            self._shared = MovingWindowRateLimiter(storage)
        self._warned = False
        self._gates: WeakValueDictionary[tuple[str, ...], _Gate] = WeakValueDictionary()

    async def check(self, *counted: Counted) -> None:
        """Refuse if a limit is used up, without counting anything.

        Args:
            counted: each rule with what it counts by, such as an address.

        Raises:
            RateLimited: with `Retry-After` in seconds.
        """
        for rule, key in counted:
            _remember(rule, key)
            if rule.backs_off and (seconds := await self._back_off.seconds_left(_name(rule, key))):
                await self._refuse(rule, key, at_least=seconds)
            if not await self._ask("test", rule, key):
                await self._refuse(rule, key)

    async def count(self, *counted: Counted) -> None:
        """Count an attempt under each rule."""
        for rule, key in counted:
            await self._ask("hit", rule, key)
            if rule.backs_off and not await self._ask("test", rule, key):
                await self._back_off.close(_name(rule, key))

    async def take(self, *counted: Counted) -> None:
        """Count an attempt under each rule before it happens; of several at once none passes a limit.

        Raises:
            RateLimited: with `Retry-After` in seconds.
        """
        await self.check(*counted)
        for rule, key in counted:
            if not await self._ask("hit", rule, key):
                await self._refuse(rule, key)

    async def left(self, rule: Rule, key: tuple[str, ...]) -> tuple[int, int]:
        """Return how many attempts are left, and in how many seconds there will be more."""
        closed = await self._back_off.seconds_left(_name(rule, key)) if rule.backs_off else 0
        for limiter in self._limiters():
            try:
                stats = await limiter.get_window_stats(rule.item, rule.name, *key)
            except (ValkeyError, OSError):
                continue
            wait = max(1, int(stats.reset_time - time.time()) + 1, closed)
            return (0 if closed else max(0, stats.remaining)), min(wait, max(closed, rule.item.get_expiry()))
        return 0, closed

    @asynccontextmanager
    async def attempt(self, rule: Rule, key: tuple[str, ...], *further: Counted) -> AsyncIterator[Attempt]:
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
            await self.check((rule, key), *further)
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

    async def _refuse(self, rule: Rule, key: tuple[str, ...], *, at_least: int = 1) -> None:
        metrics.count_limited(rule.name)
        # The window slides, so the first free place comes at the latest when the oldest attempt leaves it.
        raise RateLimited(headers={"Retry-After": str(max(at_least, await self._seconds_left(rule, key)))})

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


def _name(rule: Rule, key: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join((rule.name, *key)).encode()).hexdigest()[:32]


class LoginRules:
    """The limits of sign-in and registration, from the settings."""

    def __init__(self, settings: RateLimits) -> None:
        window = settings.login_window_seconds
        pair, account, address = (
            RateLimitItemPerSecond(amount, window)
            for amount in (
                settings.failed_logins_per_pair,
                settings.failed_logins_per_account,
                settings.failed_logins_per_address,
            )
        )
        self._pair = Rule("login_pair", pair, backs_off=True)
        self._account = Rule("login_account", account, told=False)
        self._address = Rule("login_address", address, backs_off=True)
        self._register = Rule("register_address", RateLimitItemPerHour(settings.registrations_per_address_per_hour))
        self._resets = _two_rules("reset", settings.resets_per_account_per_hour, settings.resets_per_address_per_hour)
        self._verifications = _two_rules(
            "verification",
            settings.verifications_per_account_per_hour,
            settings.verifications_per_address_per_hour,
        )
        self._bad_link = Rule("bad_link_address", RateLimitItemPerHour(settings.bad_links_per_address_per_hour))
        self._of_address = {
            "login": self._address,
            "registration": self._register,
            "reset": self._resets[1],
            "verification": self._verifications[1],
            "link": self._bad_link,
        }

    def login(self, account: str, address: str, *, device: str | None = None) -> tuple[Counted, ...]:
        """Return what a failed login counts under: the pair, the account, the address.

        Args:
            account: the key of the address that was typed.
            address: where the request comes from.
            device: a device that has signed in to this account before. It counts by itself and not for the account, so
                that nobody who guesses at the account locks its owner out.
        """
        address = network(address)
        of_address = (self._address, (address,))
        if device is not None:
            return (self._pair, (account, f"device:{device}")), of_address
        return (self._pair, (account, address)), (self._account, (account,)), of_address

    def of_address(self, what: str, address: str) -> Counted:
        """Return what everything of a kind counts under that comes from an address."""
        return self._of_address[what], (network(address),)

    def registration(self, address: str) -> Counted:
        """Return what a registration counts under."""
        return self._register, (network(address),)

    def reset(self, account: str, address: str) -> tuple[Counted, ...]:
        """Return what asking for a new password counts under: the account, which need not exist, and the address."""
        return tuple(zip(self._resets, ((account,), (network(address),)), strict=True))

    def verification(self, account: str, address: str) -> tuple[Counted, ...]:
        """Return what asking for a link that verifies an address counts under, like `reset`."""
        return tuple(zip(self._verifications, ((account,), (network(address),)), strict=True))

    def bad_link(self, address: str) -> Counted:
        """Return what a link that does not work counts under."""
        return self._bad_link, (network(address),)


def _two_rules(name: str, per_account: int, per_address: int) -> tuple[Rule, Rule]:
    return (
        Rule(f"{name}_account", RateLimitItemPerHour(per_account), told=False),
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
