"""Services that run in the background: the base class that starts, stops and names their tasks."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog

log = structlog.get_logger("idp.background")

Work = Callable[[], Coroutine[Any, Any, None]]


class BackgroundService:
    """Runs one task for each function it is given, from `start` to `stop`.

    Args:
        name: how the log and `/health` call it.
        work: coroutine functions; each runs in a task of its own, and may end by itself.
    """

    def __init__(self, name: str, *work: Work) -> None:
        self.name = name
        self._work = work
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the tasks."""
        self._tasks = [asyncio.create_task(work(), name=self.name) for work in self._work]
        for task in self._tasks:
            task.add_done_callback(self._report)

    async def stop(self) -> None:
        """Cancel the tasks and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def failed(self) -> bool:
        """Whether a task has ended with an exception."""
        return any(task.done() and not task.cancelled() and task.exception() is not None for task in self._tasks)

    def _report(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background service failed", service=self.name, error=type(error).__name__)


@asynccontextmanager
async def running(service: BackgroundService) -> AsyncIterator[None]:
    """Start a service, and stop it at the end of the block."""
    service.start()
    log.debug("background service started", service=service.name)
    try:
        yield
    finally:
        await service.stop()
        log.debug("background service stopped", service=service.name)
