"""Creates the first signing keys in the background, so that no request waits for one, and rotates old ones."""

import asyncio
from datetime import timedelta

import structlog

from idp.background import BackgroundService
from idp.errors import DatabaseUnavailable
from idp.ops.logging import describe
from idp.signing.keyring import Keyring

log = structlog.get_logger("idp.signing")

_RETRY_SECONDS = 0.5
_CHECK_SECONDS = 600.0


class KeyUpkeep(BackgroundService):
    """Creates a key of each algorithm if there is none (`Keyring.signing_key` does on demand, too), and rotates by age.

    Every process checks; the key ring makes sure that one of them rotates.

    Args:
        keyring: the keys.
        max_age: rotates keys that have signed longer; None: never.
    """

    def __init__(self, keyring: Keyring, max_age: timedelta | None) -> None:
        super().__init__("signing keys", self._prepare_and_rotate)
        self._keyring = keyring
        self._max_age = max_age

    async def rotate(self) -> None:
        """Rotate the keys that are due.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        if self._max_age is not None and (kids := await self._keyring.rotate_due(self._max_age)):
            log.info("signing keys rotated by age", kids=kids)

    async def _prepare_and_rotate(self) -> None:
        while not await self._has_keys():  # noqa: ASYNC110  nothing tells when the database is migrated
            await asyncio.sleep(_RETRY_SECONDS)
        while self._max_age is not None:
            await asyncio.sleep(_CHECK_SECONDS)
            try:
                await self.rotate()
            except DatabaseUnavailable:
                pass  # the next round tries again
            except Exception as error:  # noqa: BLE001  the next round may succeed
                log.error("signing keys cannot be rotated", **describe(error))  # noqa: TRY400

    async def _has_keys(self) -> bool:
        try:
            await self._keyring.signing_keys()
        except Exception as error:  # noqa: BLE001  not migrated, or under another secret: `/readyz` has the reason
            log.debug("the signing keys cannot be created yet", error=type(error).__name__)
            return False
        return True
