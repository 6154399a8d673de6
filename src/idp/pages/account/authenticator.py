"""The page /account/security/authenticator: set up, replace and remove the authenticator app."""

from typing import Annotated

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response import Redirect

from idp.accounts.manage_factors import ManageFactors
from idp.audit.record import origin_of
from idp.errors import (
    EnrolmentExpired,
    FactorNotFound,
    IdpError,
    SecondFactorChanged,
    SecondFactorInvalid,
    SecondFactorNeeded,
)
from idp.pages.account.recovery_codes import show_codes
from idp.pages.account.security import SECURITY
from idp.pages.forms import FORM
from idp.pages.qr_code import svg
from idp.pages.rendering import redirect
from idp.pages.signed_in import OF_PERSON, SIGNED_IN_ERRORS, SignedInPages, Visitor, show
from idp.principal.requests import AnyRequest

_PATH = f"{SECURITY}/authenticator"
_MAX_CODE = 64  # characters
Replace = Annotated[str | None, QueryParameter(description="Whether to set up another app instead.")]
_Page = Response[str]


@get(_PATH, opt=OF_PERSON, include_in_schema=False, exception_handlers=SIGNED_IN_ERRORS)
async def authenticator_page(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    manage_factors: NamedDependency[ManageFactors],
    replace: Replace = None,
) -> _Page:
    """Show a new secret, or the app that there is."""
    visitor = await signed_in_pages.open(request, fresh=True)
    return await _show(request, visitor, manage_factors, replaces=replace is not None)


@post(_PATH, opt=OF_PERSON | FORM, include_in_schema=False, status_code=200, exception_handlers=SIGNED_IN_ERRORS)
async def set_up_authenticator(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    manage_factors: NamedDependency[ManageFactors],
) -> _Page | Redirect:
    """Store the app, and show recovery codes to a user who has none."""
    visitor, form = await signed_in_pages.submit(request, page=_PATH, fresh=True)
    sealed, code = form.get("sealed_secret", ""), form.get("code", "")[:_MAX_CODE]
    try:
        done = await manage_factors.confirm_totp(request, visitor.principal, sealed, code, mode="cookie")
    except SecondFactorInvalid as error:
        return await _show(request, visitor, manage_factors, error=error, text="wrong", sealed=sealed)
    except (SecondFactorChanged, EnrolmentExpired) as error:
        return await _show(request, visitor, manage_factors, error=error, text="again")
    assert done.started is not None
    if not done.recovery_codes:
        return redirect(f"{SECURITY}?done=authenticator_set_up", cookies=done.started.cookies)
    now = Visitor(visitor.principal, str(done.started.answer.csrf_token), cookies=done.started.cookies)
    return await show_codes(request, now, manage_factors, done.recovery_codes)


@post(
    f"{_PATH}/remove",
    opt=OF_PERSON | FORM,
    include_in_schema=False,
    status_code=200,
    exception_handlers=SIGNED_IN_ERRORS,
)
async def remove_authenticator(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    manage_factors: NamedDependency[ManageFactors],
) -> _Page | Redirect:
    """Remove the app."""
    visitor, _ = await signed_in_pages.submit(request, page=_PATH, fresh=True)
    try:
        await manage_factors.remove_totp(visitor.principal, origin_of(request))
    except (FactorNotFound, SecondFactorNeeded) as error:
        text = "gone" if isinstance(error, FactorNotFound) else "required"
        return await _show(request, visitor, manage_factors, error=error, text=text)
    return redirect(f"{SECURITY}?done=authenticator_removed")


async def _show(
    request: AnyRequest,
    visitor: Visitor,
    manage_factors: ManageFactors,
    *,
    replaces: bool = False,
    error: IdpError | None = None,
    text: str | None = None,
    sealed: str | None = None,
) -> _Page:
    if error is not None:
        request.scope["error"] = error  # type: ignore[typeddict-unknown-key]
    state = await manage_factors.state(visitor.user.id)
    factors, replaces = state.factors, replaces or sealed is not None
    enrolment = None
    if sealed is not None:
        enrolment = await manage_factors.show_totp(visitor.user.id, sealed)
    elif replaces or factors.totp_since is None:
        enrolment = await manage_factors.begin_totp(visitor.user.id)
    return show(
        request,
        "account/authenticator.html",
        visitor,
        section="account_security",
        status=200 if error is None else 409 if error.status == SecondFactorChanged.status else 422,
        state=state,
        factors=factors,
        is_last=factors.passkeys == 0,
        replaces=replaces and factors.totp_since is not None,
        enrolment=enrolment,
        qr=svg(enrolment.uri) if enrolment is not None else None,
        error=text,
    )


ROUTES = (authenticator_page, set_up_authenticator, remove_authenticator)
