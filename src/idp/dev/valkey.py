"""Valkey as a child process, in memory only."""

import socket
import subprocess
import tempfile
import time
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, Signals
from typing import IO, Self

from idp.dev import binaries
from idp.dev.child import choose_port, send, spawn
from idp.dev.errors import EmbeddedError
from idp.dev.initdb import last_lines
from idp.dev.server_user import ServerUser

_START_SECONDS = 10.0
_POLL_SECONDS = 0.005


class EmbeddedValkey:
    """One Valkey server on 127.0.0.1 without persistence.

    `port` None means any free one, chosen at the first start and kept. It dies with this process on Linux;
    elsewhere, after a SIGKILL of this process, it must be stopped by hand.
    """

    def __init__(self, *, port: int | None = None) -> None:
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers. Call it from the main thread. Raises EmbeddedError."""
        if self._process is not None and self._process.poll() is None:
            return
        binary, server_user = binaries.valkey_binary(), ServerUser.for_servers()
        closed = server_user.first_closed(binary.parent)
        if closed is not None:
            raise EmbeddedError(
                f"Valkey should not run as root, so it runs as `{server_user.name}`, who may not enter {closed}:"
                " move the project and its .venv to a folder that all users may enter, or run as an ordinary user."
            )
        self._port = choose_port(self._port)
        with tempfile.TemporaryFile() as log:
            self._launch(binary, server_user, self._port, log)

    def _launch(self, binary: Path, server_user: ServerUser, port: int, log: IO[bytes]) -> None:
        argv = [str(binary), "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
        try:
            self._process = spawn(argv, server_user=server_user, cwd=Path("/"), log=log, death_signal=SIGKILL)
        except OSError as error:
            raise EmbeddedError(f"{binary} cannot be run here ({error.strerror}).") from error
        deadline = time.monotonic() + _START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            if _answers(port):
                return
            time.sleep(_POLL_SECONDS)
        self.stop()
        log.seek(0)
        said = log.read().decode(errors="replace")
        raise EmbeddedError("Valkey did not start. Its output:\n" + last_lines(said))

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The server. Raises EmbeddedError before the first start."""
        if self._process is None:
            raise EmbeddedError("Valkey has not been started.")
        return self._process

    @property
    def url(self) -> str:
        """The server's URL. Raises EmbeddedError before the first start."""
        if self._process is None:
            raise EmbeddedError("Valkey has not been started.")
        return f"valkey://127.0.0.1:{self._port}/0"

    def pause(self) -> None:
        """Stop the server (SIGSTOP): clients see a dead network."""
        self._send(SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._send(SIGCONT)

    def _send(self, number: Signals) -> None:
        if self.process.poll() is None:
            send([self.process.pid], number)

    def stop(self) -> None:
        """Stop the server if it runs. Safe to call again."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.kill()  # no data to save, and it may be paused
        self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
