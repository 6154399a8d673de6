"""Periodic background work continues after errors."""

import asyncio

import pytest

from idp.errors import DatabaseUnavailable
from idp.ops.periodic import Periodic


async def rounds(wanted: int, *, failing: Exception | None) -> list[str]:
    """Run two pieces of work, the first of which fails, until the second was done so often."""
    done: list[str] = []
    enough = asyncio.Event()

    async def first() -> None:
        done.append("first")
        if failing is not None:
            raise failing

    async def second() -> None:
        done.append("second")
        if done.count("second") == wanted:
            enough.set()

    periodic = Periodic("test", 0.001, first, second)
    periodic.start()
    async with asyncio.timeout(10):
        await enough.wait()
    await periodic.stop()
    so_far = list(done)
    await asyncio.sleep(0.02)
    assert done == so_far, "it stopped"
    return done[: 2 * wanted]


@pytest.mark.parametrize("failing", [None, DatabaseUnavailable(), RuntimeError("a fault")], ids=str)
async def test_a_failure_ends_neither_the_round_nor_the_work(failing: Exception | None) -> None:
    assert await rounds(3, failing=failing) == ["first", "second"] * 3


async def test_only_repeated_failures_stay_out_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """A database that is away is told by whatever needs it; a fault of ours is told here, with where it happened."""
    await rounds(1, failing=DatabaseUnavailable())
    assert "background work failed" not in capsys.readouterr().out
    await rounds(1, failing=RuntimeError("a fault"))
    told = capsys.readouterr().out
    assert "background work failed" in told
    assert "a fault" in told


async def test_it_stops_in_the_middle_of_a_round_and_before_it_began() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def endless() -> None:
        started.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    never_started = Periodic("test", 0.001, endless)
    await never_started.stop()
    assert not started.is_set()
    periodic = Periodic("test", 0.001, endless)
    periodic.start()
    async with asyncio.timeout(10):
        await started.wait()
        assert not ended.is_set()
        await periodic.stop()
    assert ended.is_set()
