"""The page /admin."""

from litestar import Response, get
from litestar.di import NamedDependency

from idp.pages.signed_in import OF_ADMIN, SIGNED_IN_ERRORS, SignedInPages, show
from idp.principal.requests import AnyRequest


@get("/admin", opt=OF_ADMIN, include_in_schema=False, exception_handlers=SIGNED_IN_ERRORS)
async def overview(request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages]) -> Response[str]:
    """Show the state of the service, with a way to each page."""
    visitor = await signed_in_pages.open(request, admin=True)
    return show(request, "admin/overview.html", visitor, section="admin_overview")


ROUTES = (overview,)
