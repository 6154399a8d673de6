"""OAuth clients: registration and secrets. Functions work inside the caller's transaction."""

from collections.abc import Sequence
from datetime import timedelta

from advanced_alchemy.filters import OrderBy
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from idp import clock
from idp.apikeys.secret import generate
from idp.audit.record import Origin, record
from idp.db.repository import Repository
from idp.errors import ClientNotFound
from idp.ops.problems import invalid
from idp.principal.permissions import RESERVED_PREFIX
from idp.provider.models import ClientRow
from idp.provider.shapes import ClientMetadata, ClientOut
from idp.settings import Secret
from idp.signing.peppers import Peppers

SECRET_PREFIX = "idp_cs"  # noqa: S105  of client secrets, for secret scanners
MAX_SCOPES = 100


class ClientRepository(Repository[ClientRow]):
    """Clients, newest first."""

    model_type = ClientRow
    ordering = (OrderBy("created_at", "desc"), OrderBy("client_id", "desc"))

    async def get_client(self, client_id: str, *, lock: bool = False) -> ClientRow:
        """Return a client.

        Raises:
            ClientNotFound: there is no such client.
        """
        row = await self.find(client_id, lock=lock)
        if row is None:
            raise ClientNotFound
        return row


class Clients:
    """Registers clients.

    Args:
        roots: root secrets, the current one first, for digests of client secrets.
    """

    def __init__(self, roots: Sequence[Secret]) -> None:
        self._peppers = Peppers(roots, "oauth-client-secret")

    async def create(self, session: AsyncSession, origin: Origin, new: ClientMetadata) -> ClientOut:
        """Register a client, and return it with its secret.

        Raises:
            ValidationFailed: it asks for scopes that clients cannot have.
        """
        secret, now = generate(SECRET_PREFIX), clock.now()
        row = ClientRow(
            client_id=f"client_{uuid7().hex}",
            name=new.client_name,
            application_type="web",
            auth_method="client_secret_basic",
            grant_types=["client_credentials"],
            scopes=_scopes(new.scope),
            redirect_uris=[],
            post_logout_redirect_uris=[],
            resources=[],
            serves=[],
            id_token_alg="RS256",  # noqa: S106  an algorithm
            require_pkce=True,
            skip_consent=False,
            declared=False,
            secret_digest=self._peppers.digest(secret).hex,
            secret_created_at=now,
            created_by=origin.actor,
        )
        session.add(row)
        await session.flush()
        record(session, origin, action="client.created", target=_target(row), details={"scopes": row.scopes})
        return ClientOut.of(row, secret)

    async def update(self, session: AsyncSession, origin: Origin, row: ClientRow, new: ClientMetadata) -> ClientOut:
        """Replace a client's name and scopes; its tokens lose the scopes that it loses.

        Raises:
            ValidationFailed: as for `create`.
        """
        before = {"name": row.name, "scopes": list(row.scopes)}
        row.name, row.scopes = new.client_name, _scopes(new.scope)
        after = {"name": row.name, "scopes": list(row.scopes)}
        if before != after:
            details = {name: [before[name], after[name]] for name in after if before[name] != after[name]}
            record(session, origin, action="client.changed", target=_target(row), details=details)
        await session.flush()
        return ClientOut.of(row)

    async def rotate(self, session: AsyncSession, origin: Origin, row: ClientRow, *, overlap_seconds: int) -> ClientOut:
        """Give a client another secret, and return it.

        Args:
            session: the caller's transaction.
            origin: the request's origin.
            row: the locked client.
            overlap_seconds: how long the present secret stays valid.
        """
        secret, now = generate(SECRET_PREFIX), clock.now()
        row.former_secret_digest = row.secret_digest if overlap_seconds else None
        row.former_secret_until = now + timedelta(seconds=overlap_seconds) if overlap_seconds else None
        row.secret_digest, row.secret_created_at = self._peppers.digest(secret).hex, now
        details = {"overlap_seconds": overlap_seconds}
        record(session, origin, action="client.secret_rotated", target=_target(row), details=details)
        await session.flush()
        return ClientOut.of(row, secret)

    async def delete(self, session: AsyncSession, origin: Origin, row: ClientRow) -> None:
        """Delete a client; its tokens end at once."""
        record(session, origin, action="client.deleted", target=_target(row), details={"name": row.name})
        await session.delete(row)


def _scopes(text: str) -> list[str]:
    scopes = list(dict.fromkeys(text.split()))
    if len(scopes) > MAX_SCOPES:
        raise invalid(["body", "scope"], f"A client has at most {MAX_SCOPES} scopes.")
    if reserved := [scope for scope in scopes if scope.startswith(RESERVED_PREFIX)]:
        raise invalid(["body", "scope"], f"Only service tokens can have {', '.join(reserved)}.")
    return scopes


def _target(row: ClientRow) -> str:
    return f"client:{row.client_id}"
