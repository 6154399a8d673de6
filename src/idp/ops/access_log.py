"""One line a request, written in batches: a line written by itself costs as much as the answer it tells of."""

import asyncio
import sys
from datetime import UTC, datetime

import msgspec
import structlog
from msgspec import Struct

_WRITE_AFTER_SECONDS = 0.1
_MOST_LINES = 1000
_log = structlog.get_logger("idp.access")
_encode = msgspec.json.Encoder().encode


class Line(Struct, omit_defaults=True):
    """What the log says of a request: the route's template, never the raw path, no query, no header, no body."""

    method: str
    endpoint: str
    status: int
    milliseconds: float
    request_id: str
    client: str | None = None
    actor: str | None = None
    code: str | None = None


class _Written(Line, omit_defaults=True, kw_only=True):
    event: str
    level: str
    logger: str
    timestamp: datetime


class AccessLog:
    """Writes the lines: JSON in batches, or through structlog where people read them."""

    def __init__(self) -> None:
        self.batches = False
        self._lines: list[bytes] = []
        self._scheduled = False

    def write(self, line: Line) -> None:
        """Write a line, within a tenth of a second."""
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
            event="request",
            level="info",
            logger="idp.access",
            timestamp=datetime.now(UTC),
        )
        self._lines.append(_encode(written))
        if len(self._lines) >= _MOST_LINES:
            self.flush()
        elif not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(_WRITE_AFTER_SECONDS, self.flush)

    def flush(self) -> None:
        """Write what waits."""
        self._scheduled = False
        lines, self._lines = self._lines, []
        if lines:
            sys.stdout.write(b"\n".join([*lines, b""]).decode())
            sys.stdout.flush()


access_log = AccessLog()
