"""Frequent reads: single statements on a pool of plain asyncpg connections.

A point read through SQLAlchemy takes 230 µs of CPU, through asyncpg 50. Statements set no state on a connection, so it
needs no reset when it is released.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import asyncpg

from idp import tracing
from idp.db.connecting import Connection, unavailable

_ATTEMPTS = 4
# A conflict with another transaction; a retry may succeed.
_RETRYABLE = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
_UNAVAILABLE = (OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError,
         asyncpg.InternalClientError,
         asyncpg.InsufficientResourcesError, asyncpg.CannotConnectNowError,
         asyncpg.ReadOnlySQLTransactionError, asyncpg.ObjectNotInPrerequisiteStateError, *_RETRYABLE)  # fmt: skip
# The connection was lost before or during a statement; retry it on another one. The driver raises InternalClientError
# when the server ended the connection at an unexpected moment.
_LOST = (asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresConnectionError,
         asyncpg.AdminShutdownError, ConnectionError)  # fmt: skip


class Reads:
    """A pool for single statements.

    Args:
        connect: opens a connection, as asyncpg's pool calls it.
        size: maximum number of connections, opened on demand.
        timeout_seconds: returns the timeout of a statement, including the wait for a connection (seconds).
        max_age_seconds: maximum age of a connection.
        on_timeout: called when a statement timed out.
    """

    def __init__(
        self,
        connect: Any,
        *,
        size: int,
        timeout_seconds: Callable[[], float],
        max_age_seconds: float,
        on_timeout: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._size = size
        self._timeout_seconds = timeout_seconds
        self._max_age = max_age_seconds
        self._on_timeout = on_timeout
        self._expired_at = time.monotonic()
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()

    async def fetchrow(self, statement: str, *arguments: object) -> Any:
        """Run a statement and return its first row, or None. Raises what `fetch` raises."""
        rows = await self.fetch(statement, *arguments)
        return rows[0] if rows else None

    async def fetch(self, statement: str, *arguments: object) -> list[Any]:
        """Run a statement and return its rows; retry it after a conflict with another transaction.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable or the statement timed out.
        """
        started = time.time_ns()
        task = asyncio.create_task(self._fetch(statement, arguments))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        # A hanging statement continues in the background: releasing its connection would take seconds.
        await asyncio.wait({task}, timeout=self._timeout_seconds())
        tracing.record("db look-up", started, db_system_name="postgresql")
        if not task.done():
            task.cancel()
            self._on_timeout()
            await self._expire_connections()
            raise unavailable(TimeoutError("timeout"))
        try:
            rows: list[Any] = task.result()
        except _UNAVAILABLE as error:
            raise unavailable(error) from error
        return rows

    async def _fetch(self, statement: str, arguments: tuple[object, ...]) -> list[Any]:
        pool = self._pool or await self._open()
        if time.monotonic() - self._expired_at > self._max_age:
            await self._expire_connections()
        for attempt in range(_ATTEMPTS):
            try:
                return await self._fetch_once(pool, statement, arguments)
            except _LOST:
                if attempt > 0:
                    raise
                await self._expire_connections()  # connections of the same age may be dead too
            except _RETRYABLE:
                if attempt == _ATTEMPTS - 1:
                    raise
                await asyncio.sleep(random.uniform(0.005, 0.02) * (attempt + 1))  # noqa: S311  no secret
        raise AssertionError("unreachable")

    async def _fetch_once(self, pool: asyncpg.Pool, statement: str, arguments: tuple[object, ...]) -> list[Any]:
        async with pool.acquire() as proxy:
            connection: Any = proxy
            if connection.is_idle:
                await connection.check()
            if connection.pooling.pooled:  # session settings must be set in each transaction
                async with connection.transaction():
                    return list(await connection.fetch(statement, *arguments))
            rows = list(await connection.fetch(statement, *arguments))
            connection.mark_answered()
            return rows

    async def _expire_connections(self) -> None:
        """Replace all connections before their next use."""
        self._expired_at = time.monotonic()
        if self._pool is not None:
            await self._pool.expire_connections()

    async def _open(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    min_size=0,
                    max_size=self._size,
                    connect=self._connect,
                    connection_class=Connection,
                    reset=_skip_reset,
                    max_inactive_connection_lifetime=60,
                )
        return self._pool

    async def close(self) -> None:
        """Terminate all connections."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._pool is not None:
            self._pool.terminate()


async def _skip_reset(_connection: Any) -> None:
    return None
