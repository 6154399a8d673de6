"""Which URIs a client may register (SEC-65; RFC 6749 section 3.1.2, RFC 8252, RFC 9700 section 2.1)."""

import re
from urllib.parse import SplitResult, urlsplit

_CHARACTERS = re.compile(r"[\x21-\x7e]+")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# Schemes that a browser runs, or that lead to local data.
_DANGEROUS = frozenset({"javascript", "data", "vbscript", "file", "blob", "about", "filesystem", "view-source"})


def redirect_problem(uri: str, *, native: bool) -> str | None:
    """Return why users may not be redirected there, None if they may.

    Args:
        uri: a redirect URI, also after logout.
        native: whether the client is a native app, which may have a scheme of its own (RFC 8252 section 7.1).
    """
    parts = _split(uri)
    if parts is None:
        return "It is not an absolute URI of printable ASCII characters without backslashes."
    if "#" in uri:
        return "It has a fragment."
    if "*" in uri:
        return "It has a wildcard; register each URI exactly."
    if parts.scheme in _DANGEROUS:
        return f"The scheme {parts.scheme} is not allowed."
    if parts.scheme in {"http", "https"}:
        return _web_problem(parts)
    if native and "." in parts.scheme and not parts.netloc:
        return None
    if native:
        return "A native app has https, http to a loopback address, or a scheme such as com.example.app:/callback."
    return "A web client has https, or http to a loopback address."


def resource_problem(uri: str) -> str | None:
    """Return why this is not a resource indicator (RFC 8707 section 2), None if it is."""
    if _split(uri) is None or "#" in uri:
        return "A resource is an absolute URI without a fragment."
    return None


def link_problem(uri: str) -> str | None:
    """Return why pages may not link there, None if they may."""
    parts = _split(uri)
    if parts is None or parts.scheme not in {"http", "https"}:
        return "It is not an https URL."
    return _web_problem(parts)


def _web_problem(parts: SplitResult) -> str | None:
    if "@" in parts.netloc:
        return "It has user information."
    if not parts.hostname:
        return "It has no host."
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        return "http is for loopback addresses only; use https."
    return None


def _split(uri: str) -> SplitResult | None:
    if not _CHARACTERS.fullmatch(uri) or "\\" in uri:
        return None
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.scheme and (parts.netloc or parts.path) else None
