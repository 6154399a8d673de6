"""Paging of lists: `?limit=&offset=` with a `Link` header (C-19, RFC 8288), and cursors.

A cursor stays valid while rows are added to the list.
"""

from typing import Annotated, TypeVar
from urllib.parse import urlencode

from litestar import Response
from litestar.params import QueryParameter

from idp.ops.public_prefix import prefixed
from idp.principal.requests import AnyRequest

T = TypeVar("T")

Offset = Annotated[int, QueryParameter(ge=0, le=2**31 - 1, description="How many to skip.")]
Limit = Annotated[int, QueryParameter(ge=1, le=1000, description="How many to return, 1 to 1000.")]
OptionalLimit = Annotated[
    int | None,
    QueryParameter(ge=1, le=1000, description="How many to return, 1 to 1000; all of them by default."),
]
Cursor = Annotated[
    str | None,
    QueryParameter(
        max_length=200,
        pattern=r"^[A-Za-z0-9_-]+(?!\n)$",
        description="Where to go on: `X-Next-Cursor` of the page before. Instead of `offset`.",
    ),
]
_PLACE = frozenset({"limit", "offset", "cursor"})


def page(
    request: AnyRequest, items: list[T], *, total: int, limit: int | None, offset: int, cursor: str | None = None
) -> Response[list[T]]:
    """Return a list with `Link` to the pages before and after, and `X-Total-Count`.

    Args:
        request: its other parameters are kept in the links.
        items: of this page.
        total: number of items on all pages.
        limit: size of a page, None for all.
        offset: number of items skipped.
        cursor: of the next page, if the list has cursors.
    """
    links, headers = [], {"X-Total-Count": str(total)}
    if limit is not None and offset + limit < total:
        links.append(_link(request, "next", limit=limit, offset=offset + limit))
        headers |= {"X-Next-Cursor": cursor} if cursor else {}
    if limit is not None and offset > 0:
        links.append(_link(request, "prev", limit=limit, offset=max(0, offset - limit)))
    return Response(items, headers=headers | ({"Link": ", ".join(links)} if links else {}))


def page_at_cursor(request: AnyRequest, items: list[T], *, limit: int, cursor: str | None) -> Response[list[T]]:
    """Return a page that began at a cursor, with the cursor of the next page (None: this is the last)."""
    if cursor is None:
        return Response(items)
    return Response(
        items, headers={"X-Next-Cursor": cursor, "Link": _link(request, "next", limit=limit, cursor=cursor)}
    )


def _link(request: AnyRequest, relation: str, **place: object) -> str:
    kept = [(name, value) for name, value in request.query_params.multi_items() if name not in _PLACE]
    return f'<{prefixed(request.scope["path"])}?{urlencode([*kept, *place.items()])}>; rel="{relation}"'
