"""Routes of teams: read by anyone, managed by admins, and by team admins for their own team (S3-31, S3-32, S3-72)."""

from typing import Any
from uuid import UUID

from litestar import Request, Response, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from idp import errors
from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.directory import members, teams
from idp.directory.shapes import Member, NewMembership, NewTeam, Removed, TeamChange, TeamOut
from idp.ops.openapi import responses
from idp.ops.paging import Limit, Offset, OptionalLimit, page
from idp.principal.guards import MACHINES, accepts, requires_admin, requires_principal, requires_team_admin
from idp.principal.model import AuthMethod, Principal, Team
from idp.principal.reauthorize import reauthorize
from idp.principal.requests import AnyRequest

_TAGS = ["Teams"]
_READ = accepts(*MACHINES, AuthMethod.ADMIN_TOKEN)
_MANAGE = accepts(AuthMethod.ADMIN_TOKEN, AuthMethod.SERVICE_TOKEN)
_ONE_TEAM = responses(errors.TeamNotFound, errors.TeamAdminRequired)


@get("/teams", guards=[requires_principal], opt=_READ, tags=_TAGS, sync_to_thread=False)
def my_teams(request: Request[Principal, Any, Any]) -> tuple[Team, ...]:
    """Return the caller's active teams; a service has none."""
    return request.user.user.teams if request.user.user else ()


@get("/teams/all", guards=[requires_principal], opt=_READ, tags=_TAGS)
async def all_teams(
    request: AnyRequest, database: NamedDependency[Database], limit: OptionalLimit = None, offset: Offset = 0
) -> Response[list[TeamOut]]:
    """Return the active teams, all of them or a page."""
    async with database.transaction() as session:
        items, total = await teams.list_active(session, limit=limit, offset=offset)
    return page(request, items, total=total, limit=limit, offset=offset)


@post(
    "/teams",
    guards=[requires_admin],
    opt=_MANAGE,
    tags=_TAGS,
    status_code=201,
    responses=responses(errors.TeamNameTaken, errors.ValidationFailed, errors.AdminRequired),
)
async def create_team(request: AnyRequest, database: NamedDependency[Database], data: JSONBody[NewTeam]) -> TeamOut:
    """Make a team."""
    async with database.transaction() as session:
        team = await teams.create(session, origin_of(request), data)
        await reauthorize(session, request.user, manages=True)
        return team


@get(
    "/teams/{team_id:uuid}",
    guards=[requires_team_admin],
    opt=_MANAGE,
    tags=_TAGS,
    responses=_ONE_TEAM,
)
async def get_team(database: NamedDependency[Database], team_id: FromPath[UUID]) -> TeamOut:
    """Return a team, active or not."""
    async with database.transaction() as session:
        return await teams.get(session, team_id)


@patch(
    "/teams/{team_id:uuid}",
    guards=[requires_team_admin],
    opt=_MANAGE,
    tags=_TAGS,
    responses=_ONE_TEAM | responses(errors.TeamNameTaken, errors.ValidationFailed),
)
async def change_team(
    request: AnyRequest,
    database: NamedDependency[Database],
    team_id: FromPath[UUID],
    data: JSONBody[TeamChange],
) -> TeamOut:
    """Rename a team, change its reference, deactivate or activate it."""
    async with database.transaction() as session:
        await teams.hold(session, team_id)
        await reauthorize(session, request.user, team=team_id)
        return await teams.change(session, origin_of(request), team_id, data)


@delete(
    "/teams/{team_id:uuid}",
    guards=[requires_team_admin],
    opt=_MANAGE,
    tags=_TAGS,
    status_code=200,
    responses=_ONE_TEAM,
)
async def deactivate_team(request: AnyRequest, database: NamedDependency[Database], team_id: FromPath[UUID]) -> TeamOut:
    """Deactivate a team: it leaves every principal at once and keeps its members for the day it is activated again."""
    async with database.transaction() as session:
        await teams.hold(session, team_id)
        await reauthorize(session, request.user, team=team_id)
        return await teams.change(session, origin_of(request), team_id, TeamChange(is_active=False))


@get(
    "/teams/{team_id:uuid}/members",
    guards=[requires_team_admin],
    opt=_MANAGE,
    tags=_TAGS,
    responses=_ONE_TEAM,
)
async def team_members(
    request: AnyRequest,
    database: NamedDependency[Database],
    team_id: FromPath[UUID],
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response[list[Member]]:
    """Return a page of a team's members."""
    async with database.transaction() as session:
        items, total = await members.list_team(session, team_id, limit=limit, offset=offset)
    return page(request, items, total=total, limit=limit, offset=offset)


@get(
    "/teams/{team_id:uuid}/members/{user_id:str}",
    guards=[requires_team_admin],
    opt=_MANAGE,
    tags=_TAGS,
    responses=_ONE_TEAM | responses(errors.TeamNotFound, errors.MembershipNotFound),
)
async def get_team_member(
    database: NamedDependency[Database], team_id: FromPath[UUID], user_id: FromPath[str]
) -> Member:
    """Return one membership."""
    async with database.transaction() as session:
        return await members.get_team_member(session, team_id, user_id)


@put(
    "/teams/{team_id:uuid}/members/{user_id:str}",
    guards=[requires_team_admin],
    opt=_MANAGE,
    tags=_TAGS,
    responses=_ONE_TEAM | responses(errors.TeamNotFound, errors.UserNotFound, errors.ValidationFailed),
)
async def set_team_member(
    request: AnyRequest,
    database: NamedDependency[Database],
    team_id: FromPath[UUID],
    user_id: FromPath[str],
    data: JSONBody[NewMembership],
) -> Member:
    """Put a user into a team, or change their role in it."""
    async with database.transaction() as session:
        await members.hold_team_member(session, team_id, user_id)
        await reauthorize(session, request.user, team=team_id)
        return await members.set_team_member(
            session, origin_of(request), team_id=team_id, user_id=user_id, role=data.role
        )


@delete(
    "/teams/{team_id:uuid}/members/{user_id:str}",
    guards=[requires_team_admin],
    opt=_MANAGE,
    tags=_TAGS,
    status_code=200,
    responses=_ONE_TEAM,
)
async def remove_team_member(
    request: AnyRequest, database: NamedDependency[Database], team_id: FromPath[UUID], user_id: FromPath[str]
) -> Removed:
    """Take a user out of a team; doing it twice is not an error."""
    async with database.transaction() as session:
        await members.hold_team_member(session, team_id, user_id)
        await reauthorize(session, request.user, team=team_id)
        removed = await members.remove_team_member(session, origin_of(request), team_id=team_id, user_id=user_id)
    return Removed(removed)


ROUTES = (
    my_teams,
    all_teams,
    create_team,
    get_team,
    change_team,
    deactivate_team,
    team_members,
    get_team_member,
    set_team_member,
    remove_team_member,
)
