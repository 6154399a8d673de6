"""Moving windows of attempts in the memory of this process.

The library's own memory storage looks at every counter after each attempt. Whoever leaves some ten thousand counters
behind, a few an address, would keep the process busy with that alone. Here an attempt costs the same whatever there is.
"""

import time
from collections import OrderedDict, deque

from limits import RateLimitItem, WindowStats

_LOOKED_AT = 2  # of the counters that rest for longest, at each new attempt: more go than come


class _Window:
    __slots__ = ("ends", "times")

    def __init__(self) -> None:
        self.times: deque[float] = deque()
        self.ends = 0.0  # when the last attempt leaves it


class LocalWindows:
    """Counts attempts by name."""

    def __init__(self) -> None:
        self._windows: OrderedDict[str, _Window] = OrderedDict()  # in the order of their last attempts

    def __len__(self) -> int:
        return len(self._windows)

    def hit(self, item: RateLimitItem, name: str) -> bool:
        """Count an attempt, and return True; False where the limit is used up, and then nothing is counted."""
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
        for _ in range(min(_LOOKED_AT, len(self._windows))):
            name, window = self._windows.popitem(last=False)
            if window.ends > now:
                self._windows[name] = window  # a long one, which is looked at again after all others
