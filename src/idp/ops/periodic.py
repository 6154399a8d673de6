"""Work that comes round again and again in the background, and survives whatever goes wrong once."""

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
    """Does some work every so many seconds, for as long as the service runs.

    A database that is away is no news here: the work is tried again when its time comes round. Any other error is
    logged, and ends neither the rest of the work nor the next round.

    Args:
        name: what the log calls it.
        seconds: between the end of one round and the beginning of the next; the first one waits too.
        work: what is done in a round, in this order.
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
                except Exception as error:  # noqa: BLE001  nobody waits for this; the next round may succeed
                    log.error("background work failed", work=self.name, **describe(error))  # noqa: TRY400
