"""Point reads that share a round trip: what is asked for at the same moment is looked up by one statement.

A round trip to PostgreSQL costs this process more than the row it brings. While one statement is under way the next
questions gather; each is answered by a statement that began after it was asked.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from idp.db.reads import Reads
from idp.errors import DatabaseUnavailable

_MOST = 64  # questions a statement
_AT_ONCE = 2  # statements under way


class _Question:
    def __init__(self, keys: tuple[str, ...]) -> None:
        self.keys = keys
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class BatchedRead:
    """One statement for many questions.

    Args:
        reads: where it runs.
        statement: takes all keys as `$1`, an array of text, and returns the rows that have any of them.
        keys_of: the keys that a row answers to.
    """

    def __init__(self, reads: Reads, statement: str, *, keys_of: Callable[[Any], Iterable[str | None]]) -> None:
        self._reads = reads
        self._statement = statement
        self._keys_of = keys_of
        self._waiting: list[_Question] = []
        self._asking = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def find(self, *keys: str) -> Any:
        """Return the row that answers to one of these keys, or None.

        Raises:
            DatabaseUnavailable: PostgreSQL is away or took too long.
        """
        question = _Question(keys)
        self._waiting.append(question)
        if self._asking < _AT_ONCE:
            self._asking += 1
            task = asyncio.create_task(self._run())
            self._tasks.add(task)  # the loop itself holds tasks weakly
            task.add_done_callback(self._tasks.discard)
        return await question.answer

    async def _run(self) -> None:
        # Counted here and not by what the loop calls "done", which comes a turn later: a question asked in between
        # would wait for nobody.
        try:
            await self._ask_all()
        finally:
            self._asking -= 1

    async def _ask_all(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
            try:
                await self._ask(asked)
            except DatabaseUnavailable as error:
                _fail(asked, error)
            except asyncio.CancelledError:
                _fail(asked, DatabaseUnavailable())
                raise
            except Exception:  # noqa: BLE001  one key that PostgreSQL cannot read must not fail its neighbours
                await self._ask_singly(asked)

    async def _ask_singly(self, asked: list[_Question]) -> None:
        for question in asked:
            try:
                await self._ask([question])
            except Exception as error:  # noqa: BLE001
                _fail([question], error if isinstance(error, DatabaseUnavailable) else DatabaseUnavailable())

    async def _ask(self, asked: list[_Question]) -> None:
        rows = await self._reads.fetch(self._statement, [key for question in asked for key in question.keys])
        found = {key: row for row in rows for key in self._keys_of(row) if key is not None}
        for question in asked:
            if not question.answer.done():
                question.answer.set_result(next((found[key] for key in question.keys if key in found), None))


def _fail(asked: list[_Question], error: Exception) -> None:
    for question in asked:
        if not question.answer.done():
            question.answer.set_exception(error)
