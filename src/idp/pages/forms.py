"""Forms of our pages: strict parsing, origin check, and errors as pages."""

import math

from litestar import Response
from litestar.types import ExceptionHandlersMap

from idp.errors import BadRequest, Busy, CsrfRejected, DatabaseUnavailable, IdpError, OriginNotAllowed, RateLimited
from idp.ops.json_body import check_form, parse_form
from idp.ops.origins import AllowedOrigins
from idp.pages.rendering import form_page
from idp.principal.requests import AnyRequest


async def read_form(request: AnyRequest, *, public_url: str) -> dict[str, str]:
    """Return the fields of a form.

    Args:
        request: the POST of a form.
        public_url: the service's own URL.

    Raises:
        CsrfRejected: the form was sent by a page of another origin (SEC-44).
        BadRequest: the body is not a form, or repeats a field.
    """
    try:
        AllowedOrigins(public_url).check_sender(request.headers)
    except OriginNotAllowed:
        raise CsrfRejected("The form was sent by a page of another site.") from None
    try:
        await check_form(request)
        return dict(parse_form(await request.body()))
    except IdpError:
        raise BadRequest("The form cannot be read.") from None


_TEXTS: dict[type[IdpError], tuple[str, str]] = {
    RateLimited: ("Too many attempts", "Please wait {wait} and try again."),
    DatabaseUnavailable: ("Temporarily unavailable", "Nothing was changed. Please try again shortly."),
    Busy: ("Temporarily busy", "Nothing was changed. Please try again in a moment."),
    CsrfRejected: (
        "The form was rejected",
        "Please open the link in the mail again and submit the form there.",
    ),
    BadRequest: ("The form is invalid", "Please go back and fill in the form again."),
}
_OTHER_ERROR = (
    "Something went wrong",
    "Please try again. If the error persists, contact the operator of this service.",
)


def _show_error(request: AnyRequest, error: IdpError) -> Response[str]:
    request.scope["error"] = error  # type: ignore[typeddict-unknown-key]
    title, text = _TEXTS.get(type(error), _OTHER_ERROR)
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


FORM = {"form": True}  # `opt` of form routes, whose origin `read_form` checks
ERROR_PAGES: ExceptionHandlersMap = {IdpError: _show_error}
