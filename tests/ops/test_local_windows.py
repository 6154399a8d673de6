"""Moving-window counters in memory: the results of the library, at a constant cost."""

import asyncio
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from idp.cache import SharedStore
from idp.ops.local_windows import LocalWindows
from idp.ops.rate_limit import Limiter
from idp.ops.rate_limit_rules import Rule

Move = Callable[[float], None]


@pytest.fixture
def move(monkeypatch: pytest.MonkeyPatch) -> Move:
    now = 1_800_000_000.0

    def forward(seconds: float) -> None:
        nonlocal now
        now += seconds
        monkeypatch.setattr(time, "time", lambda: now)

    forward(0)
    return forward


def test_a_window_slides(move: Move) -> None:
    """S3-54: each attempt leaves the window by itself, and a refused one is not counted."""
    windows, item = LocalWindows(), RateLimitItemPerSecond(2, 10)
    assert windows.stats(item, "a").remaining == 2
    assert windows.hit(item, "a")
    move(4)
    assert windows.hit(item, "a")
    assert not windows.hit(item, "a")
    assert windows.stats(item, "a") == (time.time() + 6, 0)
    assert windows.stats(item, "b").remaining == 2
    move(6)
    assert windows.stats(item, "a") == (time.time() + 4, 1)
    assert windows.hit(item, "a")
    assert not windows.hit(item, "a")


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["a", "b"])), max_size=30))
def test_it_allows_what_the_library_allows(hits: list[tuple[int, str]]) -> None:
    """The shared store counts by the library, and both must say the same."""
    names = [name for times, name in hits for _ in range(times)]
    windows, item = LocalWindows(), RateLimitItemPerSecond(5, 60)

    async def of_library() -> list[tuple[bool, int]]:
        library = MovingWindowRateLimiter(MemoryStorage())
        return [
            (await library.hit(item, name), (await library.get_window_stats(item, name)).remaining) for name in names
        ]

    assert [(windows.hit(item, name), windows.stats(item, name).remaining) for name in names] == asyncio.run(
        of_library()
    )


def test_expired_windows_are_removed(move: Move) -> None:
    """Long windows do not keep short ones in memory."""
    windows, short, long = LocalWindows(), RateLimitItemPerSecond(5, 10), RateLimitItemPerSecond(5, 10_000)
    for number in range(300):
        windows.hit(long if number % 3 == 0 else short, str(number))
    move(11)
    for number in range(300):
        windows.hit(short, f"later {number % 5}")
    assert len(windows) <= 100 + 5


async def test_thousands_of_counters_cost_the_next_attempt_nothing() -> None:
    """SEC-8: many counters, a few per address, must not keep the process busy."""
    limiter = Limiter(SharedStore(None), key=bytes(32))
    rule = Rule("login_account", RateLimitItemPerSecond(10, 900))
    for number in range(10_000):
        await limiter.count((rule, (str(number),)))
    began = time.process_time()
    for _ in range(20):
        await limiter.count((rule, ("another",)))
        await asyncio.sleep(0.02)
    assert time.process_time() - began < 0.2
