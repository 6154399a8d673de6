"""Our logout ends the session at the provider too (OpenID Connect RP-Initiated Logout 1.0).

Our session has ended before the browser leaves, so nothing is lost if the provider never sends it back. Where it was
going is sealed in `state`.
"""

from datetime import timedelta
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct

from idp import clock
from idp.db.engine import Database
from idp.errors import DatabaseUnavailable, ProviderNotFound
from idp.federation.models import FederatedSessionRow
from idp.federation.providers import Providers
from idp.signing.sealing import Sealer

log = structlog.get_logger("idp.federation")

_LIFE = timedelta(hours=1)
_MAX_STATE, _MAX_HINT = 2000, 4000  # characters that fit into an address everywhere


class Leaving(Struct, frozen=True):
    """Where the browser goes to end the session at the provider."""

    url: str
    label: str


class _Destination(Struct, frozen=True):
    """Where the browser goes afterwards, and until when."""

    to: str
    until: int


class FederatedLogout:
    """Takes browsers through the logout at their provider.

    Args:
        database: has the sessions.
        providers: the configured providers.
        sealer: opens ID tokens, and seals the state.
        public_url: of the service.
    """

    def __init__(self, database: Database, providers: Providers, sealer: Sealer, public_url: str) -> None:
        self.providers = providers
        self._database = database
        self._sealer = sealer
        self._public_url = public_url

    async def leave(self, session_id: UUID, destination: str | None = None) -> Leaving | None:
        """Return where the browser of an ended session goes, None if it did not begin at a provider with a logout.

        Args:
            session_id: which has ended.
            destination: where the browser goes afterwards, None for our own page.
        """
        try:
            async with self._database.transaction() as session:
                row = await session.get(FederatedSessionRow, session_id)
        except DatabaseUnavailable:
            return None
        if row is None:
            return None
        try:
            provider = self.providers.get(row.provider)
        except ProviderNotFound:  # it was removed from the settings
            return None
        state = None if destination is None else self._seal(destination)
        if not provider.settings.logout or (state is not None and len(state) > _MAX_STATE):
            return None
        return_to = f"{self._public_url}/federation/{provider.name}/signed-out"
        url = await provider.upstream.logout_url(self._hint(row.sealed_id_token), return_to=return_to, state=state)
        return None if url is None else Leaving(url, provider.label)

    def destination(self, state: str) -> str | None:
        """Return where a browser that comes back goes, None for our own page."""
        opened = self._sealer.open(state, purpose="logout") if state else None
        if opened is None:
            return None
        found = msgspec.json.decode(opened, type=_Destination)
        return found.to if found.until > clock.timestamp() else None

    def _seal(self, destination: str) -> str:
        until = clock.timestamp() + int(_LIFE.total_seconds())
        return self._sealer.seal(msgspec.json.encode(_Destination(destination, until)), purpose="logout")

    def _hint(self, sealed: str | None) -> str | None:
        opened = self._sealer.open(sealed, purpose="id-token") if sealed is not None else None
        return opened.decode() if opened is not None and len(opened) <= _MAX_HINT else None
