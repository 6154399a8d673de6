"""The Valkey client. Valkey is an optimization: without it, every decision is still correct.

`SharedStore` decides for rate limits, back-off and cached verdicts together whether Valkey is used (decision 0020). A
server that reads but does not write, such as a replica or one without memory, would show every limit as unused. So
Valkey is used only while both work. After a failure it is suspended until a background probe has written and read.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from valkey.asyncio import Valkey
from valkey.exceptions import ValkeyError

from idp import tracing

T = TypeVar("T")
log = structlog.get_logger("idp.cache")

_TIME_BUDGET = 0.25  # seconds in each second that all callers together may wait for a slow or dead server
_SLOW_SECONDS = 0.02  # a longer round trip is counted against the budget
_PROBE_SECONDS = 1.0
_MAX_BATCH = 256
# The same operations as the limits: a script that pushes to a list and reads it.
_PROBE = """
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('LRANGE', KEYS[1], 0, 0)[1]
"""


def connect(url: str | None) -> Valkey | None:
    """Return a client, which connects on first use, or None without Valkey.

    Args:
        url: `valkey://`, `valkeys://`, `redis://` or `rediss://`.
    """
    if url is None:
        return None
    client: Valkey = Valkey.from_url(url, socket_timeout=0.25, socket_connect_timeout=0.25)
    return client


class StoreUnavailable(Exception):
    """Valkey is not used now; continue without it."""


class SharedStore:
    """Valkey behind a circuit breaker.

    Args:
        valkey: None without Valkey; then it is never available.
    """

    def __init__(self, valkey: Valkey | None) -> None:
        self.valkey = valkey
        self._suspended = False
        self._probing: asyncio.Task[None] | None = None
        self._lost = 0.0
        self._lost_at = 0.0
        self._probe_key = f"idp:limits:probe:{secrets.token_hex(8)}"

    @property
    def available(self) -> bool:
        """Whether Valkey is used now."""
        return self.valkey is not None and not self._suspended

    async def run(self, operation: Callable[[Valkey], Awaitable[T]]) -> T:
        """Run an operation on Valkey and return its result.

        Raises:
            StoreUnavailable: Valkey is suspended, has just failed, or is not configured.
        """
        if self.valkey is None or self._suspended:
            raise StoreUnavailable
        began, started = time.monotonic(), time.time_ns()
        try:
            async with asyncio.timeout(max(0.001, _TIME_BUDGET - self._spent(began))):
                answer = await operation(self.valkey)
        except (ValkeyError, OSError, TimeoutError) as error:
            self._suspend(error)
            tracing.record("valkey", started, error, db_system_name="valkey")
            raise StoreUnavailable from error
        tracing.record("valkey", started, db_system_name="valkey")
        ended = time.monotonic()
        if ended - began > _SLOW_SECONDS:
            self._lost = self._spent(ended) + ended - began
            self._lost_at = ended
            if self._lost >= _TIME_BUDGET:
                self._suspend(TimeoutError())
        return answer

    async def check(self) -> None:
        """Write and read; if both work, use Valkey again.

        Raises:
            ValkeyError, OSError, TimeoutError: it failed.
        """
        assert self.valkey is not None
        value = secrets.token_hex(8)
        try:
            async with asyncio.timeout(_TIME_BUDGET):
                answer: object = await self.valkey.eval(_PROBE, 1, self._probe_key, value, "1000")  # type: ignore[misc]
        except (ValkeyError, OSError, TimeoutError) as error:
            self._suspend(error)
            raise
        if self._suspended and answer == value.encode():
            self._suspended, self._lost = False, 0.0
            log.info("valkey is used again")

    async def close(self) -> None:
        """Stop probing, and close the connections."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
        if self.valkey is not None:
            await self.valkey.aclose()

    def _spent(self, now: float) -> float:
        return max(0.0, self._lost - _TIME_BUDGET * (now - self._lost_at))

    def _suspend(self, error: Exception) -> None:
        if self._suspended:
            return
        self._suspended = True
        log.warning(
            "valkey is unavailable: rate limits count in this process only, the shared verdict cache is bypassed",
            error=type(error).__name__,
        )
        self._probing = asyncio.create_task(self._probe_until_it_works())

    async def _probe_until_it_works(self) -> None:
        while self._suspended:
            await asyncio.sleep(_PROBE_SECONDS)
            try:
                await self.check()
            except (ValkeyError, OSError, TimeoutError):
                continue


class SharedCache:
    """Values shared by all processes; concurrent reads share one round trip.

    A GET takes 50 µs of CPU, an additional key in an MGET under two.

    Args:
        store: Valkey; nothing is cached while it is suspended.
    """

    def __init__(self, store: SharedStore) -> None:
        self._store = store
        self._wanted: dict[bytes, asyncio.Future[bytes | None]] = {}
        self._written: dict[bytes, tuple[bytes, int]] = {}
        self._task: asyncio.Task[None] | None = None

    async def get(self, key: bytes) -> bytes | None:
        """Return a value; None if there is none or Valkey is unavailable."""
        if not self._store.available:
            return None
        future = self._wanted.get(key)
        if future is None:
            future = self._wanted[key] = asyncio.get_running_loop().create_future()
            self._wake()
        return await future

    def put(self, key: bytes, value: bytes, *, milliseconds: int) -> None:
        """Store a value in the background; it may be lost."""
        if not self._store.available or len(self._written) > 16 * _MAX_BATCH:
            return
        self._written[key] = (value, milliseconds)
        self._wake()

    def _wake(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._wanted or self._written:
            wanted = dict(list(self._wanted.items())[:_MAX_BATCH])
            for key in wanted:
                del self._wanted[key]
            written = {key: self._written.pop(key) for key in list(self._written)[:_MAX_BATCH]}
            try:
                await self._exchange(wanted, written)
            except StoreUnavailable:
                self._written.clear()
            finally:
                for future in wanted.values():
                    if not future.done():
                        future.set_result(None)

    async def _exchange(
        self, wanted: dict[bytes, asyncio.Future[bytes | None]], written: dict[bytes, tuple[bytes, int]]
    ) -> None:
        if wanted:
            values = await self._store.run(lambda valkey: valkey.mget(list(wanted)))
            for future, value in zip(wanted.values(), values, strict=True):
                if not future.done():
                    future.set_result(value)
        if written:
            await self._store.run(lambda valkey: _write(valkey, written))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


async def _write(valkey: Valkey, written: dict[bytes, tuple[bytes, int]]) -> None:
    pipeline = valkey.pipeline(transaction=False)
    for key, (value, milliseconds) in written.items():
        pipeline.set(key, value, px=milliseconds)
    await pipeline.execute()
