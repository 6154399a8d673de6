"""Run the application under uvicorn, for `idp serve` and `idp dev`."""

import errno
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from idp.cli.failure import Failure
from idp.settings_schema import Server

_FORCED_EXIT_AFTER = 3  # this many signals force an immediate exit
_RERAISE_SECONDS = 0.01
_THREAD_SECONDS = 5.0


class _Stopped(SystemExit):
    """A signal requested the exit. Not KeyboardInterrupt, which during an import ends the process by the signal."""


class NotStarted(Failure):
    """The service did not start; the log has the reason."""

    def __init__(self) -> None:
        super().__init__("The service did not start: see the log above.")


class PortTaken(Failure):
    """The port cannot be bound."""


@contextmanager
def until_stopped() -> Iterator[None]:
    """Run the block until it ends, or until Ctrl-C, SIGTERM or SIGHUP, which exit silently with code 0.

    A second signal does not interrupt the block's clean-up. A third one exits at once with code 1.
    """
    signals, stopping, original_hook = 0, False, sys.unraisablehook

    def stop(*_: object) -> None:
        nonlocal signals, stopping
        signals, stopping = signals + 1, True
        if signals >= _FORCED_EXIT_AFTER:
            os._exit(1)
        if signals == 1:
            raise _Stopped(0)

    def stop_again(*_: object) -> None:
        signal.raise_signal(signal.SIGTERM)  # to the current handler

    def on_unraisable(dropped: "sys.UnraisableHookArgs") -> None:
        # Python drops an exception that a signal handler raises inside a weak reference callback, which imports run
        # often. Then the exit is lost, so the signal is raised again a moment later.
        nonlocal signals
        if _is_caused_by_stop(dropped.exc_value):
            signals = 0
            signal.setitimer(signal.ITIMER_REAL, _RERAISE_SECONDS)
        elif not stopping:  # other dropped exceptions during the exit are irrelevant
            original_hook(dropped)

    sys.unraisablehook = on_unraisable
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    signal.signal(signal.SIGALRM, stop_again)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # ignored under `nohup`
        signal.signal(signal.SIGHUP, stop_again)
    try:
        with suppress(KeyboardInterrupt):
            yield
    except Exception as error:
        # An error caused by the requested exit, such as an interrupted start, is no failure.
        if not (_is_caused_by_stop(error) or (stopping and isinstance(error, NotStarted))):
            raise
        raise SystemExit(0) from None
    finally:
        _finish_threads()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # the interpreter's shutdown removes the handlers first


def _is_caused_by_stop(error: BaseException | None) -> bool:
    """Whether an error is the requested exit, or wraps it: Python and libraries wrap exceptions in some places.

    An error during the clean-up has the exit as its context, not as its cause: that is a failure.
    """
    while error is not None and not isinstance(error, _Stopped):
        error = error.__cause__
    return error is not None


def _finish_threads() -> None:
    """Wait for the thread of the password workers: the interpreter may fail if both end at once."""
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join(_THREAD_SECONDS)


def bind(host: str, port: int, *, hint: str) -> socket.socket:
    """Bind a port, before anything else is started.

    Args:
        host: the address to listen on.
        port: 0 for any free port.
        hint: the remedy if the port is in use.

    Raises:
        PortTaken: the port is in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With an explicit protocol asyncio sets TCP_NODELAY; otherwise small responses may wait 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"Port {port} is used by another program: {hint}.") from None
        raise PortTaken(f"Cannot listen on {host}:{port}: {error.strerror}. Choose another host or port.") from None
    return listener


def uvicorn_server(app: Any, settings: Server, *, shutdown_timeout: int = 10) -> Any:
    """Return a configured uvicorn server, not started.

    Args:
        shutdown_timeout: time for running requests after a signal (seconds).
    """
    from idp.cli.http_server import SingleSignalServer, configure

    return SingleSignalServer(configure(app, settings, shutdown_timeout=shutdown_timeout)[0])


def run(app: Any, settings: Server, *listeners: socket.socket, shutdown_timeout: int = 10) -> None:
    """Serve on these sockets until a signal, and finish running requests.

    Raises:
        NotStarted: the log has the reason.
    """
    server = uvicorn_server(app, settings, shutdown_timeout=shutdown_timeout)
    # Objects created so far live as long as the process: without this the garbage collector scans them all, which
    # pauses requests for 50 ms and more.
    gc.collect()
    gc.freeze()
    server.run(sockets=list(listeners))
    if not server.started:
        raise NotStarted
