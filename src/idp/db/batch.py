"""Batched point reads: concurrent look-ups share one statement.

A round trip to PostgreSQL costs more than the row. While a statement runs, further look-ups are collected; each is
answered by a statement that began after the look-up was requested.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from idp.db.reads import Reads
from idp.errors import DatabaseUnavailable

_BATCH_SIZE = 64  # look-ups per statement
_MAX_RUNNING = 2  # concurrent statements


class _Lookup:
    def __init__(self, keys: tuple[str, ...]) -> None:
        self.keys = keys
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class BatchedRead:
    """One statement for many look-ups.

    Args:
        reads: runs the statement.
        statement: takes all keys as `$1`, a text array, and returns the rows that match any of them.
        keys_of: returns the keys of a row.
    """

    def __init__(self, reads: Reads, statement: str, *, keys_of: Callable[[Any], Iterable[str | None]]) -> None:
        self._reads = reads
        self._statement = statement
        self._keys_of = keys_of
        self._waiting: list[_Lookup] = []
        self._running_batches = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def find(self, *keys: str) -> Any:
        """Return the row with one of these keys, or None.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable or too slow.
        """
        lookup = _Lookup(keys)
        self._waiting.append(lookup)
        if self._running_batches < _MAX_RUNNING:
            self._running_batches += 1
            task = asyncio.create_task(self._run())
            self._tasks.add(task)  # the event loop holds tasks weakly
            task.add_done_callback(self._tasks.discard)
        return await lookup.answer

    async def _run(self) -> None:
        # Decremented here, not in a done callback, which runs one loop iteration later: a look-up requested in between
        # would never run.
        try:
            await self._run_all()
        finally:
            self._running_batches -= 1

    async def _run_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_BATCH_SIZE], self._waiting[_BATCH_SIZE:]
            try:
                await self._query(batch)
            except DatabaseUnavailable as error:
                _fail(batch, error)
            except asyncio.CancelledError:
                _fail(batch, DatabaseUnavailable())
                raise
            except Exception:  # noqa: BLE001  a key that PostgreSQL rejects must not fail the other look-ups
                await self._run_singly(batch)

    async def _run_singly(self, batch: list[_Lookup]) -> None:
        for lookup in batch:
            try:
                await self._query([lookup])
            except Exception as error:  # noqa: BLE001
                _fail([lookup], error if isinstance(error, DatabaseUnavailable) else DatabaseUnavailable())

    async def _query(self, batch: list[_Lookup]) -> None:
        rows = await self._reads.fetch(self._statement, [key for lookup in batch for key in lookup.keys])
        rows_by_key = {key: row for row in rows for key in self._keys_of(row) if key is not None}
        for lookup in batch:
            if not lookup.answer.done():
                lookup.answer.set_result(next((rows_by_key[key] for key in lookup.keys if key in rows_by_key), None))


def _fail(batch: list[_Lookup], error: Exception) -> None:
    for lookup in batch:
        if not lookup.answer.done():
            lookup.answer.set_exception(error)
