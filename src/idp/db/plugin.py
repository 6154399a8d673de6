"""Plugin of the database: connections, change notifications and read-your-writes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar.config.app import AppConfig

from idp.db.change_source import ChangeSource
from idp.db.development_mark import DevelopmentMark
from idp.db.engine import Database
from idp.db.polling import ChangeLogCleanup
from idp.db.read_your_writes import wait_for_own_changes
from idp.errors import DatabaseUnavailable
from idp.plugin import Plugin


class DatabasePlugin(Plugin):
    """Provides `database`, receives changes, and closes the connections at shutdown.

    Args:
        database: PostgreSQL.
        change_listener: receives its changes.
        refuse_development: whether a database of `idp dev` ends the process (decision 0027).
    """

    def __init__(self, database: Database, change_listener: ChangeSource, *, refuse_development: bool) -> None:
        self._database = database
        self._change_listener = change_listener
        self.provides = {"database": database}
        cleanup = ChangeLogCleanup(database)
        self.services = [*([DevelopmentMark(database)] if refuse_development else []), change_listener, cleanup]
        self.probes = {"database": self._probe}

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        app_config.lifespan.append(self._connections)
        app_config.before_send.append(wait_for_own_changes(self._change_listener))
        return super().on_app_init(app_config)

    @asynccontextmanager
    async def _connections(self, _app: object) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self._database.close()

    async def _probe(self) -> str | None:
        try:
            await self._database.ping()
        except DatabaseUnavailable as error:
            if error.mistake is None:
                raise
            return f"unhealthy: {error.mistake}"
        return None
