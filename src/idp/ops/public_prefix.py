"""The path that IDP_PUBLIC_URL ends with, such as /idp: in front of every path that we give out.

A proxy may take it away before it passes a request on, or leave it there: both are understood (decision 0023).
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Self
from urllib.parse import urlsplit

from litestar.routes import BaseRoute
from litestar.types import HTTPScope

# Pages and problem documents are made far from the settings; each request carries the prefix of its application.
_current: ContextVar[str] = ContextVar("public_prefix", default="")
# A proxy's rule keeps these in, and must not be passed by writing the prefix once more.
_INTERNAL = ("/internal/", "/metrics")


def prefix_of(public_url: str) -> str:
    """Return the path of a URL without the slash at its end; nothing for an address that has none."""
    return urlsplit(public_url).path.rstrip("/")


def prefixed(path: str) -> str:
    """Return a path of ours as clients write it, in the application that answers now."""
    return _current.get() + path


class PublicPrefix:
    """Takes the prefix away from requests that still have it.

    Args:
        prefix: from `prefix_of`.
        names: the first names of all paths that are served, such as "auth".
    """

    def __init__(self, prefix: str, names: Collection[str]) -> None:
        self.prefix = prefix
        self._names = frozenset(names)
        self._collides = prefix.split("/")[1] in self._names if prefix else False

    @classmethod
    def of(cls, public_url: str, routes: Iterable[BaseRoute]) -> Self | None:
        """Return the prefix of a public address in front of these routes, None where it has none."""
        prefix = prefix_of(public_url)
        return cls(prefix, {route.path.split("/")[1] for route in routes}) if prefix else None

    @contextmanager
    def applied(self, scope: HTTPScope) -> Iterator[None]:
        """Put the prefix in front of every path that this request gives out, and take it from the request's own."""
        token = _current.set(self.prefix)
        try:
            self._strip(scope)
            yield
        finally:
            _current.reset(token)

    def _strip(self, scope: HTTPScope) -> None:
        path, prefix = scope["path"], self.prefix
        if not path.startswith(prefix) or path[len(prefix) : len(prefix) + 1] not in {"", "/"}:
            return
        rest = path[len(prefix) :] or "/"
        # Below /auth, say, /auth/login is a path of ours already, and /auth/auth/login is one with the prefix.
        if self._collides and rest.split("/")[1] not in self._names:
            return
        raw_path = scope.get("raw_path") or path.encode()
        if rest.startswith(_INTERNAL) or not raw_path.startswith(prefix.encode()):
            return  # left with the prefix, where nothing is
        scope["path"] = rest
        scope["raw_path"] = raw_path[len(prefix.encode()) :] or b"/"
