"""The pages /admin/teams and /admin/teams/{id}."""

from uuid import UUID

from litestar.di import NamedDependency
from litestar.params import FromPath

from idp.db.engine import Database
from idp.directory.shapes import NewTeam, TeamChange
from idp.directory.team_management import TEAM_MANAGEMENT
from idp.directory.team_members import TEAM_MEMBERS
from idp.directory.teams import TEAMS
from idp.pages.admin.groups import GroupPages, Kind
from idp.pages.admin.routes import Answer, Page, admin_form, admin_page
from idp.pages.signed_in import SignedInPages
from idp.principal.requests import AnyRequest

_PATH = "/admin/teams"
_ONE = f"{_PATH}/{{team_id:uuid}}"
_KIND = Kind(
    path=_PATH,
    section="admin_teams",
    groups=TEAMS,
    members=TEAM_MEMBERS,
    management=TEAM_MANAGEMENT,
    new=NewTeam,
    change=TeamChange,
    fields=("name", "external_ref"),
    nullable=("external_ref",),
    list_template="admin/teams.html",
)


@admin_page(_PATH)
async def teams(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], database: NamedDependency[Database]
) -> Page:
    """List teams."""
    return await GroupPages(_KIND, request, signed_in_pages, database).list()


@admin_form(_PATH)
async def create_team(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], database: NamedDependency[Database]
) -> Answer:
    """Create a team."""
    return await GroupPages(_KIND, request, signed_in_pages, database).create()


@admin_page(_ONE)
async def team(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    team_id: FromPath[UUID],
) -> Page:
    """Show a team with its members."""
    return await GroupPages(_KIND, request, signed_in_pages, database).open(team_id)


@admin_form(f"{_ONE}/change")
async def change_team(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    team_id: FromPath[UUID],
) -> Answer:
    """Rename a team."""
    return await GroupPages(_KIND, request, signed_in_pages, database).change(team_id)


@admin_form(f"{_ONE}/activate")
async def activate_team(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    team_id: FromPath[UUID],
) -> Answer:
    """Activate a team."""
    return await GroupPages(_KIND, request, signed_in_pages, database).activate(team_id, is_active=True)


@admin_form(f"{_ONE}/deactivate")
async def deactivate_team(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    team_id: FromPath[UUID],
) -> Answer:
    """Deactivate a team."""
    return await GroupPages(_KIND, request, signed_in_pages, database).activate(team_id, is_active=False)


@admin_form(f"{_ONE}/members/put")
async def put_team_member(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    team_id: FromPath[UUID],
) -> Answer:
    """Add a user to a team."""
    return await GroupPages(_KIND, request, signed_in_pages, database).put_member(team_id)


@admin_form(f"{_ONE}/members/remove")
async def remove_team_member(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    team_id: FromPath[UUID],
) -> Answer:
    """Remove a user from a team."""
    return await GroupPages(_KIND, request, signed_in_pages, database).remove_member(team_id)


ROUTES = (
    teams,
    create_team,
    team,
    change_team,
    activate_team,
    deactivate_team,
    put_team_member,
    remove_team_member,
)
