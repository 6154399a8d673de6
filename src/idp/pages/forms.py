"""What every page with a form needs: the form, read strictly, from a page of our own, and errors as pages."""

import math

from litestar import Response
from litestar.types import ExceptionHandlersMap

from idp.errors import BadRequest, Busy, CsrfRejected, DatabaseUnavailable, IdpError, OriginNotAllowed, RateLimited
from idp.ops.json_body import check_form, parse_form
from idp.ops.origins import AllowedOrigins
from idp.pages.rendering import form_page
from idp.principal.requests import AnyRequest


async def read_form(request: AnyRequest, *, public_url: str) -> dict[str, str]:
    """Return what somebody filled in.

    Args:
        request: the POST of a form.
        public_url: our own address.

    Raises:
        CsrfRejected: a page of another origin sends it (SEC-44).
        BadRequest: it is not a form with each field once.
    """
    try:
        AllowedOrigins(public_url).check_sender(request.headers)
    except OriginNotAllowed:
        raise CsrfRejected("This form was sent by a page of another site.") from None
    try:
        await check_form(request)
        return dict(parse_form(await request.body()))
    except IdpError:
        raise BadRequest("The form cannot be read.") from None


_TEXTS: dict[type[IdpError], tuple[str, str]] = {
    RateLimited: ("Too many attempts", "This was tried too often. Please wait {wait} and try again."),
    DatabaseUnavailable: ("One moment, please", "We cannot do this right now. Nothing was changed: please try again."),
    Busy: ("One moment, please", "There is a lot going on. Nothing was changed: please try again in a moment."),
    CsrfRejected: (
        "That did not come from our page",
        "Please open the link in the mail again, and send the form there.",
    ),
    BadRequest: ("That could not be read", "Please go back, and fill in the form again."),
}
_ELSE = ("Something went wrong", "Please try again. If it stays like this, tell whoever runs this service.")


def _show_error(request: AnyRequest, error: IdpError) -> Response[str]:
    request.scope["error"] = error  # type: ignore[typeddict-unknown-key]
    title, text = _TEXTS.get(type(error), _ELSE)
    text = text.format(wait=_duration(int(error.headers.get("Retry-After", "60"))))
    number = str(request.scope.get("request_id", ""))
    return form_page(
        "notice.html", status=error.status, headers=error.headers, title=title, text=text, request_id=number
    )


def _duration(seconds: int) -> str:
    if seconds < 60:
        return "a minute"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} minutes"


FORM = {"form": True}  # `opt` of routes that read a form, and look at the page it comes from by `read_form`
ERROR_PAGES: ExceptionHandlersMap = {IdpError: _show_error}
