"""A page for every error code, and a list of all of them."""

import msgspec
from litestar import Response, get
from litestar.params import FromPath

from idp.errors import NotFound, catalogue, phrase
from idp.ops.problems import document
from idp.ops.public_prefix import prefixed
from idp.pages import not_found
from idp.pages.rendering import page
from idp.principal.guards import public


@get("/errors", opt=public(), include_in_schema=False, sync_to_thread=False)
def error_list() -> Response[str]:
    """List all error codes."""
    return page("errors.html", root=prefixed("/docs"), errors=list(catalogue().values()))


@get(
    "/errors/{code:str}",
    opt=public(),
    include_in_schema=False,
    sync_to_thread=False,
    exception_handlers=not_found.OF_PAGES,
)
def error_page(code: FromPath[str]) -> Response[str]:
    """Explain an error code; the `type` of every problem document links here."""
    error = catalogue().get(code)
    if error is None:
        raise NotFound("Unknown error code; /errors lists all codes.")
    body = document(error(), path="/auth/me", request_id="01990c7e-7f3b-7c1e-8a54-0f6f1d5a9a10")
    return page(
        "error.html",
        root=prefixed("/docs"),
        error=error,
        phrase=phrase(error.status),
        headers=list(error.default_headers.items()),
        example=msgspec.json.format(body, indent=2).decode(),
    )


ROUTES = (error_list, error_page)
