"""Lists that are arrays: `?limit=&offset=` for those who page, with a `Link` header (C-19, RFC 8288)."""

from typing import Annotated, Any, TypeVar

from litestar import Request, Response
from litestar.params import QueryParameter

T = TypeVar("T")

Offset = Annotated[int, QueryParameter(ge=0, le=2**31 - 1, description="How many to skip.")]
Limit = Annotated[int, QueryParameter(ge=1, le=1000, description="How many to return, 1 to 1000.")]
OptionalLimit = Annotated[
    int | None,
    QueryParameter(ge=1, le=1000, description="How many to return, 1 to 1000; all of them by default."),
]


def page(
    request: Request[Any, Any, Any], items: list[T], *, total: int, limit: int | None, offset: int
) -> Response[list[T]]:
    """Return a list with `Link` to the pages before and after, and `X-Total-Count`."""
    links = []
    if limit is not None and offset + limit < total:
        links.append(f'<{request.scope["path"]}?limit={limit}&offset={offset + limit}>; rel="next"')
    if limit is not None and offset > 0:
        links.append(f'<{request.scope["path"]}?limit={limit}&offset={max(0, offset - limit)}>; rel="prev"')
    headers = {"X-Total-Count": str(total)} | ({"Link": ", ".join(links)} if links else {})
    return Response(items, headers=headers)
