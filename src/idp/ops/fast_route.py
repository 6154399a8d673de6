"""Routes that are answered without the framework; without a task, too, if nothing has to be waited for."""

from collections.abc import Awaitable, Callable

from litestar.types import HTTPScope
from msgspec import Struct

Headers = tuple[tuple[bytes, bytes], ...]
JSON = (b"content-type", b"application/json")
NO_STORE = (b"cache-control", b"no-store")
MAX_BODY_BYTES = 65_536  # a longer one is left to the framework


class FastRoute(Struct, frozen=True):
    """A route that is answered without the framework.

    Attributes:
        answer: returns the body of a 200 for a request and its whole body, or an awaitable of it if it has to wait.
            Both may raise `UseFramework`, or the error to answer.
        headers: of this 200, besides those of every answer.
        check_head: called before a body that still arrives is waited for; raises `UseFramework`, for a request that is
            refused without it.
    """

    answer: Callable[[HTTPScope, bytes], bytes | Awaitable[bytes]]
    headers: Headers = (JSON, NO_STORE)
    check_head: Callable[[HTTPScope], object] | None = None


class UseFramework(Exception):
    """A fast route leaves a request to the framework."""
