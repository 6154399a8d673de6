"""The page /admin/clerk: the latest comparisons with Clerk's list of users."""

from litestar.di import NamedDependency
from sqlalchemy import select

from idp.clerk.models import ClerkScanRow
from idp.db.engine import Database
from idp.deployment import clerk_issuer
from idp.pages.admin.routes import Page, admin_page
from idp.pages.signed_in import SignedInPages, show
from idp.principal.requests import AnyRequest
from idp.settings import Settings

_LATEST = select(ClerkScanRow).order_by(ClerkScanRow.finished_at.desc().nulls_first()).limit(20)


@admin_page("/admin/clerk")
async def clerk(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    settings: NamedDependency[Settings],
) -> Page:
    """Show what the comparisons found."""
    visitor = await signed_in_pages.open(request, admin=True)
    async with database.transaction() as session:
        scans = list(await session.scalars(_LATEST))
    return show(request, "admin/clerk.html", visitor, section="admin_clerk", scans=scans, issuer=clerk_issuer(settings))


ROUTES = (clerk,)
