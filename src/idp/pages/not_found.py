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
    return _unknown_thing(request, NotFound())


def _unknown_thing(request: AnyRequest, error: NotFound) -> Response[Any]:
    is_page = request.method in {"GET", "HEAD"} and wants_page(request.headers.get("accept"))
    answer: Response[Any] = show_error(request, error) if is_page else respond(request, error)
    answer.headers["Vary"] = ", ".join(["Accept", *filter(None, [answer.headers.get("Vary")])])
    return answer


HANDLERS: ExceptionHandlersMap = {NotFoundException: _unknown_path}
OF_PAGES: ExceptionHandlersMap = {NotFound: _unknown_thing}
