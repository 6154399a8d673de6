"""Runs a measured server: a process group on one core, on loopback, which ends with this process."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

_PR_SET_PDEATHSIG = 1  # prctl(2)
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_READY = "READY "
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


class DidNotStart(Exception):
    """A server exited or did not answer in time; the message contains the end of its log."""


class Server:
    """A running server.

    Attributes:
        name: its name in the tables.
        base_url: its URL.
        pid: the root of the measured process tree.
        idle_megabytes: resident memory of the process and of the tree, before the first load.
    """

    def __init__(self, name: str, base_url: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.base_url = base_url
        self.pid = process.pid
        self.idle_megabytes: tuple[float, float] | None = None
        self._process = process
        self._log = log

    def ready_message(self) -> bytes | None:
        """Return the JSON printed after READY, None if there is none yet."""
        for line in self._log.read_text(errors="replace").splitlines():
            if line.startswith(_READY):
                return line.removeprefix(_READY).encode()
        return None

    def wait(self, is_ready: Callable[["Server"], bool]) -> "Server":
        """Wait until it is ready; stop it otherwise. Raises DidNotStart."""
        deadline = time.monotonic() + _START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            if is_ready(self):
                return self
            time.sleep(0.02)
        self.stop()
        raise DidNotStart(f"{self.name} did not start: {self._log.read_text(errors='replace')[-1000:]}")

    def stop(self) -> None:
        """Terminate its process group with SIGTERM, then SIGKILL."""
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(self.pid, signal.SIGTERM)
            self._process.wait(_STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


def launch(
    name: str,
    argv: Sequence[str],
    *,
    port: int,
    core: int,
    env: Mapping[str, str],
    folder: Path,
    cwd: Path | None = None,
) -> Server:
    """Start a server on 127.0.0.1 with its log in `folder`; it may not listen yet.

    Args:
        core: the processor core of it and its children.
        env: its environment, in addition to PATH and PYTHONPATH.
    """

    def in_child() -> None:
        os.sched_setaffinity(0, {core})
        if _PRCTL is not None:
            _PRCTL(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)

    log = folder / f"{name}-{port}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            argv,
            cwd=cwd or folder,
            env={**inherited(), **env},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            process_group=0,
            preexec_fn=in_child,
        )
    return Server(name, f"http://127.0.0.1:{port}", process, log)


def inherited() -> dict[str, str]:
    """Return the variables that servers inherit: PATH and PYTHONPATH."""
    return {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}


def listens(server: Server) -> bool:
    """Whether a server accepts connections."""
    host, port = server.base_url.removeprefix("http://").split(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def is_ready(server: Server) -> bool:
    """Whether a server listens and has printed READY with a complete JSON document."""
    said = server.ready_message()
    if said is None or not listens(server):
        return False
    try:
        msgspec.json.decode(said)
    except msgspec.DecodeError:
        return False
    return True


def free_port() -> int:
    """Return a free port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
