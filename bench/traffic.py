"""What is asked of a server: one request again and again, many in turn, or each only once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from msgspec import Struct

from bench.sources import Source


class Request(Struct, frozen=True):
    """One request, and what its answer must hold.

    Attributes:
        expect: members that the JSON answer must have; nested objects likewise.
    """

    method: str
    path: str
    headers: dict[str, str] = {}
    body: str = ""
    expect: dict[str, Any] = {}

    def raw(self) -> bytes:
        """Return the request as it goes over the wire (HTTP/1.1, keep-alive)."""
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
        requests: asked in turn, from the first one again after the last.
        once: each is new to the server and may be asked only once.
        source: where the service must find its verdicts, for this to be what it is called.
        is_warm: whether the server has had time to get used to it.
    """

    requests: Sequence[Request]
    once: bool = False
    source: Source | None = None
    is_warm: bool = False
    _next: int = 0

    def check(self, base_url: str) -> int:
        """Ask once and look at the answer; return its size (bytes).

        Raises:
            WrongAnswer: another status than 2xx, or a member is missing.
        """
        request = self.requests[self._next]
        self._next += self.once
        answer = httpx2.request(
            request.method, base_url + request.path, headers=request.headers, content=request.body or None, timeout=10
        )
        if not answer.is_success:
            raise WrongAnswer(f"{request.path} answered {answer.status_code}: {answer.text[:200]}")
        if request.expect and not _holds(answer.json(), request.expect):
            raise WrongAnswer(f"{request.path} answered {answer.text[:200]}, which lacks {request.expect}")
        return len(answer.content)

    def write(self, file: Path, at_most: int) -> int:
        """Write the next requests for load.lua: the length in bytes, a line break, the request; return how many."""
        chosen = self.requests[self._next : self._next + at_most] if self.once else self.requests
        with file.open("wb") as out:
            for request in chosen:
                raw = request.raw()
                out.write(b"%d\n%b" % (len(raw), raw))
        return len(chosen)

    def spent(self, count: int) -> None:
        """Say that so many requests have been sent."""
        if self.once:
            self._next += count


class WrongAnswer(Exception):
    """A server does not do what it is to be measured at."""


def _holds(answer: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        return isinstance(answer, dict) and all(
            name in answer and _holds(answer[name], value) for name, value in expected.items()
        )
    return bool(answer == expected)
