"""Batched point reads: every caller gets its result, whenever it asks."""

import asyncio
from typing import Any, cast

from idp.db.batch import BatchedRead
from idp.db.reads import Reads


class QuickDatabase:
    """PostgreSQL, so near that it answers at once."""

    async def fetch(self, _statement: str, keys: list[str]) -> list[dict[str, str]]:
        return [{"key": key} for key in keys if key != "unknown"]


async def test_a_question_asked_as_the_last_answer_leaves_is_answered_too() -> None:
    """No request hangs: the running statements have ended, and new ones must not wait for them."""
    read = BatchedRead(cast("Reads", QuickDatabase()), "…", keys_of=lambda row: (row["key"],))

    async def ask_late() -> Any:
        await asyncio.sleep(0)
        return await read.find("late")

    async with asyncio.timeout(2):
        answers = await asyncio.gather(read.find("a"), read.find("unknown"), ask_late())
    assert answers == [{"key": "a"}, None, {"key": "late"}]
