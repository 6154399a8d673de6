"""Rate limits, counted in Valkey for all processes and always in this process too (S3-54, SEC-8).

Counters are named by a keyed digest of length-prefixed parts: Valkey holds no addresses, and different lists of parts
never share a counter.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from limits import WindowStats
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter, RateLimiter

from idp.cache import SharedStore, StoreUnavailable
from idp.errors import RateLimited
from idp.ops import metrics
from idp.ops.back_off import BackOff
from idp.ops.local_windows import LocalWindows
from idp.ops.rate_limit_rules import Counted, Rule

T = TypeVar("T")


class CheckedRule:
    """A rule that was checked in a request, for its headers.

    Attributes:
        rule: the rule.
        key: the value it counts by, such as an address.
        window: its state when it was read, None if that may have changed.
    """

    __slots__ = ("key", "rule", "window")

    def __init__(self, rule: Rule, key: tuple[str, ...]) -> None:
        self.rule, self.key = rule, key
        self.window: WindowStats | None = None


# Each request runs in a task with its own context.
_CHECKED: ContextVar[dict[str, CheckedRule] | None] = ContextVar("checked_rules", default=None)


def take_checked_rules() -> list[CheckedRule]:
    """Return the rules that were checked in this request, and clear them."""
    checked = _CHECKED.get() or {}
    _CHECKED.set(None)  # pipelined requests share a context
    return list(checked.values())


def _checked(rule: Rule, key: tuple[str, ...]) -> CheckedRule:
    checked = _CHECKED.get()
    if checked is None:
        checked = {}
        _CHECKED.set(checked)
    found = checked.get(rule.name)
    if found is None or found.key != key:
        found = checked[rule.name] = CheckedRule(rule, key)
    return found


class _Gate:
    """Attempts in progress for one key; with the counted failures they never exceed the limit."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.ended = asyncio.Event()
        self.in_progress = 0


class Attempt:
    """An attempt in progress."""

    def __init__(self) -> None:
        self.failed = False

    def fail(self) -> None:
        """Mark it as failed, so that it is counted."""
        self.failed = True


