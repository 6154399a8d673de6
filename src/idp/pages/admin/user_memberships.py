"""The forms of the page of a user that change teams and domains."""

from litestar.di import NamedDependency
from litestar.params import FromPath

from idp.accounts.manage_users import By
from idp.db.engine import Database
from idp.directory.domain_management import DOMAIN_MANAGEMENT
from idp.directory.memberships import find_domain, find_team
from idp.directory.shapes import NewMembership
from idp.directory.team_management import TEAM_MANAGEMENT
from idp.errors import DomainNotFound, TeamNotFound
from idp.pages.admin.routes import Answer, admin_form, group_id, values
from idp.pages.admin.user import PATH
from idp.pages.admin.user_actions import Form, UserForms
from idp.pages.signed_in import SignedInPages
from idp.principal.requests import AnyRequest


@admin_form(f"{PATH}/teams/add")
async def add_team(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    user_id: FromPath[str],
) -> Answer:
    """Add a user to the team with a name, or change their role in it."""

    async def change(_by: By, form: Form) -> None:
        new = values({"role": form.get("team_role", "")}, NewMembership)
        async with database.transaction() as session:
            team = await find_team(session, form.get("team", "").strip())
        if team is None:
            raise TeamNotFound
        await TEAM_MANAGEMENT.put_member(request, database, team, user_id, role=new.role)

    return await UserForms(request, signed_in_pages, database, user_id).run(change, "member_saved", fresh=False)


@admin_form(f"{PATH}/teams/remove")
async def remove_team(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    user_id: FromPath[str],
) -> Answer:
    """Remove a user from a team."""

    async def change(_by: By, form: Form) -> None:
        team = group_id(form.get("team_id", ""), TeamNotFound)
        await TEAM_MANAGEMENT.remove_member(request, database, team, user_id)

    return await UserForms(request, signed_in_pages, database, user_id).run(change, "member_removed", fresh=False)


@admin_form(f"{PATH}/domains/add")
async def add_domain(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    user_id: FromPath[str],
) -> Answer:
    """Add a user to the domain with a key."""

    async def change(_by: By, form: Form) -> None:
        async with database.transaction() as session:
            domain = await find_domain(session, form.get("domain", "").strip())
        if domain is None:
            raise DomainNotFound
        await DOMAIN_MANAGEMENT.put_member(request, database, domain, user_id)

    return await UserForms(request, signed_in_pages, database, user_id).run(change, "member_saved", fresh=False)


@admin_form(f"{PATH}/domains/remove")
async def remove_domain(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    user_id: FromPath[str],
) -> Answer:
    """Remove a user from a domain."""

    async def change(_by: By, form: Form) -> None:
        domain = group_id(form.get("domain_id", ""), DomainNotFound)
        await DOMAIN_MANAGEMENT.remove_member(request, database, domain, user_id)

    return await UserForms(request, signed_in_pages, database, user_id).run(change, "member_removed", fresh=False)


ROUTES = (add_team, remove_team, add_domain, remove_domain)
