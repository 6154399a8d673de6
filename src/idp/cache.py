"""The Valkey client: shared by all processes, a hint and never the truth; without it everything stays right.

`SharedStore` decides whether Valkey is used now: the one answer for rate limits, back-off and cached verdicts (decision
0020). A store that reads and does not write, such as a replica or a full one, would show every limit as unused. So it
counts only while it does both. After a failure it rests for all its users at once, until a probe in the background has
written and read; nobody waits for a store that rests.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from valkey.asyncio import Valkey
from valkey.exceptions import ValkeyError

T = TypeVar("T")
log = structlog.get_logger("idp.cache")

_SECONDS = 0.25  # that all users together may lose to a slow or dead store, in each second
_SLOW_SECONDS = 0.02  # an answer that takes longer counts as lost time
_REST_SECONDS = 1.0
_LARGEST_BATCH = 256
# Written and read as the limits do it: a script that pushes to a list and looks at it.
_PROBE = """
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('LRANGE', KEYS[1], 0, 0)[1]
"""


def connect(url: str | None) -> Valkey | None:
    """Return a client, which connects at first use, or None where Valkey is not used.

    Args:
        url: `valkey://`, `valkeys://`, `redis://` or `rediss://`.
    """
    if url is None:
        return None
    client: Valkey = Valkey.from_url(url, socket_timeout=0.25, socket_connect_timeout=0.25)
    return client


class StoreUnavailable(Exception):
    """Valkey is not used now; go on without it."""


class SharedStore:
    """Valkey, while it both reads and writes.

    Args:
        valkey: None for a deployment without one: then it is never available.
    """

    def __init__(self, valkey: Valkey | None) -> None:
        self.valkey = valkey
        self._resting = False
        self._probing: asyncio.Task[None] | None = None
        self._lost = 0.0
        self._lost_at = 0.0
        self._probe_key = f"idp:limits:probe:{secrets.token_hex(8)}"

    @property
    def available(self) -> bool:
        """Whether it is worth asking."""
        return self.valkey is not None and not self._resting

    async def ask(self, question: Callable[[Valkey], Awaitable[T]]) -> T:
        """Return what the store answers.

        Raises:
            StoreUnavailable: it rests, or has just failed, or there is none.
        """
        if self.valkey is None or self._resting:
            raise StoreUnavailable
        began = time.monotonic()
        try:
            async with asyncio.timeout(max(0.001, _SECONDS - self._lost_lately(began))):
                answer = await question(self.valkey)
        except (ValkeyError, OSError, TimeoutError) as error:
            self._rest(error)
            raise StoreUnavailable from error
        ended = time.monotonic()
        if ended - began > _SLOW_SECONDS:
            self._lost = self._lost_lately(ended) + ended - began
            self._lost_at = ended
            if self._lost >= _SECONDS:
                self._rest(TimeoutError())
        return answer

    async def check(self) -> None:
        """Write and read, and use the store from now on if both worked.

        Raises:
            ValkeyError, OSError, TimeoutError: it does not.
        """
        assert self.valkey is not None
        value = secrets.token_hex(8)
        try:
            async with asyncio.timeout(_SECONDS):
                answer: object = await self.valkey.eval(_PROBE, 1, self._probe_key, value, "1000")  # type: ignore[misc]
        except (ValkeyError, OSError, TimeoutError) as error:
            self._rest(error)
            raise
        if self._resting and answer == value.encode():
            self._resting, self._lost = False, 0.0
            log.info("valkey is used again")

    async def close(self) -> None:
        """Stop probing, and close the connections."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
        if self.valkey is not None:
            await self.valkey.aclose()

    def _lost_lately(self, now: float) -> float:
        return max(0.0, self._lost - _SECONDS * (now - self._lost_at))

    def _rest(self, error: Exception) -> None:
        if self._resting:
            return
        self._resting = True
        log.warning(
            "valkey does not both read and write: limits count in this process alone, verdicts come from the database",
            error=type(error).__name__,
        )
        self._probing = asyncio.create_task(self._probe_until_it_works())

    async def _probe_until_it_works(self) -> None:
        while self._resting:
            await asyncio.sleep(_REST_SECONDS)
            try:
                await self.check()
            except (ValkeyError, OSError, TimeoutError):
                continue


class SharedCache:
    """Values that all processes share, read in batches: callers at the same moment share one round trip.

    One GET costs this process 50 µs, one more key in an MGET under two.

    Args:
        store: decides whether Valkey is used; without it nothing is cached.
    """

    def __init__(self, store: SharedStore) -> None:
        self._store = store
        self._wanted: dict[bytes, asyncio.Future[bytes | None]] = {}
        self._written: dict[bytes, tuple[bytes, int]] = {}
        self._task: asyncio.Task[None] | None = None

    async def get(self, key: bytes) -> bytes | None:
        """Return a value; None where there is none, or where Valkey does not answer."""
        if not self._store.available:
            return None
        future = self._wanted.get(key)
        if future is None:
            future = self._wanted[key] = asyncio.get_running_loop().create_future()
            self._wake()
        return await future

    def put(self, key: bytes, value: bytes, *, milliseconds: int) -> None:
        """Store a value soon; nobody waits for it, and it may be lost."""
        if not self._store.available or len(self._written) > 16 * _LARGEST_BATCH:
            return
        self._written[key] = (value, milliseconds)
        self._wake()

    def _wake(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._wanted or self._written:
            wanted = dict(list(self._wanted.items())[:_LARGEST_BATCH])
            for key in wanted:
                del self._wanted[key]
            written = {key: self._written.pop(key) for key in list(self._written)[:_LARGEST_BATCH]}
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
            values = await self._store.ask(lambda valkey: valkey.mget(list(wanted)))
            for future, value in zip(wanted.values(), values, strict=True):
                if not future.done():
                    future.set_result(value)
        if written:
            await self._store.ask(lambda valkey: _write(valkey, written))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


async def _write(valkey: Valkey, written: dict[bytes, tuple[bytes, int]]) -> None:
    pipeline = valkey.pipeline(transaction=False)
    for key, (value, milliseconds) in written.items():
        pipeline.set(key, value, px=milliseconds)
    await pipeline.execute()
