"""A worker's connection to its supervisor: it reports that it is alive, answers for its metrics, and asks for all."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from typing import Any

from idp.errors import MetricsUnavailable
from idp.ops.merged_metrics import Family
from idp.ops.metrics import exposition_of

_BEAT_SECONDS = 1.0
_SAMPLES_EVERY = 5  # beats: so old are the counts of a worker that is killed, at most
_SCRAPE_SECONDS = 2.0
_MAX_LINE = 1 << 26


class WorkerLink:
    """The connection of one worker.

    Args:
        connection: to the supervisor.
        snapshot: returns this process's metrics.
        drain: stops the server; its argument says how many seconds idle connections stay open.
    """

    def __init__(
        self, connection: socket.socket, snapshot: Callable[[], list[Family]], drain: Callable[[float], None]
    ) -> None:
        self._connection = connection
        self._snapshot = snapshot
        self._drain = drain
        self._writer: asyncio.StreamWriter | None = None
        self._scrape: asyncio.Future[list[Family]] | None = None

    async def run(self) -> None:
        """Serve the connection until the supervisor closes it; then stop the server."""
        reader, self._writer = await asyncio.open_unix_connection(sock=self._connection, limit=_MAX_LINE)
        self._tell("ready")
        beats = asyncio.create_task(self._beat())
        try:
            while line := await reader.readline():
                self._receive(json.loads(line))
        except OSError:
            pass
        finally:
            beats.cancel()
            self._drain(0)

    async def scrape(self) -> bytes:
        """Return the metrics of all workers in Prometheus' text format.

        Raises:
            MetricsUnavailable: the supervisor does not answer.
        """
        if self._scrape is None or self._scrape.done():
            self._scrape = asyncio.get_running_loop().create_future()
            self._tell("scrape")
        try:
            async with asyncio.timeout(_SCRAPE_SECONDS):
                return exposition_of(await asyncio.shield(self._scrape))
        except TimeoutError:
            self._scrape = None
            raise MetricsUnavailable from None

    def tell_last_counts(self) -> None:
        """Report the final metrics, after the event loop has ended."""
        with contextlib.suppress(OSError, ValueError):
            self._connection.setblocking(True)
            self._connection.settimeout(_BEAT_SECONDS)
            self._connection.sendall(_line("samples", families=self._snapshot()))

    async def _beat(self) -> None:
        beats = 0
        while True:
            beats += 1
            if beats % _SAMPLES_EVERY == 0:
                self._tell("samples", families=self._snapshot())
            else:
                self._tell("alive")
            await asyncio.sleep(_BEAT_SECONDS)

    def _receive(self, message: dict[str, Any]) -> None:
        match message["kind"]:
            case "collect":
                self._tell("samples", families=self._snapshot(), asked=True)
            case "metrics" if self._scrape is not None and not self._scrape.done():
                self._scrape.set_result(message["families"])
            case "drain":
                self._drain(message["seconds"])

    def _tell(self, kind: str, **facts: Any) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(_line(kind, **facts))


def _line(kind: str, **facts: Any) -> bytes:
    return json.dumps({"kind": kind, **facts}, separators=(",", ":")).encode() + b"\n"
