"""The path of IDP_PUBLIC_URL, such as /idp, which prefixes every path in a response.

A proxy may strip it from requests or keep it: both work (decision 0023).
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Self
from urllib.parse import urlsplit

from litestar.routes import BaseRoute
from litestar.types import HTTPScope

# Pages and problem documents have no access to the settings, so each request carries the prefix in a context variable.
_current: ContextVar[str] = ContextVar("public_prefix", default="")
# Internal paths, which a proxy rule blocks; repeating the prefix must not bypass the rule.
_INTERNAL = ("/internal/", "/metrics")


def prefix_of(public_url: str) -> str:
    """Return the path of a URL without a trailing slash; empty if it has none."""
    return urlsplit(public_url).path.rstrip("/")


def prefixed(path: str) -> str:
    """Return a path with the prefix of the current application."""
    return _current.get() + path


class PublicPrefix:
    """Strips the prefix from requests that still have it.

    Args:
        prefix: from `prefix_of`.
        names: the first segments of all served paths, such as "auth".
    """

    def __init__(self, prefix: str, names: Collection[str]) -> None:
        self.prefix = prefix
        self._names = frozenset(names)
        self._collides = prefix.split("/")[1] in self._names if prefix else False

    @classmethod
    def of(cls, public_url: str, routes: Iterable[BaseRoute]) -> Self | None:
        """Return the prefix of a public URL for these routes, None if it has no path."""
        prefix = prefix_of(public_url)
        return cls(prefix, {route.path.split("/")[1] for route in routes}) if prefix else None

    @contextmanager
    def applied(self, scope: HTTPScope) -> Iterator[None]:
        """Apply the prefix to all paths in the response, and strip it from the request's path."""
        with self.present():
            self._strip(scope)
            yield

    @contextmanager
    def present(self) -> Iterator[None]:
        """Apply the prefix to all paths in the response."""
        token = _current.set(self.prefix)
        try:
            yield
        finally:
            _current.reset(token)

    def stripped(self, scope: HTTPScope) -> HTTPScope:
        """Return a copy of the scope whose path is without the prefix."""
        copy: HTTPScope = {**scope}
        self._strip(copy)
        return copy

    def _strip(self, scope: HTTPScope) -> None:
        path, prefix = scope["path"], self.prefix
        if not path.startswith(prefix) or path[len(prefix) : len(prefix) + 1] not in {"", "/"}:
            return
        rest = path[len(prefix) :] or "/"
        # With the prefix /auth, /auth/login is already one of our paths, and /auth/auth/login is one with the prefix.
        if self._collides and rest.split("/")[1] not in self._names:
            return
        raw_path = scope.get("raw_path") or path.encode()
        if rest.startswith(_INTERNAL) or not raw_path.startswith(prefix.encode()):
            return  # keep the prefix: not found
        scope["path"] = rest
        scope["raw_path"] = raw_path[len(prefix.encode()) :] or b"/"
