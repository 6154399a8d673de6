"""Running the application under uvicorn, the same for `idp serve` and `idp dev`."""

import errno
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

from idp.cli.failure import Failure
from idp.settings_schema import Server

_INSISTS = 3  # how often somebody asks who means it
_AGAIN_SECONDS = 0.01
_THREAD_SECONDS = 5.0


class _Stopped(SystemExit):
    """Somebody asked us to end. Not KeyboardInterrupt: in the middle of an import that still ends us by the signal."""


class NotStarted(Failure):
    """The service did not start; the log says why."""

    def __init__(self) -> None:
        super().__init__("The service did not start: see the log above.")


class PortTaken(Failure):
    """The port cannot be had."""


@contextmanager
def until_stopped() -> Iterator[None]:
    """Run the block until it ends, or until Ctrl-C, SIGTERM or a closed terminal: a quiet end with exit code 0.

    What the block does on its way out is done in full, whoever asks a second time. Whoever asks a third time is obeyed
    at once, with exit code 1.
    """
    asked, stopping, tell = 0, False, sys.unraisablehook

    def stop(*_: object) -> None:
        nonlocal asked, stopping
        asked, stopping = asked + 1, True
        if asked >= _INSISTS:
            os._exit(1)
        if asked == 1:
            raise _Stopped(0)

    def pass_on(*_: object) -> None:
        signal.raise_signal(signal.SIGTERM)  # to whoever listens to that now

    def heed(dropped: "sys.UnraisableHookArgs") -> None:
        # Python drops what a signal raises in the middle of its own bookkeeping: in a callback of a weak reference,
        # say, of which an import makes many. Then nobody is on the way out, and it is raised again a moment later.
        nonlocal asked
        if _comes_of_stopping(dropped.exc_value):
            asked = 0
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
        elif not stopping:  # what else gets lost on the way out is no news
            tell(dropped)

    sys.unraisablehook = heed
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    signal.signal(signal.SIGALRM, pass_on)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is under `nohup`
        signal.signal(signal.SIGHUP, pass_on)
    try:
        with suppress(KeyboardInterrupt):
            yield
    except Exception as error:
        # What fails because we were asked to end, such as a start that was cut short, is no failure.
        if not (_comes_of_stopping(error) or (stopping and isinstance(error, NotStarted))):
            raise
        raise SystemExit(0) from None
    finally:
        _finish_threads()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # as Python takes itself apart it would forget our handlers first


def _comes_of_stopping(error: BaseException | None) -> bool:
    """Whether this is our end, or what it was made into: Python and libraries wrap what is raised in some places.

    What merely went wrong on the way out has our end for its context, and not for its cause: that is a failure.
    """
    while error is not None and not isinstance(error, _Stopped):
        error = error.__cause__
    return error is not None


def _finish_threads() -> None:
    """Wait for the thread behind the password workers: Python may trip over it when both end at once."""
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join(_THREAD_SECONDS)


def bind(host: str, port: int, *, hint: str) -> socket.socket:
    """Take a port, before anything else is started.

    Args:
        host: the address to listen on.
        port: 0 takes a free one.
        hint: what to do when it is taken.

    Raises:
        PortTaken: with the hint.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sends small answers at once (TCP_NODELAY); without, each may wait 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"Port {port} is taken by another program: {hint}.") from None
        raise PortTaken(f"Cannot listen on {host}:{port}: {error.strerror}. Choose another host or port.") from None
    return listener


def uvicorn_server(app: Any, settings: Server, *, patience: int = 10) -> Any:
    """Return a uvicorn server that is set up and not started.

    Args:
        patience: how long requests that are under way may take after a signal (seconds).
    """
    import uvicorn

    from idp.ops.connections import ConnectionLimits, connections_for, raise_file_limit
    from idp.ops.forwarded import ForwardedHeaders, TrustedProxies
    from idp.ops.http_protocol import BoundedHttpProtocol

    proxies = TrustedProxies(settings.trusted_proxies)
    limits = ConnectionLimits(
        limit=connections_for(raise_file_limit(), settings.max_connections),
        limit_per_address=settings.max_connections_per_address,
        is_trusted=proxies.__contains__,
    )

    class SignalledOnce(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            # A second Ctrl-C would end us in the middle of the clean-up, which `patience` bounds anyway.
            if not self.should_exit:
                super().handle_exit(sig, frame)

    return SignalledOnce(
        uvicorn.Config(
            ForwardedHeaders(app, proxies) if proxies else app,
            http=partial(BoundedHttpProtocol, limits=limits),  # type: ignore[arg-type]
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # ours reads mapped addresses, too
            timeout_keep_alive=75,
            timeout_graceful_shutdown=patience,
            backlog=2048,
        )
    )


def run(app: Any, settings: Server, *listeners: socket.socket, patience: int = 10) -> None:
    """Serve on these sockets until a signal, and finish what is under way.

    Raises:
        NotStarted: the log has the reason.
    """
    server = uvicorn_server(app, settings, patience=patience)
    # Everything made so far lives as long as the process: without this the collector walks over all of it now and then,
    # which stops every request for 50 ms and more.
    gc.collect()
    gc.freeze()
    server.run(sockets=list(listeners))
    if not server.started:
        raise NotStarted
