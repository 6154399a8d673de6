"""Requests to a server: one repeated, several in turn, or each only once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from msgspec import Struct

from bench.sources import Source


class Request(Struct, frozen=True):
    """A request and its expected response.

    Attributes:
        expect: required members of the JSON response, also in nested objects.
    """

    method: str
    path: str
    headers: dict[str, str] = {}
    body: str = ""
    expect: dict[str, Any] = {}

    def raw(self) -> bytes:
        """Return the raw request (HTTP/1.1, keep-alive)."""
        body = self.body.encode()
        headers = {"host": "127.0.0.1", **self.headers}
        if body:
            headers["content-length"] = str(len(body))
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class Traffic:
    """Requests of one kind for one server.

    Attributes:
        requests: sent in turn, cyclically.
        once: each request must be uncached and is sent only once.
        source: the required source of verdicts.
        is_warm: whether the warm-up is done.
    """

    requests: Sequence[Request]
    once: bool = False
    source: Source | None = None
    is_warm: bool = False
    _next: int = 0

    def check(self, base_url: str) -> int:
        """Send one request, check the response, and return its size (bytes).

        Raises:
            WrongAnswer: the status is not 2xx, or a member is missing.
        """
        request = self.requests[self._next]
        self._next += self.once
        answer = httpx2.request(
            request.method, base_url + request.path, headers=request.headers, content=request.body or None, timeout=10
        )
        if not answer.is_success:
            raise WrongAnswer(f"{request.path} answered {answer.status_code}: {answer.text[:200]}")
        if request.expect and not _contains(answer.json(), request.expect):
            raise WrongAnswer(f"{request.path} answered {answer.text[:200]}, which lacks {request.expect}")
        return len(answer.content)

    def write(self, file: Path, at_most: int) -> int:
        """Write the next requests for load.lua (length in bytes, line break, request), and return their number."""
        chosen = self.requests[self._next : self._next + at_most] if self.once else self.requests
        with file.open("wb") as out:
            for request in chosen:
                raw = request.raw()
                out.write(b"%d\n%b" % (len(raw), raw))
        return len(chosen)

    def mark_sent(self, count: int) -> None:
        """Mark requests as sent."""
        if self.once:
            self._next += count


class WrongAnswer(Exception):
    """A server's response is not the expected one."""


def _contains(answer: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        return isinstance(answer, dict) and all(
            name in answer and _contains(answer[name], value) for name, value in expected.items()
        )
    return bool(answer == expected)
