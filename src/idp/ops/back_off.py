"""Back-off: a key that exhausts its rate limit repeatedly within a day is blocked for longer each time (S4-36)."""

import time
from collections.abc import Sequence
from contextlib import suppress

from valkey.asyncio import Valkey

from idp.cache import SharedStore, StoreUnavailable

_DAY = 86_400
_MAX_LOCAL = 10_000
# Atomic, so that many concurrent refusals count once.
_CLOSE = """
if redis.call('EXISTS', KEYS[1]) == 1 then return redis.call('TTL', KEYS[1]) end
local times = redis.call('INCR', KEYS[2])
redis.call('EXPIRE', KEYS[2], ARGV[1])
local wait = tonumber(ARGV[math.min(times, #ARGV - 1) + 1])
redis.call('SET', KEYS[1], '1', 'EX', wait)
return wait
"""


class BackOff:
    """Blocks a key for a while, and for longer when it is blocked again within a day.

    Args:
        store: shared by all processes; keys are also blocked in this process.
        seconds: durations of the first block, the second, and so on; the last one repeats. Empty for no back-off.
    """

    def __init__(self, store: SharedStore, seconds: Sequence[int]) -> None:
        self._store = store
        self._seconds = tuple(seconds)
        self._closed: dict[str, tuple[float, int, float]] = {}  # until, how often, forgotten at

    async def seconds_left(self, name: str) -> int:
        """Return for how many seconds a key is still blocked, 0 if it is not."""
        if not self._seconds:
            return 0
        until, _, _ = self._closed.get(name, (0.0, 0, 0.0))
        local = max(0, int(until - time.time() + 0.999))
        try:
            return max(local, int(await self._store.run(lambda valkey: valkey.ttl(f"idp:closed:{name}"))))
        except StoreUnavailable:
            return local

    async def close(self, name: str) -> None:
        """Block a key whose limit was just exhausted; a key that is blocked already is left as it is."""
        if not self._seconds:
            return
        self._close_here(name)  # always: a store that fails must not unblock anything (decision 0020)
        with suppress(StoreUnavailable):
            await self._store.run(lambda valkey: self._close_everywhere(valkey, name))

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
        if len(self._closed) >= _MAX_LOCAL:
            self._closed = {key: entry for key, entry in self._closed.items() if entry[2] > now}
        if len(self._closed) < _MAX_LOCAL:
            wait = self._seconds[min(times, len(self._seconds) - 1)]
            self._closed[name] = (now + wait, times + 1, now + _DAY)
