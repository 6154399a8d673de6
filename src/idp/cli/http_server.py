"""uvicorn's server with our limits, as one process runs it and as a worker runs it."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any

import uvicorn

from idp.ops.batch import Batch
from idp.ops.connections import ConnectionLimits, connections_for, raise_file_limit
from idp.ops.forwarded import ForwardedHeaders, TrustedProxies
from idp.ops.http_protocol import BoundedHttpProtocol
from idp.settings_schema import Server


class SingleSignalServer(uvicorn.Server):
    """A second Ctrl-C would interrupt the clean-up, which the shutdown's timeout bounds anyway."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            super().handle_exit(sig, frame)


class WorkerServer(SingleSignalServer):
    """The server of a worker: only SIGTERM and its supervisor stop it.

    Args:
        config: of uvicorn.
        limits: on its connections.
        started: called once it accepts connections.
    """

    def __init__(self, config: uvicorn.Config, limits: ConnectionLimits, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._limits = limits
        self._tell_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._tell_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        signal.signal(signal.SIGTERM, self._stop)
        yield

    def _stop(self, *_: object) -> None:
        self.should_exit = True

    async def drain(self, seconds: float) -> None:
        """Accept no connection any more, close each after its next answer, and stop.

        Args:
            seconds: how long an idle connection stays open; a request that comes meanwhile is answered.
        """
        for server in self.servers:
            server.close()
        self._limits.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._limits.all_closed()
        self.should_exit = True


def configure(app: Any, settings: Server, *, shutdown_timeout: int) -> tuple[uvicorn.Config, ConnectionLimits]:
    """Return uvicorn's configuration, and the limits on connections that it applies.

    Args:
        shutdown_timeout: time for running requests after a signal (seconds).
    """
    proxies = TrustedProxies(settings.trusted_proxies)
    limits = ConnectionLimits(
        limit=connections_for(raise_file_limit(), settings.max_connections),
        limit_per_address=settings.max_connections_per_address,
        is_trusted=proxies.__contains__,
    )
    config = uvicorn.Config(
        ForwardedHeaders(app, proxies) if proxies else app,
        http=partial(BoundedHttpProtocol, limits=limits, batch=Batch()),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # our implementation also handles IPv4-mapped addresses
        timeout_keep_alive=75,
        timeout_graceful_shutdown=shutdown_timeout,
        backlog=2048,
    )
    return config, limits
