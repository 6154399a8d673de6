"""A user's consents: list what was granted to apps, and withdraw it (SEC-45)."""

from datetime import datetime
from typing import Any

from litestar import delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct
from sqlalchemy import select

from idp import errors
from idp.audit.record import origin_of, record
from idp.db.engine import Database
from idp.ops.openapi import responses
from idp.principal.guards import requires_user
from idp.principal.reauthorize import reauthorize
from idp.principal.requests import UserRequest, user_id_of
from idp.provider import consents
from idp.provider.models import ClientRow, ConsentRow
from idp.sessions import service as sessions

_PATH = "/api/auth/consents"
_SHARED: dict[str, Any] = {"guards": [requires_user], "tags": ["Sessions"]}
WITHDRAWN = "consent_withdrawn"


class ConsentOut(Struct, frozen=True):
    """What a user granted to an app."""

    client_id: str
    client_name: str
    scopes: tuple[str, ...]
    granted_at: datetime
    updated_at: datetime


class ConsentList(Struct, frozen=True):
    """The apps that a user granted something."""

    consents: list[ConsentOut]


class WithdrawnConsent(Struct, frozen=True):
    """The app, and how many of its sessions were ended."""

    success: bool
    client_id: str
    sessions_ended: int


@get(_PATH, summary="List my consents", **_SHARED)
async def list_consents(request: UserRequest, database: NamedDependency[Database]) -> ConsentList:
    """Return the apps that the user granted something, by name."""
    query = (
        select(ConsentRow, ClientRow.name)
        .join(ClientRow, ClientRow.client_id == ConsentRow.client_id)
        .where(ConsentRow.user_id == user_id_of(request))
        .order_by(ClientRow.name, ClientRow.client_id)
    )
    async with database.transaction() as session:
        rows = (await session.execute(query)).all()
    return ConsentList(
        [ConsentOut(row.client_id, name, tuple(row.scopes), row.created_at, row.updated_at) for row, name in rows]
    )


@delete(
    _PATH + "/{client_id:str}",
    summary="Withdraw consent",
    status_code=200,
    responses=responses(errors.ConsentNotFound),
    **_SHARED,
)
async def withdraw_consent(
    request: UserRequest, client_id: FromPath[str], database: NamedDependency[Database]
) -> WithdrawnConsent:
    """Forget what the user granted to an app, and end the app's sessions: its tokens are refused at once."""
    user_id, origin = user_id_of(request), origin_of(request)
    async with database.transaction() as session:
        await reauthorize(session, request.user)
        if not await consents.withdraw(session, user_id, client_id):
            raise errors.ConsentNotFound
        ended = await sessions.end_of_grant(session, origin, user_id, client_id, reason=WITHDRAWN)
        record(session, origin, action="consent.withdrawn", user_id=user_id, details={"client_id": client_id})
    return WithdrawnConsent(success=True, client_id=client_id, sessions_ended=ended)


ROUTES = (list_consents, withdraw_consent)
