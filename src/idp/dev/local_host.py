"""Checks that a request is addressed to a local host name.

A remote web page can resolve its own name to 127.0.0.1 and reach `idp dev` through a local browser (DNS rebinding), but
it cannot change the Host header. See docs/decisions/0010.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit


def is_local_request(headers: Mapping[str, str], *, in_container: bool) -> bool:
    """Whether the request was addressed to this machine and, according to forwarded headers, sent from it.

    Args:
        headers: of the request, names in lower case.
        in_container: whether one-label names, such as `auth-service`, are local too.
    """
    hosts = [headers.get("host", ""), *headers.get("x-forwarded-host", "").split(",")]
    senders = [sender.strip() for sender in headers.get("x-forwarded-for", "").split(",")]
    named = [host.strip() for host in hosts if host.strip()]
    return bool(named) and all(_is_local(name, in_container) for name in [*named, *filter(None, senders)])


def _is_local(host: str, in_container: bool) -> bool:
    name = _host_name(host)
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return in_container and "." not in name


def _host_name(host: str) -> str:
    """Return the name or address in a Host or forwarded header, an empty text if it is invalid."""
    try:
        return str(ip_address(host))  # without brackets, as in X-Forwarded-For
    except ValueError:
        pass
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
