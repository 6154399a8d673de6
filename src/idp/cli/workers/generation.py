"""A generation: loads code and settings once, prepares the database, and forks workers when the supervisor asks.

When it forks it has one thread, no event loop and no connection but the one to the supervisor.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

from idp.cli.workers.channel import Channel

if TYPE_CHECKING:
    from idp.settings import LoadedSettings

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ORPHAN_SECONDS = 14.0  # for workers to drain after the supervisor has died


def main() -> None:
    """Run until the supervisor closes the connection. Started by `Supervisor` with its arguments as JSON."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the supervisor decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    arguments = json.loads(sys.argv[1])
    control = Channel(socket.socket(fileno=arguments["control"]))
    listeners = [socket.socket(fileno=number) for number in arguments["listeners"]]
    for number in (control.fileno(), *arguments["listeners"]):
        os.set_inheritable(number, False)
    from idp.cli.streams import lasting_streams

    with lasting_streams():
        loaded = _load(control, arguments["overrides"], listeners)
        Forks(control, listeners, loaded).run()


def _load(control: Channel, overrides: dict[str, Any], listeners: list[socket.socket]) -> "LoadedSettings":
    """Load everything, and tell the supervisor how many workers the settings want, or what is wrong with them."""
    try:
        from idp.cli.workers.loading import load

        loaded = load(overrides, listeners)
    except Exception as error:  # noqa: BLE001  the supervisor reports it
        from idp.cli.failure import explain

        sentence = explain(error)
        if sentence is None:
            traceback.print_exc()
            sentence = f"{type(error).__name__}: see the traceback above."
        control.send("failed", reasons=[line.removeprefix("idp: ") for line in sentence.splitlines()])
        sys.exit(1)
    server = loaded.settings.server
    control.send("loaded", workers=server.workers, timeout=server.worker_timeout_seconds)
    return loaded


class Forks:
    """Forks workers, and reports how they end.

    Args:
        control: the connection to the supervisor.
        listeners: the sockets on which workers accept connections.
        loaded: their settings.
    """

    def __init__(self, control: Channel, listeners: list[socket.socket], loaded: "LoadedSettings") -> None:
        self._control = control
        self._listeners = listeners
        self._loaded = loaded
        self._running: set[int] = set()
        self._wakeup, self._waker = socket.socketpair()
        for each in (self._wakeup, self._waker):
            each.setblocking(False)

    def run(self) -> None:
        """Fork on demand until the supervisor is gone, and end with the last worker."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        # Objects that exist now live as long as the process. A collection that scanned them would copy their pages.
        gc.collect()
        gc.freeze()
        while not self._control.closed:
            select.select([self._control.fileno(), self._wakeup.fileno()], [], [])
            self._reap()
            for message in self._control.receive():
                self._fork(message["number"])
        self._outlive_workers()

    def _fork(self, number: int) -> None:
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            theirs.close()
            self._become_worker(number, ours)
        ours.close()
        self._running.add(pid)
        self._control.send_with(theirs, "forked", number=number, pid=pid)
        theirs.close()

    def _become_worker(self, number: int, connection: socket.socket) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._wakeup.close()
            self._waker.close()
            self._control.close()
            from idp.cli.workers.worker import serve

            code = serve(self._loaded, number, connection, self._listeners)
        except BaseException:  # noqa: BLE001  nothing of the generation may run in the fork
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wakeup.recv(4096)
        for pid in list(self._running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._running.discard(pid)
                self._control.send("exited", pid=pid, code=os.waitstatus_to_exitcode(status))

    def _outlive_workers(self) -> None:
        """Wait for workers, which drain when the supervisor dies, and kill those that hang."""
        until = time.monotonic() + _ORPHAN_SECONDS
        while self._running and (left := until - time.monotonic()) > 0:
            select.select([self._wakeup], [], [], left)
            self._reap()
        for pid in self._running:
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
