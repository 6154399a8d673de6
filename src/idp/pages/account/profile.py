"""The page /account/profile: name, avatar, and the way to the address and the password."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from idp.accounts.account_services import run_after_response
from idp.accounts.own_profile import edit_own
from idp.accounts.verify_email import VerifyEmail
from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.pages.account.fields import is_valid
from idp.pages.forms import FORM
from idp.pages.rendering import redirect
from idp.pages.signed_in import OF_PERSON, SIGNED_IN_ERRORS, SignedInPages, Visitor, show
from idp.principal.requests import AnyRequest
from idp.users import credentials
from idp.users.shapes import ProfileChange

_PATH = "/account/profile"


@get(_PATH, opt=OF_PERSON, include_in_schema=False, exception_handlers=SIGNED_IN_ERRORS)
async def profile_page(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], database: NamedDependency[Database]
) -> Response[str]:
    """Show the profile and its form."""
    visitor = await signed_in_pages.open(request)
    return await _show(request, visitor, database, _own(visitor) | dict(visitor.draft))


@post(_PATH, opt=OF_PERSON | FORM, include_in_schema=False, status_code=200, exception_handlers=SIGNED_IN_ERRORS)
async def profile_form(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], database: NamedDependency[Database]
) -> Response[str] | Redirect:
    """Save name and avatar."""
    visitor, form = await signed_in_pages.submit(request, page=_PATH)
    entered = {name: form.get(name, "").strip() for name in ("name", "avatar_url")}
    changes = {"name": entered["name"], "avatar_url": entered["avatar_url"] or None}
    for name, value in changes.items():
        if not is_valid(ProfileChange, name, value):
            return await _show(request, visitor, database, entered, problem=name)
    await edit_own(database, visitor.principal, origin_of(request), ProfileChange(**changes))  # type: ignore[arg-type]
    return redirect(f"{_PATH}?done=saved")


@post(
    "/account/verify",
    opt=OF_PERSON | FORM,
    include_in_schema=False,
    status_code=200,
    exception_handlers=SIGNED_IN_ERRORS,
)
async def send_verification(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], verify_email: NamedDependency[VerifyEmail]
) -> Redirect:
    """Mail a new link that confirms the address."""
    visitor, _ = await signed_in_pages.submit(request, page=_PATH)
    email = visitor.user.email or ""
    recipient = await verify_email.request_resend(email, origin_of(request), cookies=request.cookies)
    return redirect(f"{_PATH}?done=mailed", background=run_after_response(verify_email.resend, recipient))


def _own(visitor: Visitor) -> dict[str, str]:
    return {"name": visitor.user.name or "", "avatar_url": visitor.user.avatar_url or ""}


async def _show(
    request: AnyRequest, visitor: Visitor, database: Database, entered: object, *, problem: str | None = None
) -> Response[str]:
    async with database.transaction() as session:
        holder = await credentials.find_by_id(session, visitor.user.id)
    return show(
        request,
        "account/profile.html",
        visitor,
        section="account_profile",
        status=422 if problem else 200,
        entered=entered,
        problem=problem,
        has_password=holder is not None and holder.password_hash is not None,
    )


ROUTES = (profile_page, profile_form, send_verification)
