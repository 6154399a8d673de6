"""A worker: serves on the shared sockets until it is told to stop. What it uses is built after the fork."""

import asyncio
import contextlib
import socket
import threading

import structlog

from idp.app import create_app
from idp.cli.http_server import WorkerServer, configure
from idp.ops import metrics
from idp.ops.access_log import access_log
from idp.ops.worker_link import WorkerLink
from idp.settings import LoadedSettings

log = structlog.get_logger("idp.serve")
_REQUEST_SECONDS = 10  # for running requests after a signal
_THREAD_SECONDS = 3.0


def serve(loaded: LoadedSettings, number: int, connection: socket.socket, listeners: list[socket.socket]) -> int:
    """Serve, and return the exit code.

    Args:
        loaded: the settings.
        number: from 1, the same in the worker that replaces this one.
        connection: to the supervisor.
        listeners: the sockets on which connections are accepted.
    """
    access_log.shares_output = True
    app = create_app(loaded)
    tasks: set[asyncio.Task[None]] = set()

    def start(work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    config, limits = configure(app, loaded.settings.server, shutdown_timeout=_REQUEST_SECONDS)
    server = WorkerServer(config, limits, lambda: start(link.run()))
    link = WorkerLink(connection, metrics.snapshot, lambda seconds: start(server.drain(seconds)))
    app.state["scrape_all_workers"] = link.scrape
    structlog.contextvars.bind_contextvars(worker=number)
    with contextlib.suppress(SystemExit):  # what uvicorn does after a failed start
        server.run(sockets=listeners)
    link.tell_last_counts()
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join(_THREAD_SECONDS)
    return 0 if server.started else 1
