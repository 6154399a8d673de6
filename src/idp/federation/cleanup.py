"""Deletes logins at providers that have expired."""

from idp.db.engine import Database
from idp.federation.login_state import LoginStates
from idp.ops.periodic import Periodic

_SECONDS = 300.0


class FederationCleanup(Periodic):
    """Deletes a batch of expired logins every five minutes.

    Args:
        database: has them.
        states: deletes them.
    """

    def __init__(self, database: Database, states: LoginStates) -> None:
        super().__init__("expired federated logins", _SECONDS, self.clean_up)
        self._database = database
        self._states = states

    async def clean_up(self) -> None:
        """Delete a batch.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        async with self._database.transaction() as session:
            await self._states.forget_expired(session)
