"""Commands in forks of one process that has every module loaded (`command_server.py`): milliseconds, not a second.

What a new interpreter would do differently, such as reading PYTHONIOENCODING, needs `subprocess`.
"""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

_PROGRAM = Path(__file__).with_name("command_server.py")
_lock = threading.Lock()


@cache
def _server() -> socket.socket:
    """Return the socket of the server, which is started once in a test process and ends with it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    plain = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    process = subprocess.Popen(
        [sys.executable, str(_PROGRAM), str(theirs.fileno())],
        env=plain, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True,
    )  # fmt: skip
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


class CommandProcess:
    """A running command, with the part of `subprocess.Popen` that the tests use.

    Args:
        module: its module, whose `main` it is.
        arguments: what follows the command's name.
        environ: all its environment variables.
        stdin, stdout, stderr: open files or descriptors; None is /dev/null.
        new_session: whether it leads a session of its own.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        environ: Mapping[str, str],
        stdin: IO[bytes] | int | None = None,
        stdout: IO[bytes] | int | None = None,
        stderr: IO[bytes] | int | None = None,
        new_session: bool = False,
    ) -> None:
        request = {
            "module": module, "arguments": list(arguments), "environ": dict(environ),
            "folder": str(Path.cwd()), "new_session": new_session,
        }  # fmt: skip
        ours, theirs = socket.socketpair()
        with theirs, Path(os.devnull).open("r+b") as nothing:
            files = [nothing if each is None else each for each in (stdin, stdout, stderr)]
            numbers = [each if isinstance(each, int) else each.fileno() for each in files]
            with _lock:
                socket.send_fds(_server(), [json.dumps(request).encode()], [theirs.fileno(), *numbers])
        self.args = [module, *arguments]
        self.returncode: int | None = None
        self._reply, self._heard = ours, b""
        self.pid = int(self._line(60) or 0)

    def _line(self, seconds: float) -> bytes | None:
        """Return the server's next line, None if it does not come in time."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._heard:
            if not select.select([self._reply], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return None
            piece = self._reply.recv(64)
            assert piece, "the server of commands is gone"
            self._heard += piece
        line, _, self._heard = self._heard.partition(b"\n")
        return line

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        if self.returncode is None:
            line = self._line(0)
            if line is not None:
                self.returncode = int(line)
                self._reply.close()
        return self.returncode

    def wait(self, timeout: float = 60) -> int:
        """Wait for its end and return the exit code. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            select.select([] if b"\n" in self._heard else [self._reply], [], [], timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it without warning."""
        self.send_signal(signal.SIGKILL)


def run(
    module: str, arguments: Sequence[str], *, environ: Mapping[str, str], typed: str | None = None, seconds: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as `subprocess.run` does.

    Args:
        module: its module, whose `main` it is.
        arguments: what follows the command's name.
        environ: all its environment variables.
        typed: what it reads from stdin; None is nothing.
        seconds: how long it may take.
    """
    if any(name.startswith("PYTHON") for name in environ):  # only a new interpreter reads them
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env=dict(environ), input=typed or "", capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        stdin.write((typed or "").encode())
        stdin.seek(0)
        process = CommandProcess(module, arguments, environ=environ, stdin=stdin, stdout=stdout, stderr=stderr)
        try:
            code = process.wait(seconds)
        finally:
            process.kill()
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(process.args, code, stdout.read().decode(), stderr.read().decode())
