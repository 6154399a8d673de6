"""A user's consents: list what was granted to apps, and withdraw it (SEC-45)."""

from datetime import datetime
from typing import Any

from litestar import delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from idp import errors
from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.ops.openapi import responses
from idp.principal.guards import requires_user
from idp.principal.requests import UserRequest, user_id_of
from idp.provider import consents

_PATH = "/api/auth/consents"
_SHARED: dict[str, Any] = {"guards": [requires_user], "tags": ["Sessions"]}


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
    async with database.transaction() as session:
        granted = await consents.list_of(session, user_id_of(request))
    return ConsentList(
        [
            ConsentOut(each.client_id, each.client_name, each.scopes, each.granted_at, each.updated_at)
            for each in granted
        ]
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
    ended = await consents.take_back(database, request.user, origin_of(request), client_id)
    return WithdrawnConsent(success=True, client_id=client_id, sessions_ended=ended)


ROUTES = (list_consents, withdraw_consent)
