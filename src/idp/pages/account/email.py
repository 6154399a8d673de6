"""The page /account/email: ask for another address, which a link that is mailed to it confirms (SEC-6)."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from idp.accounts.change_email import ChangeEmail
from idp.audit.record import origin_of
from idp.errors import InvalidCredentials, PasswordsRefused, ValidationFailed
from idp.pages.forms import FORM
from idp.pages.rendering import redirect
from idp.pages.signed_in import OF_PERSON, SIGNED_IN_ERRORS, SignedInPages, show
from idp.principal.requests import AnyRequest, session_id_of
from idp.users.email import parse_email

_PATH = "/account/email"


@get(_PATH, opt=OF_PERSON, include_in_schema=False, exception_handlers=SIGNED_IN_ERRORS)
async def email_page(request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages]) -> Response[str]:
    """Show the form."""
    visitor = await signed_in_pages.open(request, fresh=True)
    entered = visitor.draft.get("new_email", "")
    return show(request, "account/email.html", visitor, section="account_profile", entered=entered, problem=None)


@post(_PATH, opt=OF_PERSON | FORM, include_in_schema=False, status_code=200, exception_handlers=SIGNED_IN_ERRORS)
async def email_form(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], change_email: NamedDependency[ChangeEmail]
) -> Response[str] | Redirect:
    """Mail the link; a taken address gets the same answer."""
    visitor, form = await signed_in_pages.submit(request, page=_PATH, fresh=True)
    entered = form.get("new_email", "").strip()
    try:
        await change_email.request_link(
            visitor.principal,
            form.get("current_password", ""),
            parse_email(entered),
            origin_of(request),
            session_id=session_id_of(request),
        )
    except InvalidCredentials as error:
        request.scope["error"] = error  # type: ignore[typeddict-unknown-key]
        problem = "password"
    except (ValueError, ValidationFailed, PasswordsRefused):
        problem = "address"
    else:
        return redirect("/account/profile?done=email_asked")
    return show(
        request,
        "account/email.html",
        visitor,
        section="account_profile",
        status=422,
        entered=entered[:254],
        problem=problem,
    )


ROUTES = (email_page, email_form)
