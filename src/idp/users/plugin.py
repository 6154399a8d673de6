"""Plugin of the password workers and second factors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar.config.app import AppConfig

from idp.plugin import Plugin
from idp.users.factors.enrolled import EnrolledFactors
from idp.users.passwords import Passwords


class UsersPlugin(Plugin):
    """Provides `passwords`, whose worker processes run as long as the application.

    Args:
        passwords: hashes and checks passwords.
        factors: knows which second factors users have.
    """

    def __init__(self, passwords: Passwords, factors: EnrolledFactors) -> None:
        self._passwords = passwords
        self._factors = factors
        self.provides = {"passwords": passwords}

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        app_config.lifespan.append(self._workers)
        app_config.state["has_second_factor"] = self._factors.has_any  # for guards, which import no package above
        return super().on_app_init(app_config)

    @asynccontextmanager
    async def _workers(self, _app: object) -> AsyncIterator[None]:
        self._passwords.start()
        try:
            yield
        finally:
            self._passwords.stop()
