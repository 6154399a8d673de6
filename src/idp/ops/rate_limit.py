"""Rate limits, counted in Valkey for all processes together, and always in this process too (S3-54, SEC-8).

What is counted has a keyed digest for a name, over parts whose lengths are part of it: nobody who reads Valkey learns
an address or what was typed for one, and no two lists of parts have the same name.
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


class Asked:
    """A rule that was asked about in a request.

    Attributes:
        rule: which.
        key: what it counts by.
        window: what it said, None where it may be another by now.
    """

    __slots__ = ("key", "rule", "window")

    def __init__(self, rule: Rule, key: tuple[str, ...]) -> None:
        self.rule, self.key = rule, key
        self.window: WindowStats | None = None


# Each request is a task of its own, with a context of its own.
_ASKED: ContextVar[dict[str, Asked] | None] = ContextVar("asked", default=None)


def asked_in_this_request() -> list[Asked]:
    """Return the rules that were asked about in this request; the next one begins anew."""
    asked = _ASKED.get() or {}
    _ASKED.set(None)  # requests that were sent at once over one connection share a context
    return list(asked.values())


def _asked(rule: Rule, key: tuple[str, ...]) -> Asked:
    asked = _ASKED.get()
    if asked is None:
        asked = {}
        _ASKED.set(asked)
    found = asked.get(rule.name)
    if found is None or found.key != key:
        found = asked[rule.name] = Asked(rule, key)
    return found


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
        store: shared storage; where it is not available, this process alone counts.
        key: 32 bytes that name what is counted.
        back_off: how long (seconds) a limit stays closed that is used up once, twice, and so on within a day.
    """

    def __init__(self, store: SharedStore, *, key: bytes, back_off: Sequence[int] = ()) -> None:
        self._store = store
        self._key = key
        self._back_off = BackOff(store, back_off)
        self._local = LocalWindows()
        self._shared: RateLimiter | None = None
        if store.valkey is not None:
            # The address is only a form here: connections come from the pool that the store owns and closes.
            pool: Any = store.valkey.connection_pool
            storage = RedisStorage("async+valkey://", key_prefix="idp:limits", connection_pool=pool)
            self._shared = MovingWindowRateLimiter(storage)
        self._gates: WeakValueDictionary[str, _Gate] = WeakValueDictionary()

    async def check(self, *counted: Counted) -> None:
        """Refuse if a limit is used up, without counting anything.

        Args:
            counted: each rule with what it counts by, such as an address.

        Raises:
            RateLimited: with `Retry-After` in seconds.
        """
        for rule, key in counted:
            await self._check_open(rule, key)
            if not await self._has_room(rule, key):
                await self._refuse(rule, key)

    async def _check_open(self, rule: Rule, key: tuple[str, ...]) -> None:
        """Refuse if this key was closed, because it used its limit up too often."""
        _asked(rule, key)
        if rule.backs_off and (seconds := await self._back_off.seconds_left(self._name(rule, key))):
            await self._refuse(rule, key, at_least=seconds)

    async def count(self, *counted: Counted) -> None:
        """Count an attempt under each rule."""
        for rule, key in counted:
            await self._hit(rule, key)
            if rule.backs_off and not await self._has_room(rule, key):
                await self._back_off.close(self._name(rule, key))
                _asked(rule, key).window = None

    async def take(self, *counted: Counted) -> None:
        """Count an attempt under each rule before it happens; of several at once none passes a limit.

        Raises:
            RateLimited: with `Retry-After` in seconds.
        """
        await self.check(*counted)
        for rule, key in counted:
            if not await self._hit(rule, key):
                await self._refuse(rule, key)

    async def left(self, asked: Asked) -> tuple[int, int]:
        """Return how many attempts are left, and in how many seconds there will be more."""
        rule, window, closed = asked.rule, asked.window, 0
        if window is None:
            closed = await self._back_off.seconds_left(self._name(rule, asked.key)) if rule.backs_off else 0
            window = await self._window(rule, asked.key)
        wait = max(1, int(window.reset_time - time.time()) + 1, closed)
        return (0 if closed else max(0, window.remaining)), min(wait, max(closed, rule.item.get_expiry()))

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
        gate = self._gates.setdefault(self._name(rule, key), _Gate())
        async with gate.turn:
            await self.check(*further)
            await self._check_open(rule, key)
            while not await self._has_room(rule, key, cost=gate.under_way + 1):
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
        _asked(rule, key).window = None
        # The window slides, so the first free place comes at the latest when the oldest attempt leaves it.
        seconds_left = int((await self._window(rule, key)).reset_time - time.time()) + 1
        raise RateLimited(headers={"Retry-After": str(max(at_least, seconds_left))})

    async def _has_room(self, rule: Rule, key: tuple[str, ...], *, cost: int = 1) -> bool:
        window = _asked(rule, key).window = await self._window(rule, key)
        return window.remaining >= cost

    async def _window(self, rule: Rule, key: tuple[str, ...]) -> WindowStats:
        name = self._name(rule, key)
        here = self._local.stats(rule.item, name)
        shared = await self._ask(lambda limiter: limiter.get_window_stats(rule.item, name))
        # Whichever has counted more: what is shared knows of other processes, this one of the time without Valkey.
        return here if shared is None or here.remaining < shared.remaining else shared

    async def _hit(self, rule: Rule, key: tuple[str, ...]) -> bool:
        _asked(rule, key).window = None
        name = self._name(rule, key)
        here = self._local.hit(rule.item, name)
        shared = await self._ask(lambda limiter: limiter.hit(rule.item, name))
        return here and shared is not False

    async def _ask(self, question: Callable[[RateLimiter], Awaitable[T]]) -> T | None:
        """Return what is counted for all processes, None where that is not known now."""
        shared = self._shared
        if shared is None:
            return None
        try:
            return await self._store.ask(lambda _: question(shared))
        except StoreUnavailable:
            return None

    def _name(self, rule: Rule, key: tuple[str, ...]) -> str:
        return counter_name(self._key, rule.name, *key)


def counter_name(key: bytes, *parts: str) -> str:
    """Return what a counter is called: a keyed digest of its parts, each with its length before it."""
    encoded = (part.encode("utf-8", "surrogatepass") for part in parts)
    framed = b"".join(len(part).to_bytes(4, "big") + part for part in encoded)
    return hashlib.blake2b(framed, digest_size=16, key=key, person=b"counter").hexdigest()
