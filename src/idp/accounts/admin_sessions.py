"""Sessions of a user, for administrators: list and end them (S4-07)."""

from typing import Any

from litestar import Request, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from idp import errors
from idp.accounts import manage_users
from idp.accounts.manage_users import By
from idp.accounts.shapes import SessionInfo, SessionList
from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.ops.openapi import responses
from idp.principal.guards import accepts, requires_admin
from idp.principal.model import AuthMethod, Principal
from idp.sessions.listing import list_live
from idp.users import administration

_PATH = "/api/auth/admin/users/{user_id:str}/sessions"
_TAGS = ["Administration"]
_MANAGE = accepts(AuthMethod.ADMIN_TOKEN, AuthMethod.SERVICE_TOKEN)
_ERRORS = responses(errors.UserNotFound, errors.AdminRequired)
AdminRequest = Request[Principal, Any, Any]


class SignedOutUser(Struct, frozen=True):
    """The user and the number of ended sessions."""

    success: bool
    user_id: str
    ended_sessions: int


@get(_PATH, guards=[requires_admin], opt=_MANAGE, tags=_TAGS, summary="List sessions of a user", responses=_ERRORS)
async def user_sessions(
    request: AdminRequest, database: NamedDependency[Database], user_id: FromPath[str]
) -> SessionList:
    """Return the sessions of a user with the apps that each signed in to, newest first. `current` marks the session of
    the request.
    """
    async with database.transaction() as session:
        await administration.get_user(session, user_id)
        live = await list_live(session, user_id, current=request.user.credential.session_id)
    return SessionList([SessionInfo.of(each) for each in live])


@delete(
    _PATH,
    guards=[requires_admin],
    opt=_MANAGE,
    tags=_TAGS,
    summary="Sign a user out everywhere",
    status_code=200,
    responses=_ERRORS,
)
async def end_user_sessions(
    request: AdminRequest, database: NamedDependency[Database], user_id: FromPath[str]
) -> SignedOutUser:
    """End all sessions of a user with their access and refresh tokens. Password and API keys stay."""
    ended = await manage_users.end_sessions(database, By(request.user, origin_of(request)), user_id)
    return SignedOutUser(success=True, user_id=user_id, ended_sessions=ended)


ROUTES = (user_sessions, end_user_sessions)
