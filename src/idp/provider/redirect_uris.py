"""Compares redirect URIs: exact strings, except for the port of a native app's loopback URI (SEC-34, RFC 8252)."""

import re
from collections.abc import Collection
from urllib.parse import urlsplit

_LOOPBACK = frozenset({"127.0.0.1", "[::1]", "localhost"})
_HOST = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?")


def is_registered(uri: str, registered: Collection[str], *, native: bool) -> bool:
    """Whether a client may be sent to this URI.

    Args:
        uri: the presented URI.
        registered: the client's URIs.
        native: whether the client is a native app, whose loopback port differs from start to start (RFC 8252 section
        7.3).
    """
    if uri in registered:
        return True
    return native and (portless := _without_port(uri)) is not None and portless in map(_without_port, registered)


def _without_port(uri: str) -> str | None:
    """Return a loopback URI without its port; None for any other URI."""
    scheme, separator, rest = uri.partition("://")
    authority, slash, path = rest.partition("/")
    host, _, port = authority.rpartition(":") if authority.rstrip("0123456789").endswith(":") else (authority, "", "")
    if scheme != "http" or not separator or host not in _LOOPBACK or (port and not 0 < int(port) < 65_536):
        return None
    return f"{scheme}://{host}{slash}{path}"


def origin_of_uri(uri: str) -> str:
    """Return the origin of a redirect URI, such as `https://app.example.com`, as a source expression (CSP level 3).

    Private-use schemes have no origin, and IPv6 addresses no source expression: their scheme stands for them.
    """
    parts = urlsplit(uri)
    is_host = parts.scheme in {"http", "https"} and _HOST.fullmatch(parts.netloc) is not None
    return f"{parts.scheme}://{parts.netloc}" if is_host else f"{parts.scheme}:"
