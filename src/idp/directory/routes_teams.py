"""Routes of teams: any caller can list them, admins and the team's admins manage them (S3-31, S3-32, S3-72)."""

from typing import Any
from uuid import UUID

from litestar import Request, Response, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from idp import errors
from idp.db.engine import Database
from idp.directory.shapes import Member, NewMembership, NewTeam, Removed, TeamChange, TeamOut
from idp.directory.team_management import TEAM_MANAGEMENT
from idp.ops.openapi import responses
from idp.ops.paging import Limit, Offset, OptionalLimit
from idp.principal.guards import DELEGATED, MACHINES, accepts, requires_admin, requires_principal, requires_team_admin
from idp.principal.model import AuthMethod, Principal, Team
from idp.principal.requests import AnyRequest

_TAGS = ["Teams"]
_READ_MINE = accepts(*DELEGATED, AuthMethod.ADMIN_TOKEN)
_READ_ALL = accepts(*MACHINES, AuthMethod.ADMIN_TOKEN)
_MANAGE = accepts(AuthMethod.ADMIN_TOKEN, AuthMethod.SERVICE_TOKEN)
_BY_TEAM_ADMIN: dict[str, Any] = {"guards": [requires_team_admin], "opt": _MANAGE, "tags": _TAGS}
_ONE_TEAM = responses(errors.TeamNotFound, errors.TeamAdminRequired)


@get("/teams", guards=[requires_principal], opt=_READ_MINE, tags=_TAGS, sync_to_thread=False)
def my_teams(request: Request[Principal, Any, Any]) -> tuple[Team, ...]:
    """Return the caller's active teams; a service has none."""
    return request.user.user.teams if request.user.user else ()


@get("/teams/all", guards=[requires_principal], opt=_READ_ALL, tags=_TAGS)
async def all_teams(
    request: AnyRequest, database: NamedDependency[Database], limit: OptionalLimit = None, offset: Offset = 0
) -> Response[list[TeamOut]]:
    """Return the active teams, all or one page."""
    return await TEAM_MANAGEMENT.list_active(request, database, limit=limit, offset=offset)


@post(
    "/teams",
    guards=[requires_admin],
    opt=_MANAGE,
    tags=_TAGS,
    status_code=201,
    responses=responses(errors.TeamNameTaken, errors.ValidationFailed, errors.AdminRequired),
)
async def create_team(request: AnyRequest, database: NamedDependency[Database], data: JSONBody[NewTeam]) -> TeamOut:
    """Create a team."""
    return await TEAM_MANAGEMENT.create(request, database, data)


@get("/teams/{team_id:uuid}", **_BY_TEAM_ADMIN, responses=_ONE_TEAM)
async def get_team(database: NamedDependency[Database], team_id: FromPath[UUID]) -> TeamOut:
    """Return a team, active or not."""
    return await TEAM_MANAGEMENT.get(database, team_id)


@patch(
    "/teams/{team_id:uuid}",
    **_BY_TEAM_ADMIN,
    responses=_ONE_TEAM | responses(errors.TeamNameTaken, errors.ValidationFailed),
)
async def change_team(
    request: AnyRequest, database: NamedDependency[Database], team_id: FromPath[UUID], data: JSONBody[TeamChange]
) -> TeamOut:
    """Rename, deactivate or activate a team, or change its external reference."""
    return await TEAM_MANAGEMENT.change(request, database, team_id, data)


@delete("/teams/{team_id:uuid}", **_BY_TEAM_ADMIN, status_code=200, responses=_ONE_TEAM)
async def deactivate_team(request: AnyRequest, database: NamedDependency[Database], team_id: FromPath[UUID]) -> TeamOut:
    """Deactivate a team. It is removed from principals immediately, and keeps its members for a reactivation."""
    return await TEAM_MANAGEMENT.change(request, database, team_id, TeamChange(is_active=False))


@get("/teams/{team_id:uuid}/members", **_BY_TEAM_ADMIN, responses=_ONE_TEAM)
async def team_members(
    request: AnyRequest,
    database: NamedDependency[Database],
    team_id: FromPath[UUID],
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response[list[Member]]:
    """Return a page of a team's members."""
    return await TEAM_MANAGEMENT.list_members(request, database, team_id, limit=limit, offset=offset)


@get(
    "/teams/{team_id:uuid}/members/{user_id:str}",
    **_BY_TEAM_ADMIN,
    responses=_ONE_TEAM | responses(errors.TeamNotFound, errors.MembershipNotFound),
)
async def get_team_member(
    database: NamedDependency[Database], team_id: FromPath[UUID], user_id: FromPath[str]
) -> Member:
    """Return the membership of a user in a team."""
    return await TEAM_MANAGEMENT.get_member(database, team_id, user_id)


@put(
    "/teams/{team_id:uuid}/members/{user_id:str}",
    **_BY_TEAM_ADMIN,
    responses=_ONE_TEAM | responses(errors.TeamNotFound, errors.UserNotFound, errors.ValidationFailed),
)
async def set_team_member(
    request: AnyRequest,
    database: NamedDependency[Database],
    team_id: FromPath[UUID],
    user_id: FromPath[str],
    data: JSONBody[NewMembership],
) -> Member:
    """Add a user to a team, or change their role in it."""
    return await TEAM_MANAGEMENT.put_member(request, database, team_id, user_id, role=data.role)


@delete("/teams/{team_id:uuid}/members/{user_id:str}", **_BY_TEAM_ADMIN, status_code=200, responses=_ONE_TEAM)
async def remove_team_member(
    request: AnyRequest, database: NamedDependency[Database], team_id: FromPath[UUID], user_id: FromPath[str]
) -> Removed:
    """Remove a user from a team; removing them again is not an error."""
    return await TEAM_MANAGEMENT.remove_member(request, database, team_id, user_id)


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
