"""Hot reads: single statements on a pool of bare asyncpg connections.

A point read through SQLAlchemy costs this process 230 µs, through asyncpg 50. Nothing is written here and no state is
set on a connection, so that nothing has to be reset when it is given back.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import asyncpg

from idp.db.connecting import Connection, unavailable

_ATTEMPTS = 4
# Another transaction was in the way, and this one was rolled back: it may succeed at the next attempt.
_IN_THE_WAY = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
_AWAY = (OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError,
         asyncpg.InsufficientResourcesError, asyncpg.CannotConnectNowError,
         asyncpg.ReadOnlySQLTransactionError, asyncpg.ObjectNotInPrerequisiteStateError, *_IN_THE_WAY)  # fmt: skip
# The connection was lost before or in the middle of a statement: it may be asked again on another one.
_LOST = (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, ConnectionError)


class Reads:
    """A pool for single statements.

    Args:
        connect: opens a connection, as asyncpg's pool calls it.
        size: connections at most; they are opened when they are needed.
        patience: returns how long a statement may take in all, waiting for a connection included (seconds).
        max_age_seconds: a connection is replaced when it is older.
        gave_up: called when a statement took longer than that.
    """

    def __init__(
        self,
        connect: Any,
        *,
        size: int,
        patience: Callable[[], float],
        max_age_seconds: float,
        gave_up: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._size = size
        self._patience = patience
        self._max_age = max_age_seconds
        self._gave_up = gave_up
        self._renewed = time.monotonic()
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()
        self._under_way: set[asyncio.Task[Any]] = set()

    async def fetchrow(self, statement: str, *arguments: object) -> Any:
        """Run a statement and return its first row, or None. Raises what `fetch` raises."""
        rows = await self.fetch(statement, *arguments)
        return rows[0] if rows else None

    async def fetch(self, statement: str, *arguments: object) -> list[Any]:
        """Run a statement and return its rows; again where it and another one were in each other's way.

        Raises:
            DatabaseUnavailable: PostgreSQL is away or took longer than the limit.
        """
        task = asyncio.create_task(self._fetch(statement, arguments))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        # What hangs is left behind: giving a connection to a hanging server back takes seconds of its own.
        await asyncio.wait({task}, timeout=self._patience())
        if not task.done():
            task.cancel()
            self._gave_up()
            await self._suspect_all()
            raise unavailable(TimeoutError("no answer in time"))
        try:
            rows: list[Any] = task.result()
        except _AWAY as error:
            raise unavailable(error) from error
        return rows

    async def _fetch(self, statement: str, arguments: tuple[object, ...]) -> list[Any]:
        pool = self._pool or await self._open()
        if time.monotonic() - self._renewed > self._max_age:
            await self._suspect_all()
        for attempt in range(_ATTEMPTS):
            try:
                return await self._fetch_once(pool, statement, arguments)
            except _LOST:
                if attempt > 0:
                    raise
                await self._suspect_all()  # its elder siblings may be as dead
            except _IN_THE_WAY:
                if attempt == _ATTEMPTS - 1:
                    raise
                await asyncio.sleep(random.uniform(0.005, 0.02) * (attempt + 1))  # noqa: S311  no secret
        raise AssertionError("unreachable")

    async def _fetch_once(self, pool: asyncpg.Pool, statement: str, arguments: tuple[object, ...]) -> list[Any]:
        async with pool.acquire() as proxy:
            connection: Any = proxy
            if connection.rested:
                await connection.check()
            if connection.pooling.pooled:  # what the session should be, each transaction has to say
                async with connection.transaction():
                    return list(await connection.fetch(statement, *arguments))
            rows = list(await connection.fetch(statement, *arguments))
            connection.answered_now()
            return rows

    async def _suspect_all(self) -> None:
        """Replace every connection before it is used again."""
        self._renewed = time.monotonic()
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
                    reset=_nothing_to_reset,
                    max_inactive_connection_lifetime=60,
                )
        return self._pool

    async def close(self) -> None:
        """End all connections, at once."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        if self._pool is not None:
            self._pool.terminate()


async def _nothing_to_reset(_connection: Any) -> None:
    return None
