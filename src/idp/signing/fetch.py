"""Fetches JSON documents from other servers and posts to them, with the limits of SEC-66.

Only https to public addresses: the name is resolved once, every address is checked, and the connection goes to a
checked address, so that a second answer of the name server cannot lead elsewhere (DNS rebinding). No redirects, no
proxies from the environment, no compression, and bounds on size and time.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx2

from idp import tracing
from idp.signing.json_object import read_object

MAX_BYTES = 524_288
_SECONDS = 5.0
_PORTS = {"http": 80, "https": 443}
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address

# Not public, although Python says so: protocol assignments with Oracle Cloud's metadata (RFC 6890), relays of 6to4
# (RFC 7526), documentation (RFC 9637), and Azure's platform, which answers every machine there.
_NOT_PUBLIC = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20", "168.63.129.16/32")))


class FetchFailed(Exception):
    """A document could not be fetched; the text gives the reason and contains no secret."""


class UnusableAnswer(ValueError):
    """A server answered more than is read, or compressed."""


class Fetched(NamedTuple):
    """A document and its response headers (names in lower case)."""

    document: dict[str, Any]
    headers: Mapping[str, str]


class Answered(NamedTuple):
    """The answer to a post: its status, and `Retry-After` as sent."""

    status: int
    retry_after: str | None


class _Checked(NamedTuple):
    """A request target whose address is allowed, the value of Host, and extensions of the HTTP client."""

    target: str
    host: str
    extensions: dict[str, str]


class Fetcher:
    """Fetches documents.

    Args:
        allow_loopback: whether plain http to loopback is allowed, under `idp dev` and in tests.
    """

    def __init__(self, *, allow_loopback: bool = False) -> None:
        self._allow_loopback = allow_loopback
        self._tls: ssl.SSLContext | None = None

    def problem_of(self, url: str) -> str | None:
        """Return the reason why a URL must not be fetched, None if it may be."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname or "", parts.port
            httpx2.URL(url)  # which `urlsplit` reads more generously
        except (ValueError, httpx2.InvalidURL):
            return "it is not a URL"
        if parts.username is not None or parts.password is not None or not host:
            return "it has credentials, or no host"
        if parts.scheme == "https" or (parts.scheme == "http" and self._allow_loopback and _is_loopback_name(host)):
            return None
        return "it is not https"

    async def get(self, url: str, *, bearer: str | None = None) -> Fetched:
        """Return the JSON object at a URL.

        Args:
            url: the address.
            bearer: an access token to send.

        Raises:
            FetchFailed: the URL is not allowed, the server cannot be reached or does not answer 200 in time, or the
                body is too large or is not a JSON object.
        """
        if problem := self.problem_of(url):
            raise FetchFailed(f"{url} is not fetched: {problem}")
        try:
            with tracing.waiting_for("http GET", server_address=urlsplit(url).hostname or ""):
                async with asyncio.timeout(_SECONDS):
                    return await self._get(url, bearer)
        except TimeoutError:
            raise FetchFailed(f"{url} did not answer within {_SECONDS:.0f} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:  # ValueError: no host name in IDNA
            raise FetchFailed(f"{url} cannot be reached ({type(error).__name__})") from error

    async def _get(self, url: str, bearer: str | None) -> Fetched:
        checked = await self._checked(url)
        headers = {
            "Host": checked.host,
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "idp",
            **({"Authorization": f"Bearer {bearer}"} if bearer else {}),
        }
        async with (
            await self._client(_SECONDS) as client,
            client.stream("GET", checked.target, headers=headers, extensions=checked.extensions) as answer,
        ):
            if answer.status_code != 200:
                raise FetchFailed(f"{url} answered {answer.status_code} instead of 200")
            if answer.headers.get("content-encoding", "identity").lower() != "identity":
                raise FetchFailed(
                    f"{url} is compressed, which was not asked for"
                )  # a small body may be a huge document
            body = bytearray()
            async for piece in answer.aiter_raw():
                body += piece
                if len(body) > MAX_BYTES:
                    raise FetchFailed(f"{url} answered more than {MAX_BYTES} bytes")
            answer_headers = {name.lower(): value for name, value in answer.headers.items()}
        try:
            return Fetched(read_object(bytes(body)), answer_headers)
        except ValueError as error:
            raise FetchFailed(f"{url} did not answer a JSON object: {error}") from None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], *, seconds: float) -> Answered:
        """Post a body, under the same limits, and return the status; redirects are not followed.

        Args:
            url: the address.
            body: the body.
            headers: its headers, without Host.
            seconds: how long the answer may take.

        Raises:
            FetchFailed: the URL is not allowed, or the server cannot be reached or does not answer in time.
        """
        if problem := self.problem_of(url):
            raise FetchFailed(f"the address is not allowed: {problem}")
        try:
            with tracing.waiting_for("http POST", server_address=urlsplit(url).hostname or ""):
                async with asyncio.timeout(seconds):
                    return await self._post(url, body, headers, seconds)
        except TimeoutError:
            raise FetchFailed(f"no answer within {seconds:.0f} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            raise FetchFailed(f"cannot be reached ({type(error).__name__})") from error

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str], seconds: float) -> Answered:
        checked = await self._checked(url)
        sent = {**headers, "Host": checked.host, "User-Agent": "idp", "Accept-Encoding": "identity"}
        async with (
            await self._client(seconds) as client,
            client.stream("POST", checked.target, content=body, headers=sent, extensions=checked.extensions) as answer,
        ):
            return Answered(answer.status_code, answer.headers.get("retry-after"))  # the body is not read

    async def transport(self) -> httpx2.AsyncBaseTransport:
        """Return a transport for HTTP clients of libraries, with the same limits on addresses and sizes; not on time.

        Its requests raise FetchFailed for an address that is not allowed, and UnusableAnswer for a compressed or too
        large answer.
        """
        return _Guarded(self, httpx2.AsyncHTTPTransport(verify=await self._tls_context(), trust_env=False))

    async def checked_request(self, request: httpx2.Request) -> httpx2.Request:
        """Return a request to the checked address of its host.

        Raises:
            FetchFailed: the URL is not allowed.
        """
        url = str(request.url)
        if problem := self.problem_of(url):
            raise FetchFailed(f"{url} is not fetched: {problem}")
        checked = await self._checked(url)
        request.url = httpx2.URL(checked.target)
        request.headers["Host"] = checked.host
        request.extensions = {**request.extensions, **checked.extensions}
        return request

    async def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:  # reads all CA certificates, which takes 50 ms
            self._tls = await asyncio.to_thread(httpx2.create_ssl_context, trust_env=False)
        return self._tls

    async def _client(self, seconds: float) -> httpx2.AsyncClient:
        """Return a client for one request: a connection to an address is not reused for another name."""
        tls = await self._tls_context()
        return httpx2.AsyncClient(trust_env=False, follow_redirects=False, timeout=seconds, verify=tls)

    async def _checked(self, url: str) -> _Checked:
        """Return the request target of an allowed URL, with a checked address instead of the name."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        address = await self._address_of(host, port, url)
        literal = f"[{address}]" if ":" in address else address
        target = parts._replace(netloc=f"{literal}:{port}", fragment="").geturl()
        # The certificate is checked against the name, not the address (RFC 9110 section 4.3.4).
        return _Checked(target, parts.netloc, {"sni_hostname": host})

    async def _address_of(self, host: str, port: int, url: str) -> str:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise FetchFailed(f"{url} cannot be reached: {host} has no address in DNS ({error.strerror})") from None
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        for address in addresses:
            if not self._is_allowed(address.partition("%")[0]):
                raise FetchFailed(f"{url} is not fetched: {host} has the address {address}, which is not public")
        return addresses[0]

    def _is_allowed(self, text: str) -> bool:
        address = ip_address(text)
        if address.version == 6 and (inner := address.ipv4_mapped or _behind_nat64(address)):
            address = inner
        if address.is_loopback:
            return self._allow_loopback
        if address.version == 6 and (address.is_site_local or address.sixtofour or address.teredo):
            return False
        if any(address in network for network in _NOT_PUBLIC):
            return False
        return address.is_global and not address.is_multicast and not address.is_reserved


class _Guarded(httpx2.AsyncBaseTransport):
    """Sends only what the fetcher allows."""

    def __init__(self, fetcher: Fetcher, inner: httpx2.AsyncHTTPTransport) -> None:
        self._fetcher = fetcher
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers["Accept-Encoding"] = "identity"  # a small compressed body may be a huge document
        answer = await self._inner.handle_async_request(await self._fetcher.checked_request(request))
        if answer.headers.get("content-encoding", "identity") != "identity":
            await answer.aclose()
            raise UnusableAnswer("the answer is compressed, which was not asked for")
        assert isinstance(answer.stream, httpx2.AsyncByteStream)
        body = _Bounded(answer.stream)
        return httpx2.Response(answer.status_code, headers=answer.headers, stream=body, extensions=answer.extensions)

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Bounded(httpx2.AsyncByteStream):
    """A body of at most MAX_BYTES."""

    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._inner:
            size += len(piece)
            if size > MAX_BYTES:
                raise UnusableAnswer(f"the answer has more than {MAX_BYTES} bytes")
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()


def _behind_nat64(address: IPv6Address) -> IPv4Address | None:
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def _is_loopback_name(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
