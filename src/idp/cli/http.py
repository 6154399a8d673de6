"""Requests of the commands to a service, with nothing but the standard library: a command should start at once."""

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
    """No answer came; the message is the reason."""


class Answer(NamedTuple):
    """What the service said."""

    status: int
    text: str

    def json(self) -> Any:
        """Return the decoded body, None where it is not JSON."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None


def send(
    method: str, url: str, *, headers: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
) -> Answer:
    """Send a request, with a body as JSON, and return the answer, whatever its status.

    Redirects are not followed: the credential is for this address and no other.

    Raises:
        ConnectionFailed: nothing answers, or not in time, or not HTTP.
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
    """Whether an address is of this machine alone, by its name."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def _opener(url: str) -> OpenerDirector:
    # A proxy of the environment is for the world outside; it would not know our own machine by that name.
    return build_opener(_NoRedirect, *([ProxyHandler({})] if is_loopback(url) else []))


def _reason(error: Exception) -> str:
    inner = error.reason if isinstance(error, URLError) else error
    if isinstance(inner, ssl.SSLError):
        return (
            f"TLS failed: {inner.verify_message if isinstance(inner, ssl.SSLCertVerificationError) else inner.reason}"
        )
    if isinstance(inner, TimeoutError):
        return "no answer in time"
    if isinstance(inner, OSError):
        return cast("str", inner.strerror) or str(inner)
    return str(inner) or type(inner).__name__
