"""The page /account/security/recovery-codes: how many are left, and new ones, which are shown once."""

from litestar import Response, get, post
from litestar.di import NamedDependency

from idp.accounts.manage_factors import ManageFactors
from idp.audit.record import origin_of
from idp.errors import NoSecondFactor
from idp.pages.account.security import SECURITY
from idp.pages.forms import FORM
from idp.pages.signed_in import OF_PERSON, SIGNED_IN_ERRORS, SignedInPages, Visitor, show
from idp.principal.requests import AnyRequest

_PATH = f"{SECURITY}/recovery-codes"


@get(_PATH, opt=OF_PERSON, include_in_schema=False, exception_handlers=SIGNED_IN_ERRORS)
async def recovery_codes_page(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    manage_factors: NamedDependency[ManageFactors],
) -> Response[str]:
    """Show how many codes are left."""
    visitor = await signed_in_pages.open(request, fresh=True)
    return await show_codes(request, visitor, manage_factors, ())


@post(_PATH, opt=OF_PERSON | FORM, include_in_schema=False, status_code=200, exception_handlers=SIGNED_IN_ERRORS)
async def renew_codes(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    manage_factors: NamedDependency[ManageFactors],
) -> Response[str]:
    """Show new codes once: they are in this response, and nowhere else."""
    visitor, _ = await signed_in_pages.submit(request, page=_PATH, fresh=True)
    codes: tuple[str, ...] = ()
    try:
        codes = await manage_factors.renew_recovery_codes(visitor.principal, origin_of(request))
    except NoSecondFactor as error:  # removed in another tab
        request.scope["error"] = error  # type: ignore[typeddict-unknown-key]
    return await show_codes(request, visitor, manage_factors, codes)


async def show_codes(
    request: AnyRequest, visitor: Visitor, manage_factors: ManageFactors, codes: tuple[str, ...]
) -> Response[str]:
    """Return the page with new codes, or with the number of those that are left."""
    state = await manage_factors.state(visitor.user.id)
    return show(
        request,
        "account/recovery_codes.html",
        visitor,
        section="account_security",
        factors=state.factors,
        codes=codes,
    )


ROUTES = (recovery_codes_page, renew_codes)
