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


# The prefix of the texts of each error; other errors have the same ones.
_TEXTS: dict[type[IdpError], str] = {
    RateLimited: "limited",
    DatabaseUnavailable: "unavailable",
    Busy: "busy",
    CsrfRejected: "csrf",
    BadRequest: "form",
}


def _show_error(request: AnyRequest, error: IdpError) -> Response[str]:
    request.scope["error"] = error  # type: ignore[typeddict-unknown-key]
    name = _TEXTS.get(type(error), "other")
    return form_page(
        request,
        "notice.html",
        status=error.status,
        headers=error.headers,
        name=name,
        minutes=math.ceil(int(error.headers.get("Retry-After", "60")) / 60),
        request_id=str(request.scope.get("request_id", "")),
    )


FORM = {"form": True}  # `opt` of form routes, whose origin `read_form` checks
ERROR_PAGES: ExceptionHandlersMap = {IdpError: _show_error}
