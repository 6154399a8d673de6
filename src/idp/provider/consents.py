"""Consent: which scopes a user granted to a client, remembered until it is withdrawn (SEC-45)."""

from collections.abc import Collection
from datetime import datetime
from urllib.parse import urlsplit

from msgspec import Struct
from sqlalchemy import ColumnElement, delete, func, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.audit.record import Origin, record
from idp.db.engine import Database
from idp.errors import ConsentNotFound
from idp.principal.model import Principal
from idp.principal.reauthorize import reauthorize
from idp.provider.models import AuthorizationCodeRow, AuthorizationRequestRow, ClientRow, ConsentRow
from idp.sessions import service as sessions
from idp.sessions.models import SessionRow

WITHDRAWN = "consent_withdrawn"
_BOTH: ColumnElement[list[str]] = literal_column(
    "ARRAY(SELECT DISTINCT unnest(consents.scopes || excluded.scopes) ORDER BY 1)"
)


class Consent(Struct, frozen=True):
    """What a user granted to an app.

    Attributes:
        last_used_at: when the app last used it; None if it has no session any more.
    """

    client_id: str
    client_name: str
    scopes: tuple[str, ...]
    granted_at: datetime
    updated_at: datetime
    last_used_at: datetime | None


async def list_of(session: AsyncSession, user_id: str) -> list[Consent]:
    """Return what a user granted, by the names of the apps."""
    used = select(func.max(SessionRow.last_seen_at)).where(
        SessionRow.user_id == user_id, SessionRow.client_id == ConsentRow.client_id
    )
    query = (
        select(ConsentRow, ClientRow.name, used.scalar_subquery())
        .join(ClientRow, ClientRow.client_id == ConsentRow.client_id)
        .where(ConsentRow.user_id == user_id)
        .order_by(ClientRow.name, ClientRow.client_id)
    )
    rows = (await session.execute(query)).all()
    return [
        Consent(row.client_id, name, tuple(row.scopes), row.created_at, row.updated_at, last_used)
        for row, name, last_used in rows
    ]


async def take_back(database: Database, caller: Principal, origin: Origin, client_id: str) -> int:
    """Forget what the caller granted to an app, end the app's sessions, and return how many were live.

    Raises:
        ConsentNotFound: the caller granted it nothing.
        TokenRevoked: the caller's session ended meanwhile; also UserInactive.
    """
    user_id = caller.user_id
    async with database.transaction() as session:
        await reauthorize(session, caller)
        if not await withdraw(session, user_id, client_id):
            raise ConsentNotFound
        ended = await sessions.end_of_grant(session, origin, user_id, client_id, reason=WITHDRAWN)
        record(session, origin, action="consent.withdrawn", user_id=user_id, details={"client_id": client_id})
    return ended


async def granted_scopes(session: AsyncSession, user_id: str, client_id: str) -> frozenset[str]:
    """Return the scopes that the user granted to the client."""
    row = await session.get(ConsentRow, (user_id, client_id))
    return frozenset() if row is None else frozenset(row.scopes)


async def grant(session: AsyncSession, user_id: str, client_id: str, scopes: Collection[str]) -> None:
    """Add scopes to what the user granted to the client."""
    now = clock.now()
    new = insert(ConsentRow).values(
        user_id=user_id, client_id=client_id, scopes=sorted(scopes), created_at=now, updated_at=now
    )
    await session.execute(
        new.on_conflict_do_update(
            index_elements=["user_id", "client_id"], set_={"scopes": _BOTH, "updated_at": new.excluded.updated_at}
        )
    )


async def withdraw(session: AsyncSession, user_id: str, client_id: str) -> bool:
    """Forget what the user granted to the client, also in requests and codes that are under way.

    End the client's sessions afterwards: the deletion waits for codes that are being exchanged.

    Returns:
        False if the user granted nothing.
    """
    query = delete(ConsentRow).where(ConsentRow.user_id == user_id, ConsentRow.client_id == client_id)
    if not (await session.execute(query.returning(ConsentRow.client_id))).all():
        return False
    requests, codes = AuthorizationRequestRow, AuthorizationCodeRow
    approved = update(requests).where(requests.client_id == client_id, requests.consented_user_id == user_id)
    await session.execute(approved.values(consented_user_id=None))
    of_user = select(SessionRow.id).where(SessionRow.user_id == user_id)
    await session.execute(delete(codes).where(codes.client_id == client_id, codes.session_id.in_(of_user)))
    return True


def is_remembered_for(client: ClientRow) -> bool:
    """Whether consent to this client may be assumed from an earlier one.

    Not for a public client whose redirect URI other apps of the device can receive (RFC 8252 section 8.6).
    """
    return client.auth_method != "none" or all(urlsplit(uri).scheme == "https" for uri in client.redirect_uris)
