"""Plugin of the password workers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar.config.app import AppConfig

from idp.plugin import Plugin
from idp.users.passwords import Passwords


class UsersPlugin(Plugin):
    """Provides `passwords`, whose worker processes run as long as the application."""

    def __init__(self, passwords: Passwords) -> None:
        self._passwords = passwords
        self.provides = {"passwords": passwords}

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        app_config.lifespan.append(self._workers)
        return super().on_app_init(app_config)

    @asynccontextmanager
    async def _workers(self, _app: object) -> AsyncIterator[None]:
        self._passwords.start()
        try:
            yield
        finally:
            self._passwords.stop()
