"""The page /account/security: the ways to sign in, with a page for each."""

from litestar import Response, get
from litestar.di import NamedDependency

from idp.accounts.manage_factors import ManageFactors
from idp.pages.signed_in import OF_PERSON, SIGNED_IN_ERRORS, SignedInPages, show
from idp.principal.requests import AnyRequest

SECURITY = "/account/security"


@get(SECURITY, opt=OF_PERSON, include_in_schema=False, exception_handlers=SIGNED_IN_ERRORS)
async def security_page(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    manage_factors: NamedDependency[ManageFactors],
) -> Response[str]:
    """Show which second factors the user has, and how many recovery codes are left."""
    visitor = await signed_in_pages.open(request)
    state = await manage_factors.state(visitor.user.id)
    return show(
        request, "account/security.html", visitor, section="account_security", state=state, factors=state.factors
    )


ROUTES = (security_page,)
