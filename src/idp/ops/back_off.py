"""Back-off: whoever uses up a limit again and again within a day waits longer each time (S4-36)."""

import time
from collections.abc import Sequence
from contextlib import suppress

from valkey.asyncio import Valkey

from idp.cache import SharedStore, StoreUnavailable

_DAY = 86_400
_MOST_LOCAL = 10_000
# Counted and closed in one step, so that of many refusals at once one counts.
_CLOSE = """
if redis.call('EXISTS', KEYS[1]) == 1 then return redis.call('TTL', KEYS[1]) end
local times = redis.call('INCR', KEYS[2])
redis.call('EXPIRE', KEYS[2], ARGV[1])
local wait = tonumber(ARGV[math.min(times, #ARGV - 1) + 1])
redis.call('SET', KEYS[1], '1', 'EX', wait)
return wait
"""


class BackOff:
    """Closes a key for a while, and for longer when it is closed again within a day.

    Args:
        store: shared by all processes; a key is closed in this process, too.
        seconds: how long for the first time, the second, and so on; the last one stays. Empty for never.
    """

    def __init__(self, store: SharedStore, seconds: Sequence[int]) -> None:
        self._store = store
        self._seconds = tuple(seconds)
        self._closed: dict[str, tuple[float, int, float]] = {}  # until, how often, forgotten at

    async def seconds_left(self, name: str) -> int:
        """Return how long a key is still closed, 0 for an open one."""
        if not self._seconds:
            return 0
        until, _, _ = self._closed.get(name, (0.0, 0, 0.0))
        here = max(0, int(until - time.time() + 0.999))
        try:
            return max(here, int(await self._store.ask(lambda valkey: valkey.ttl(f"idp:closed:{name}"))))
        except StoreUnavailable:
            return here

    async def close(self, name: str) -> None:
        """Close a key whose limit was just used up; one that is closed already stays as it is."""
        if not self._seconds:
            return
        self._close_here(name)  # always, so that a store which goes away opens nothing (decision 0020)
        with suppress(StoreUnavailable):
            await self._store.ask(lambda valkey: self._close_everywhere(valkey, name))

    async def _close_everywhere(self, valkey: Valkey, name: str) -> None:
        keys = f"idp:closed:{name}", f"idp:closings:{name}"
        await valkey.eval(_CLOSE, 2, *keys, str(_DAY), *map(str, self._seconds))  # type: ignore[misc]

    def _close_here(self, name: str) -> None:
        now = time.time()
        until, times, forgotten_at = self._closed.get(name, (0.0, 0, 0.0))
        if until > now:
            return
        if forgotten_at <= now:
            times = 0
        if len(self._closed) >= _MOST_LOCAL:
            self._closed = {key: entry for key, entry in self._closed.items() if entry[2] > now}
        if len(self._closed) < _MOST_LOCAL:
            wait = self._seconds[min(times, len(self._seconds) - 1)]
            self._closed[name] = (now + wait, times + 1, now + _DAY)
