"""The page /account."""

from litestar import Response, get
from litestar.di import NamedDependency

from idp.pages.signed_in import OF_PERSON, SIGNED_IN_ERRORS, SignedInPages, show
from idp.principal.requests import AnyRequest


@get("/account", opt=OF_PERSON, include_in_schema=False, exception_handlers=SIGNED_IN_ERRORS)
async def overview(request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages]) -> Response[str]:
    """Show what the account has, with a way to each page."""
    visitor = await signed_in_pages.open(request)
    return show(request, "account/overview.html", visitor, section="account_overview")


ROUTES = (overview,)
