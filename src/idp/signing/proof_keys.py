"""Keys of proofs: data in requests or Valkey that is trusted only because of its key (decision 0025).

These are cached verdicts, CSRF tokens, device cookies and refresh token successors. Their keys never come from a secret
that other services hold: not from AUTH_JWT_SECRET_KEY or JWT_SECRET_KEY if there is an IDP_SECRET_KEY; otherwise only
together with a random salt from the database.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from idp.background import BackgroundService
from idp.db.engine import Database
from idp.db.installation import proof_salt
from idp.errors import DatabaseUnavailable
from idp.settings import Secret
from idp.signing.sealing import derive

log = structlog.get_logger("idp.signing")

_RETRY_SECONDS = 0.5


class ProofKey:
    """The keys of one label, the current one first."""

    def __init__(self, keys: "ProofKeys", label: str) -> None:
        self._keys = keys
        self._label = label
        self._derived: list[bytes] = []

    @property
    def all(self) -> list[bytes]:
        """All accepted keys.

        Raises:
            DatabaseUnavailable: the salt has not been read yet.
        """
        if not self._derived:
            self._derived = self._keys.derive(self._label)
        return self._derived

    @property
    def current(self) -> bytes:
        """The key for new proofs; raises as `all`."""
        return self.all[0]


class ProofKeys(BackgroundService):
    """The keys of all labels.

    Args:
        database: stores the salt.
        own: root secrets of this service only, the current one first.
        shared: shared secrets, used if there is no own one.

    Attributes:
        labels: used labels.
    """

    def __init__(self, database: Database, own: Sequence[Secret], shared: Sequence[Secret]) -> None:
        super().__init__("proof keys", self._prepare_with_retries)
        self._database = database
        self._roots = [*own] or [*shared]
        self._needs_salt = not own
        self._salt: bytes | None = None
        self._lock = asyncio.Lock()
        self._waiting: list[Callable[[], None]] = []
        self.labels: set[str] = set()

    def of(self, label: str) -> ProofKey:
        """Return the keys of a label, derived on first use."""
        self.labels.add(label)
        return ProofKey(self, label)

    def derive(self, label: str) -> list[bytes]:
        """Derive the keys of a label.

        Raises:
            DatabaseUnavailable: the salt has not been read yet.
        """
        if self._needs_salt and self._salt is None:
            raise DatabaseUnavailable
        return [derive(root, label, salt=self._salt) for root in self._roots]

    @property
    def ready(self) -> bool:
        """Whether the keys can be derived."""
        return self._salt is not None or not self._needs_salt

    async def prepare(self) -> None:
        """Read the salt, if it is needed and not read yet.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        if self.ready:
            return
        async with self._lock:
            if self._salt is None:
                self._salt = await proof_salt(self._database)
        for callback in self._waiting:
            callback()
        self._waiting.clear()

    def when_ready(self, callback: Callable[[], None]) -> None:
        """Call a function once the keys can be derived, possibly immediately."""
        if self.ready:
            callback()
        else:
            self._waiting.append(callback)

    def start(self) -> None:
        """Read the salt in the background, with retries."""
        if not self.ready:
            super().start()

    async def _prepare_with_retries(self) -> None:
        while not self.ready:
            try:
                await self.prepare()
            except Exception as error:  # noqa: BLE001  not migrated yet, say: nothing is decided until it can be read
                log.debug("the salt of proofs cannot be read yet", error=type(error).__name__)
                await asyncio.sleep(_RETRY_SECONDS)
