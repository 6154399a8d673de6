"""The access log: one line a request, written in batches, since a single write costs as much as a fast answer."""

import asyncio
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from select import PIPE_BUF

import msgspec
import structlog
from msgspec import Struct

_WRITE_AFTER_SECONDS = 0.1
_MAX_LINES = 1000
_log = structlog.get_logger("idp.access")
_encode = msgspec.json.Encoder().encode


class Line(Struct, omit_defaults=True):
    """A log line of a request: the route's template instead of the raw path; no query, header or body."""

    method: str
    endpoint: str
    status: int
    milliseconds: float
    request_id: str
    client: str | None = None
    actor: str | None = None
    code: str | None = None
    trace_id: str | None = None
    span_id: str | None = None


class _Written(Line, omit_defaults=True, kw_only=True):
    event: str
    level: str
    logger: str
    timestamp: datetime


class AccessLog:
    """Writes the lines: JSON in batches, or through structlog for a console.

    Attributes:
        batches: whether it does the first.
        shares_output: whether other processes write to the same stdout, where long writes would mix with theirs.
    """

    def __init__(self) -> None:
        self.batches = self.shares_output = False
        self._lines: list[bytes] = []
        self._scheduled = False

    def write(self, line: Line) -> None:
        """Write a line within 0.1 s."""
        if not self.batches:
            _log.info("request", **{k: v for k, v in msgspec.structs.asdict(line).items() if v is not None})
            return
        written = _Written(
            line.method,
            line.endpoint,
            line.status,
            line.milliseconds,
            line.request_id,
            line.client,
            line.actor,
            line.code,
            line.trace_id,
            line.span_id,
            event="request",
            level="info",
            logger="idp.access",
            timestamp=datetime.now(UTC),
        )
        self._lines.append(_encode(written))
        if len(self._lines) >= _MAX_LINES:
            self.flush()
        elif not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(_WRITE_AFTER_SECONDS, self.flush)

    def flush(self) -> None:
        """Write all buffered lines."""
        self._scheduled = False
        lines, self._lines = self._lines, []
        for piece in _pieces(lines) if self.shares_output else [lines]:
            if piece:
                sys.stdout.write(b"\n".join([*piece, b""]).decode())
                sys.stdout.flush()


def _pieces(lines: list[bytes]) -> Iterator[list[bytes]]:
    """Split lines so that a pipe takes each piece as a whole."""
    piece: list[bytes] = []
    size = 0
    for line in lines:
        if size + len(line) + 1 > PIPE_BUF:
            yield piece
            piece, size = [], 0
        piece.append(line)
        size += len(line) + 1
    yield piece


access_log = AccessLog()
