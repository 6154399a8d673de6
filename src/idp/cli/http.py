"""HTTP requests of the commands, with the standard library only, for a fast start."""

import json
import ssl
from collections.abc import Mapping
from http.client import HTTPException
from ipaddress import ip_address
from typing import Any, NamedTuple, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

TIMEOUT = 30.0  # seconds


class ConnectionFailed(Exception):
    """No response; the message is the reason."""


class Answer(NamedTuple):
    """A response of the service."""

    status: int
    text: str

    def json(self) -> Any:
        """Return the decoded body, None if it is not JSON."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None


def send(
    method: str, url: str, *, headers: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
) -> Answer:
    """Send a request with a JSON body and return the response with any status.

    Redirects are not followed, because the credential is for this URL only.

    Raises:
        ConnectionFailed: no response, a timeout, or no HTTP.
    """
    data = None if body is None else json.dumps(body).encode()
    sent = {"Accept": "application/json", **({"Content-Type": "application/json"} if data else {}), **(headers or {})}
    try:
        request = Request(url, data=data, headers=sent, method=method)  # noqa: S310  the caller checked it
        with _opener(url).open(request, timeout=TIMEOUT) as answer:
            return Answer(answer.status, answer.read().decode("utf-8", "replace"))
    except HTTPError as error:
        with error:
            return Answer(error.code, error.read().decode("utf-8", "replace"))
    except (OSError, HTTPException, ValueError) as error:
        raise ConnectionFailed(_reason(error)) from None


def is_loopback(url: str) -> bool:
    """Whether the host of a URL is a loopback name or address."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def _opener(url: str) -> OpenerDirector:
    # Loopback addresses bypass the proxy of the environment.
    return build_opener(_NoRedirect, *([ProxyHandler({})] if is_loopback(url) else []))


def _reason(error: Exception) -> str:
    inner = error.reason if isinstance(error, URLError) else error
    if isinstance(inner, ssl.SSLError):
        return (
            f"TLS failed: {inner.verify_message if isinstance(inner, ssl.SSLCertVerificationError) else inner.reason}"
        )
    if isinstance(inner, TimeoutError):
        return "timeout"
    if isinstance(inner, OSError):
        return cast("str", inner.strerror) or str(inner)
    return str(inner) or type(inner).__name__
