"""Pages for browsers that open an unknown path; API clients get problem documents (C-16)."""

from typing import Any

from litestar import Response
from litestar.exceptions import NotFoundException
from litestar.types import ExceptionHandlersMap

from idp.errors import NotFound
from idp.ops.accept import wants_page
from idp.ops.problems import respond
from idp.pages.forms import show_error
from idp.principal.requests import AnyRequest


def _unknown_path(request: AnyRequest, _error: NotFoundException) -> Response[Any]:
    answer = page_of(request)
    answer.headers["Vary"] = ", ".join(dict.fromkeys(("Accept", *filter(None, [answer.headers.get("Vary")]))))
    return answer


def page_of(request: AnyRequest) -> Response[Any]:
    """Return the answer to a request for something that does not exist."""
    if request.method in {"GET", "HEAD"} and wants_page(request.headers.get("accept")):
        return show_error(request, NotFound())
    return respond(request, NotFound())


HANDLERS: ExceptionHandlersMap = {NotFoundException: _unknown_path}
