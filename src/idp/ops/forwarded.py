"""The client's address: the peer, or what a trusted proxy forwards (S3-54).

IPv4-mapped IPv6 addresses (RFC 4291 section 2.5.5.2), which a listener on `::` reports for every IPv4 client, are
converted to IPv4.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from idp.ops.batch import PreparedAnswer

_MAPPED_BITS = 96
_SCHEMES = {b"http": "http", b"https": "https"}


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return an address (IPv4 for a mapped one), None if the text is not an address."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def plain_address(text: str) -> str:
    """Return an address in its usual notation; other text is returned unchanged."""
    return text if ":" not in text else str(parse_address(text) or text)


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """Return a network (IPv4 for a mapped one).

    Raises:
        ValueError: the text is not a network.
    """
    network = ip_network(text)
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None or network.prefixlen < _MAPPED_BITS:
        return network
    return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))


class TrustedProxies:
    """The networks whose forwarded headers are trusted."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [parse_network(each) for each in networks]

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, host: str) -> bool:
        address = parse_address(host)
        return address is not None and any(address in network for network in self._networks)

    def client_of(self, values: Sequence[bytes]) -> str | None:
        """Return the client's address from X-Forwarded-For: from the right, the first that is not a trusted proxy.

        Args:
            values: all lines of that header, in order.
        """
        found = None
        for entry in reversed(b",".join(values).decode("latin-1").split(",")):
            if not entry.strip():
                continue
            address = parse_address(_without_port(entry.strip()))
            if address is None:
                break  # entries further left were not added by a trusted proxy
            found = str(address)
            if found not in self:
                break
        return found


def _without_port(entry: str) -> str:
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    host, colon, _ = entry.partition(":")
    return host if colon and ":" not in entry[len(host) + 1 :] else entry


class ForwardedHeaders:
    """Sets the client's address and scheme in the scope from the headers of a trusted proxy.

    Args:
        app: the application behind it.
        trusted: the proxies.
    """

    def __init__(self, app: Any, trusted: TrustedProxies) -> None:
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            self._apply(scope)
        await self._app(scope, receive, send)

    def prepare(self, scope: HTTPScope, body: bytes, receive: Receive, send: Send) -> PreparedAnswer | ASGIApp:
        """As the application's `prepare` (`ops/envelope.py`)."""
        self._apply(scope)
        answer: PreparedAnswer | ASGIApp = self._app.prepare(scope, body, receive, send)
        return answer

    def _apply(self, scope: HTTPScope) -> None:
        client = scope["client"]
        if client is None or client[0] not in self._trusted:
            return
        forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        address = self._trusted.client_of(forwarded) if forwarded else None
        if address is not None:
            scope["client"] = (address, 0)
        scheme = next((value for name, value in scope["headers"] if name == b"x-forwarded-proto"), b"")
        scope["scheme"] = _SCHEMES.get(scheme.strip(), scope["scheme"])
