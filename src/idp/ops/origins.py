"""Allowed origins of web pages, compared in the serialization of browsers (RFC 6454 section 6.1; SEC-44, SEC-78).

Browsers send scheme and host in lower case, the host in A-labels, and no default port. Settings are normalized to that
form before they are compared.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv6Address
from urllib.parse import urlsplit

import idna
from litestar.config.cors import CORSConfig

from idp.checks import holds
from idp.errors import OriginNotAllowed
from idp.ops.public_prefix import prefix_of

_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_LENGTH = 300  # characters; a host has 253 at most
_OWN_SITES = frozenset({"same-origin", "none"})  # of Sec-Fetch-Site; no script can set it
_SHOWN = 100
# Loopback names and addresses as browsers serialize them; no remote site can have such an origin.
LOOPBACK = re.compile(r"https?://(localhost|([a-z0-9-]+\.)+localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?")


@functools.lru_cache(maxsize=1024)
def serialize_origin(url: str) -> str:
    """Return the origin of a URL as browsers serialize it; text without one is returned unchanged."""
    if len(url) > _MAX_LENGTH:
        return url
    try:
        parts = urlsplit(url.strip())
        host, port, scheme = parts.hostname, parts.port, parts.scheme.lower()
        if not host or scheme not in _DEFAULT_PORTS:
            return url
        written = f"[{IPv6Address(host).compressed}]" if ":" in host else _a_labels(host)
    except ValueError:
        return url
    return f"{scheme}://{written}" if port in {None, _DEFAULT_PORTS[scheme]} else f"{scheme}://{written}:{port}"


def _a_labels(host: str) -> str:
    if host.isascii():
        return host.lower()
    return idna.encode(host, uts46=True).decode()


class AllowedOrigins:
    """The service's own origin, and the foreign ones that may call it.

    Args:
        public_url: the address of the service.
        others: foreign origins, the setting `cors.origins`.
        loopback: whether pages on loopback may call, on any port; for development.
    """

    def __init__(self, public_url: str, others: Iterable[str] = (), *, loopback: bool = False) -> None:
        self.own = serialize_origin(public_url)
        self.cookie_path = prefix_of(public_url) or "/"
        self.others = tuple(dict.fromkeys(serialize_origin(each) for each in others))
        self.loopback = loopback
        self._all = frozenset({self.own, *self.others})

    def cookie_name(self, name: str) -> str:
        """Return a cookie's name with the prefix that browsers enforce over https (RFC 6265bis section 4.1.3).

        `__Host-` requires the path `/`; below a prefix, other applications share the host, so the path is restricted.
        """
        if not self.own.startswith("https://"):
            return name
        return f"__Host-{name}" if self.cookie_path == "/" else f"__Secure-{name}"

    def allows(self, origin: str) -> bool:
        """Whether pages of this origin may call."""
        if origin in self._all or serialize_origin(origin) in self._all:
            return True
        return self.loopback and LOOPBACK.fullmatch(origin) is not None

    def check_sender(self, headers: Mapping[str, str]) -> None:
        """Refuse a request from a page of a foreign origin. Clients that are not browsers send no origin, and pass.

        Pages with `Referrer-Policy: no-referrer` send `Origin: null`, so Sec-Fetch-Site is read first.

        Args:
            headers: of the request, names in lower case.

        Raises:
            OriginNotAllowed: names the setting.
        """
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if site in _OWN_SITES or (origin is None and site is None):
            return
        if not holds(origin is not None and self.allows(origin), "origin", origin, "an allowed origin"):
            raise refusal(origin)


def refusal(origin: str | None) -> OriginNotAllowed:
    """Return the error that names the origin and the setting it is missing from."""
    if origin is None or origin == "null":
        return OriginNotAllowed()
    return OriginNotAllowed(f"Pages of {origin[:_SHOWN]} may not call this service: add it to AUTH_API_CORS_ORIGINS.")


_EXPOSED_HEADERS = (
    "X-Request-Id",
    "X-Total-Count",
    "X-Next-Cursor",
    "Link",
    "Retry-After",
    "WWW-Authenticate",
    "RateLimit",
    "RateLimit-Policy",
)


def cors_config(allowed: AllowedOrigins) -> CORSConfig | None:
    """Return the framework's CORS configuration, None if no foreign origin is allowed."""
    if not allowed.others and not allowed.loopback:
        return None
    return CORSConfig(
        allow_origins=list(allowed.others),
        allow_origin_regex=LOOPBACK.pattern if allowed.loopback else None,
        allow_credentials=True,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
        allow_headers=[
            "Authorization",
            "Content-Type",
            "X-API-Key",
            "Idempotency-Key",
            "X-CSRF-Token",
            "X-User-Email",
            "X-User-Name",
            "X-Request-Id",
        ],
        expose_headers=list(_EXPOSED_HEADERS),
        max_age=600,
    )
