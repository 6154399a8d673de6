"""Creates the first signing keys in the background, so that no request waits for an RSA key."""

import asyncio

import structlog

from idp.background import BackgroundService
from idp.signing.keyring import Keyring

log = structlog.get_logger("idp.signing")

_RETRY_SECONDS = 0.5


class KeyPreparation(BackgroundService):
    """Creates a key of each algorithm if there is none; `Keyring.signing_key` does on demand, too.

    Args:
        keyring: the keys.
    """

    def __init__(self, keyring: Keyring) -> None:
        super().__init__("signing keys", self._prepare_with_retries)
        self._keyring = keyring

    async def _prepare_with_retries(self) -> None:
        while True:
            try:
                await self._keyring.signing_keys()
            except Exception as error:  # noqa: BLE001  not migrated yet, or under another secret: `/readyz` has the reason
                log.debug("the signing keys cannot be created yet", error=type(error).__name__)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return
