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
from idp.errors import ClientHasNoSecret, ClientNotFound
from idp.provider.client_auth import SECRET_METHODS, SECRET_PREFIX
from idp.provider.client_checks import FetchProblem, columns_of
from idp.provider.client_shapes import ClientMetadata, ClientOut
from idp.provider.models import ClientRow
from idp.sessions.service import end_of_client
from idp.settings import Secret
from idp.signing.peppers import Peppers

CLIENT_CHANGED, CLIENT_DELETED = "client_changed", "client_deleted"  # why sessions ended
_AUDITED = ("name", "auth_method", "grant_types", "scopes", "redirect_uris", "skip_consent")


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
        fetch_problem: tells why this service must not call a URL (SEC-66).
    """

    def __init__(self, roots: Sequence[Secret], *, fetch_problem: FetchProblem) -> None:
        self._peppers = Peppers(roots, "oauth-client-secret")
        self._fetch_problem = fetch_problem

    async def create(self, session: AsyncSession, origin: Origin, new: ClientMetadata) -> ClientOut:
        """Register a client, and return it with its secret, if it has one.

        Raises:
            ValidationFailed: a member cannot be accepted.
        """
        row = ClientRow(
            client_id=f"client_{uuid7().hex}",
            declared=False,
            created_by=origin.actor,
            **columns_of(new, fetch_problem=self._fetch_problem),
        )
        secret = self._fit_secret(row)
        session.add(row)
        await session.flush()
        details = {name: value for name in _AUDITED if (value := getattr(row, name))}
        record(session, origin, action="client.created", target=_target(row), details=details)
        return ClientOut.of(row, secret)

    async def update(self, session: AsyncSession, origin: Origin, row: ClientRow, new: ClientMetadata) -> ClientOut:
        """Replace a client's metadata; its tokens lose the scopes that it loses.

        If it loses a grant type, the sessions that it has of users end. A secret is returned if it needs one and has
        none.

        Raises:
            ValidationFailed: as for `create`.
        """
        columns = columns_of(new, fetch_problem=self._fetch_problem)
        changes = {name: [getattr(row, name), value] for name, value in columns.items() if getattr(row, name) != value}
        lost = set(row.grant_types) - set(columns["grant_types"])
        if lost:  # wait for exchanges of codes, which lock the client for their key; later ones see the change
            await session.refresh(row, with_for_update=True)
        for name, value in columns.items():
            setattr(row, name, value)
        secret = self._fit_secret(row)
        if changes:
            record(session, origin, action="client.changed", target=_target(row), details=changes)
        await session.flush()
        if lost:
            await end_of_client(session, origin, row.client_id, reason=CLIENT_CHANGED)
        return ClientOut.of(row, secret)

    async def declare(
        self,
        session: AsyncSession,
        origin: Origin,
        client_id: str,
        new: ClientMetadata,
        secret: Secret | None,
        *,
        declared: bool,
    ) -> None:
        """Create a client with this id, or change it to this metadata.

        Args:
            session: the caller's transaction, in which nobody else creates clients.
            origin: who does.
            client_id: chosen by the operator.
            new: the metadata.
            secret: its secret, if its method needs one.
            declared: whether config/clients.toml declares it.

        Raises:
            ValidationFailed: as for `create`.
        """
        row = await session.get(ClientRow, client_id, with_for_update=True)
        if row is None:
            columns = columns_of(new, fetch_problem=self._fetch_problem)
            row = ClientRow(client_id=client_id, declared=declared, created_by=origin.actor, **columns)
            self._set_secret(row, secret)
            session.add(row)
            details = {name: value for name in _AUDITED if (value := getattr(row, name))}
            record(session, origin, action="client.created", target=_target(row), details=details)
            return
        row.declared = declared
        if self._set_secret(row, secret):
            record(session, origin, action="client.secret_rotated", target=_target(row), details={"declared": declared})
        await self.update(session, origin, row, new)

    def _set_secret(self, row: ClientRow, secret: Secret | None) -> bool:
        """Store a chosen secret; whether it is another than before."""
        if secret is None or row.secret_digest in self._peppers.possible(secret.reveal()):
            return False
        row.secret_digest, row.secret_created_at = self._peppers.digest(secret.reveal()).hex, clock.now()
        row.former_secret_digest = row.former_secret_until = None
        return True

    def _fit_secret(self, row: ClientRow) -> str | None:
        """Create a secret if the client lacks the one that its method needs, and return it; remove one without use."""
        if row.auth_method not in SECRET_METHODS:
            row.secret_digest = row.secret_created_at = row.former_secret_digest = row.former_secret_until = None
            return None
        if row.secret_digest is not None:
            return None
        secret = generate(SECRET_PREFIX)
        row.secret_digest, row.secret_created_at = self._peppers.digest(secret).hex, clock.now()
        return secret

    async def rotate(self, session: AsyncSession, origin: Origin, row: ClientRow, *, overlap_seconds: int) -> ClientOut:
        """Give a client another secret, and return it.

        Args:
            session: the caller's transaction.
            origin: the request's origin.
            row: the locked client.
            overlap_seconds: how long the present secret stays valid.

        Raises:
            ClientHasNoSecret: it is public, or signs assertions.
        """
        if row.auth_method not in SECRET_METHODS:
            raise ClientHasNoSecret
        secret, now = generate(SECRET_PREFIX), clock.now()
        row.former_secret_digest = row.secret_digest if overlap_seconds else None
        row.former_secret_until = now + timedelta(seconds=overlap_seconds) if overlap_seconds else None
        row.secret_digest, row.secret_created_at = self._peppers.digest(secret).hex, now
        details = {"overlap_seconds": overlap_seconds}
        record(session, origin, action="client.secret_rotated", target=_target(row), details=details)
        await session.flush()
        return ClientOut.of(row, secret)

    async def delete(self, session: AsyncSession, origin: Origin, row: ClientRow) -> None:
        """Delete a client; its tokens, and the sessions that it has of users, end at once."""
        record(session, origin, action="client.deleted", target=_target(row), details={"name": row.name})
        await session.delete(row)
        await session.flush()
        await end_of_client(session, origin, row.client_id, reason=CLIENT_DELETED)


def _target(row: ClientRow) -> str:
    return f"client:{row.client_id}"
