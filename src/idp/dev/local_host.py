"""Whether a request was addressed to this machine by name.

A web page elsewhere can point its own name at 127.0.0.1 and so reach `idp dev` from a browser here (DNS rebinding); it
cannot change the Host that the browser sends. See docs/decisions/0010.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit


def is_local_request(headers: Mapping[str, str], *, in_container: bool) -> bool:
    """Whether the request was addressed to this machine and, as far as a proxy says, sent from it.

    Args:
        headers: of the request, their names in lower case.
        in_container: other containers reach us by a service name such as `auth-service`, which is then local too.
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
    """Return the name or address in a Host or a forwarded header; nothing for what cannot be read."""
    try:
        return str(ip_address(host))  # bare, as proxies write senders
    except ValueError:
        pass
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
