"""Stop a production process on a database of `idp dev` that was unreachable at start."""

import asyncio
import signal

import structlog

from idp.background import BackgroundService
from idp.db import installation
from idp.db.engine import Database

log = structlog.get_logger("idp.db")

_RETRY_SECONDS = 0.5


class DevelopmentMark(BackgroundService):
    """Checks the development mark once, as soon as the database answers (decision 0027)."""

    def __init__(self, database: Database) -> None:
        super().__init__("development mark", self._check_mark)
        self._database = database

    async def _check_mark(self) -> None:
        while True:
            try:
                mark = await installation.find(self._database, installation.DEVELOPMENT)
            except Exception as error:  # noqa: BLE001  unreachable, or not migrated yet
                log.debug("the database cannot be checked yet", error=type(error).__name__)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if mark is not None:
                log.critical(installation.DEVELOPMENT_DATABASE_MESSAGE)
                signal.raise_signal(signal.SIGTERM)
            return