class Limiter:
    """Counts attempts.

    Args:
        store: Valkey; while it is unavailable, only this process counts.
        key: 32 bytes for the names of counters.
        back_off: durations (seconds) of blocks after a limit is exhausted once, twice, and so on within a day.
    """

    def __init__(self, store: SharedStore, *, key: bytes, back_off: Sequence[int] = ()) -> None:
        self._store = store
        self._key = key
        self._back_off = BackOff(store, back_off)
        self._local = LocalWindows()
        self._shared: RateLimiter | None = None
        if store.valkey is not None:
            # The URL is not used: connections come from the pool of the store.
            pool: Any = store.valkey.connection_pool
            storage = RedisStorage("async+valkey://", key_prefix="idp:limits", connection_pool=pool)
            self._shared = MovingWindowRateLimiter(storage)
        self._gates: WeakValueDictionary[str, _Gate] = WeakValueDictionary()

    async def check(self, *counted: Counted) -> None:
        """Refuse if a limit is exhausted, without counting anything.

        Args:
            counted: each rule with its key, such as an address.

        Raises:
            RateLimited: with `Retry-After` in seconds.
        """
        for rule, key in counted:
            await self._check_open(rule, key)
            if not await self._has_room(rule, key):
                await self._refuse(rule, key)

    async def _check_open(self, rule: Rule, key: tuple[str, ...]) -> None:
        """Refuse if this key is blocked by back-off."""
        _checked(rule, key)
        if rule.backs_off and (seconds := await self._back_off.seconds_left(self._name(rule, key))):
            await self._refuse(rule, key, at_least=seconds)

    async def count(self, *counted: Counted) -> None:
        """Count an attempt under each rule."""
        for rule, key in counted:
            await self._hit(rule, key)
            if rule.backs_off and not await self._has_room(rule, key):
                await self._back_off.close(self._name(rule, key))
                _checked(rule, key).window = None

    async def take(self, *counted: Counted) -> None:
        """Count an attempt under each rule before it happens, so that concurrent ones never exceed a limit.

        Raises:
            RateLimited: with `Retry-After` in seconds.
        """
        await self.check(*counted)
        for rule, key in counted:
            if not await self._hit(rule, key):
                await self._refuse(rule, key)

    async def remaining(self, checked: CheckedRule) -> tuple[int, int]:
        """Return how many attempts are left, and after how many seconds there will be more."""
        rule, window, closed = checked.rule, checked.window, 0
        if window is None:
            closed = await self._back_off.seconds_left(self._name(rule, checked.key)) if rule.backs_off else 0
            window = await self._window(rule, checked.key)
        wait = max(1, int(window.reset_time - time.time()) + 1, closed)
        return (0 if closed else max(0, window.remaining)), min(wait, max(closed, rule.item.get_expiry()))

    @asynccontextmanager
    async def attempt(self, rule: Rule, key: tuple[str, ...], *further: Counted) -> AsyncIterator[Attempt]:
        """Run an attempt, and count it under all rules if it failed.

        Concurrent attempts could each see an unused limit. So at most as many as the first rule still allows run
        together; the others wait for their outcome.

        Args:
            rule: the narrowest limit.
            key: the value it counts by, such as an address.
            further: wider limits.

        Raises:
            RateLimited: with `Retry-After` in seconds.
        """
        gate = self._gates.setdefault(self._name(rule, key), _Gate())
        async with gate.turn:
            await self.check(*further)
            await self._check_open(rule, key)
            while not await self._has_room(rule, key, cost=gate.in_progress + 1):
                if gate.in_progress == 0:
                    await self._refuse(rule, key)
                gate.ended.clear()
                await gate.ended.wait()
            gate.in_progress += 1
        attempt = Attempt()
        try:
            yield attempt
        finally:
            try:
                if attempt.failed:
                    await self.count((rule, key), *further)
            finally:
                gate.in_progress -= 1
                gate.ended.set()

    async def _refuse(self, rule: Rule, key: tuple[str, ...], *, at_least: int = 1) -> None:
        metrics.count_limited(rule.name)
        _checked(rule, key).window = None
        # The window moves: the next attempt is allowed when the oldest one leaves it.
        seconds_left = int((await self._window(rule, key)).reset_time - time.time()) + 1
        raise RateLimited(headers={"Retry-After": str(max(at_least, seconds_left))})

    async def _has_room(self, rule: Rule, key: tuple[str, ...], *, cost: int = 1) -> bool:
        window = _checked(rule, key).window = await self._window(rule, key)
        return window.remaining >= cost

    async def _window(self, rule: Rule, key: tuple[str, ...]) -> WindowStats:
        name = self._name(rule, key)
        local = self._local.stats(rule.item, name)
        shared = await self._ask(lambda limiter: limiter.get_window_stats(rule.item, name))
        # The stricter count: Valkey knows the other processes, this process the time without Valkey.
        return local if shared is None or local.remaining < shared.remaining else shared

    async def _hit(self, rule: Rule, key: tuple[str, ...]) -> bool:
        _checked(rule, key).window = None
        name = self._name(rule, key)
        local = self._local.hit(rule.item, name)
        shared = await self._ask(lambda limiter: limiter.hit(rule.item, name))
        return local and shared is not False

    async def _ask(self, question: Callable[[RateLimiter], Awaitable[T]]) -> T | None:
        """Return the count of all processes, None while Valkey is unavailable."""
        shared = self._shared
        if shared is None:
            return None
        try:
            return await self._store.run(lambda _: question(shared))
        except StoreUnavailable:
            return None

    def _name(self, rule: Rule, key: tuple[str, ...]) -> str:
        return counter_name(self._key, rule.name, *key)


def counter_name(key: bytes, *parts: str) -> str:
    """Return the name of a counter: a keyed digest of its length-prefixed parts."""
    encoded = (part.encode("utf-8", "surrogatepass") for part in parts)
    framed = b"".join(len(part).to_bytes(4, "big") + part for part in encoded)
    return hashlib.blake2b(framed, digest_size=16, key=key, person=b"counter").hexdigest()
