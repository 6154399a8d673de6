"""The page /admin/roles: all roles, what they mean, and how many users have each."""

from litestar.di import NamedDependency

from idp.db.engine import Database
from idp.pages.admin.routes import Page, admin_page
from idp.pages.signed_in import SignedInPages, show
from idp.principal.requests import AnyRequest
from idp.users import administration


@admin_page("/admin/roles")
async def roles(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], database: NamedDependency[Database]
) -> Page:
    """List roles."""
    visitor = await signed_in_pages.open(request, admin=True)
    async with database.transaction() as session:
        counted = await administration.count_roles(session)
    return show(request, "admin/roles.html", visitor, section="admin_roles", roles=counted)


ROUTES = (roles,)
