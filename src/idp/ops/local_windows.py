"""Moving-window counters in the memory of this process.

The memory storage of `limits` scans every counter after each attempt, so that an attacker who creates ten thousand
counters slows the process down. Here an attempt takes constant time.
"""

import time
from collections import OrderedDict, deque

from limits import RateLimitItem, WindowStats

_EXPIRED_PER_HIT = 2  # least recently used counters checked at each attempt: more are removed than added


class _Window:
    __slots__ = ("ends", "times")

    def __init__(self) -> None:
        self.times: deque[float] = deque()
        self.ends = 0.0  # when the last attempt leaves the window


class LocalWindows:
    """Counts attempts by name."""

    def __init__(self) -> None:
        self._windows: OrderedDict[str, _Window] = OrderedDict()  # least recently used first

    def __len__(self) -> int:
        return len(self._windows)

    def hit(self, item: RateLimitItem, name: str) -> bool:
        """Count an attempt and return True; return False, without counting, if the limit is exhausted."""
        now, seconds = time.time(), item.get_expiry()
        self._forget_some(now)
        window = self._windows.pop(name, None) or _Window()
        self._windows[name] = window
        self._drop_old(window, now - seconds)
        if len(window.times) >= item.amount:
            return False
        window.times.append(now)
        window.ends = now + seconds
        return True

    def stats(self, item: RateLimitItem, name: str) -> WindowStats:
        """Return how many attempts are left, and when the oldest one leaves the window."""
        now, seconds = time.time(), item.get_expiry()
        window = self._windows.get(name)
        if window is not None:
            self._drop_old(window, now - seconds)
        if window is None or not window.times:
            return WindowStats(now + seconds, item.amount)
        return WindowStats(window.times[0] + seconds, item.amount - len(window.times))

    @staticmethod
    def _drop_old(window: _Window, since: float) -> None:
        while window.times and window.times[0] <= since:
            window.times.popleft()

    def _forget_some(self, now: float) -> None:
        for _ in range(min(_EXPIRED_PER_HIT, len(self._windows))):
            name, window = self._windows.popitem(last=False)
            if window.ends > now:
                self._windows[name] = window  # not expired yet
