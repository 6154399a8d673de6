"""A background service that repeats its work at an interval, and continues after errors."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from idp.background import BackgroundService
from idp.errors import DatabaseUnavailable
from idp.ops.logging import describe

log = structlog.get_logger("idp.background")

Work = Callable[[], Awaitable[object]]


class Periodic(BackgroundService):
    """Runs functions at an interval, as long as the service runs.

    An unavailable database is ignored: the next round tries again. Any other error is logged, and stops neither the
    other functions nor the next round.

    Args:
        name: for the log and `/health`.
        seconds: between rounds, and before the first one.
        work: functions to run in each round, in this order.
    """

    def __init__(self, name: str, seconds: float, *work: Work) -> None:
        super().__init__(name, self._run)
        self._seconds = seconds
        self._rounds = work

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            for work in self._rounds:
                try:
                    with contextlib.suppress(DatabaseUnavailable):
                        await work()
                except Exception as error:  # noqa: BLE001  the next round may succeed
                    log.error("background work failed", work=self.name, **describe(error))  # noqa: TRY400
