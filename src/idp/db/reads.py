"""Hot reads: single statements on a pool of bare asyncpg connections.

A point read through SQLAlchemy costs this process 230 µs, through asyncpg 50. Nothing is written here and no state is
set on a connection, so that nothing has to be reset when it is given back.
"""

import asyncio
from typing import Any

import asyncpg
import structlog

from idp.errors import DatabaseUnavailable

log = structlog.get_logger("idp.db")

_AWAY = (OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError,
         asyncpg.InsufficientResourcesError, asyncpg.CannotConnectNowError,
         asyncpg.ReadOnlySQLTransactionError, asyncpg.ObjectNotInPrerequisiteStateError)  # fmt: skip
# The connection was lost before or in the middle of a statement: it may be asked again on another one.
_LOST = (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, ConnectionError)


class Reads:
    """A pool for single statements.

    Args:
        connect: opens a connection, as asyncpg's pool calls it.
        size: connections at most; they are opened when they are needed.
        limit_seconds: how long a statement may take in all, waiting for a connection included.
    """

    def __init__(self, connect: Any, *, size: int, limit_seconds: float) -> None:
        self._connect = connect
        self._size = size
        self._limit = limit_seconds
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()
        self._under_way: set[asyncio.Task[Any]] = set()

    async def fetchrow(self, statement: str, *arguments: object) -> Any:
        """Run a statement and return its first row, or None. Raises what `fetch` raises."""
        rows = await self.fetch(statement, *arguments)
        return rows[0] if rows else None

    async def fetch(self, statement: str, *arguments: object) -> list[Any]:
        """Run a statement and return its rows.

        Raises:
            DatabaseUnavailable: PostgreSQL is away or took longer than the limit.
        """
        task = asyncio.create_task(self._fetch(statement, arguments))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        # What hangs is left behind: giving a connection to a hanging server back takes seconds of its own.
        await asyncio.wait({task}, timeout=self._limit)
        if not task.done():
            task.cancel()
            log.warning("database unavailable", error="TimeoutError", reason="no answer in time")
            raise DatabaseUnavailable
        try:
            rows: list[Any] = task.result()
        except _AWAY as error:
            log.warning("database unavailable", error=type(error).__name__, reason=str(error).split("\n")[0][:200])
            raise DatabaseUnavailable from error
        return rows

    async def _fetch(self, statement: str, arguments: tuple[object, ...]) -> list[Any]:
        pool = self._pool or await self._open()
        try:
            async with pool.acquire() as connection:
                return list(await connection.fetch(statement, *arguments))
        except _LOST:
            async with pool.acquire() as connection:
                return list(await connection.fetch(statement, *arguments))

    async def _open(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    min_size=0,
                    max_size=self._size,
                    connect=self._connect,
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
