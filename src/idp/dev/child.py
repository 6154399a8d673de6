"""Child processes that end with their parent, and finding those that did not."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from idp.dev.errors import EmbeddedError
from idp.dev.server_user import ServerUser

_PR_SET_PDEATHSIG = 1
_RAISING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
_ON_LINUX = sys.platform.startswith("linux")
_PRCTL = ctypes.CDLL(None).prctl if _ON_LINUX else None


def spawn(
    argv: Sequence[str | Path], *, server_user: ServerUser, cwd: Path, log: IO[bytes], death_signal: signal.Signals
) -> subprocess.Popen[bytes]:
    """Start a server in a process group of its own, so that Ctrl-C reaches only this process, which then stops it.

    `log` receives its output; the kernel sends it `death_signal` when this process dies (Linux).
    """
    if threading.current_thread() is not threading.main_thread():
        # The kernel takes the forking thread for the parent: the server would end with a pool's idle thread.
        raise RuntimeError("start an embedded server from the main thread")
    return _start(
        argv,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=clean_environment(),
        process_group=0,
        preexec_fn=_die_with_parent(death_signal),
        **server_user.identity,
    )


def run(
    argv: Sequence[str | Path],
    *,
    server_user: ServerUser,
    cwd: Path = Path("/"),
    text: str = "",
    environment: Mapping[str, str] | None = None,
    dies_with_parent: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a command with `text` as input, and return its exit code and merged output.

    `dies_with_parent` needs code that runs between fork and exec, which may hang in a process with threads: a library's
    fork hooks then wait for locks that no thread of the child releases. Raises OSError if it cannot be executed.
    """
    process = _start(
        argv,
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=clean_environment() | dict(environment or {}),
        preexec_fn=_die_with_parent(signal.SIGKILL) if dies_with_parent else None,
        encoding="utf-8",
        errors="replace",
        **server_user.identity,
    )
    with process:
        try:
            output, _ = process.communicate(text)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, output)


def _start(argv: Sequence[str | Path], **options: Any) -> subprocess.Popen[Any]:
    process = None
    try:
        with _signals_deferred():
            process = subprocess.Popen(argv, **options)  # noqa: S603 - our own binaries, no shell
    except BaseException:
        if process is not None:
            process.kill()
            process.wait()
        raise
    return process


@contextmanager
def _signals_deferred() -> Iterator[None]:
    """Defer signal handlers until the end of the block.

    With a `preexec_fn`, Python runs hooks around the fork that take and release locks, such as that of logging. An
    exception raised there by a signal handler is dropped, and the lock is never released.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers run in the main thread only
        return
    handlers = {number: signal.getsignal(number) for number in _RAISING}
    ours = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in ours:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        for each in came:
            signal.raise_signal(each)


def clean_environment() -> dict[str, str]:
    """Return the environment without variables that affect PostgreSQL: PG*, locale, time zone."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return kept | {"TZ": "UTC"}


def _die_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    if _PRCTL is None:
        return None
    parent, prctl = os.getpid(), _PRCTL

    def in_child() -> None:
        # After subprocess changed the uid, because a uid change clears this setting.
        prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # the parent died between the fork and prctl
            os._exit(1)

    return in_child


def processes_tagged(tag: str, uid: int) -> list[int]:
    """Return the pids of that user's live processes whose command line contains `tag` (zombies have none)."""
    return _from_proc(tag, uid) if _ON_LINUX else _from_ps(tag, uid)


def _from_proc(tag: str, uid: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if tag.encode() in (folder / "cmdline").read_bytes() and folder.stat().st_uid == uid:
                found.append(int(folder.name))
        except OSError:  # the process ended meanwhile
            continue
    return sorted(found)


def _from_ps(tag: str, uid: int) -> list[int]:
    listing = run(["/bin/ps", "-A", "-o", "pid=,uid=,command="], server_user=ServerUser.own()).stdout
    rows = [line.split(None, 2) for line in listing.splitlines() if tag in line]
    return sorted(int(pid) for pid, owner, _ in rows if int(owner) == uid)


def send(pids: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to each of the processes that still exist."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def is_alive(pid: int) -> bool:
    """Whether a process with this pid exists, of any user (including zombies)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def choose_port(wanted: int | None) -> int:
    """Return `wanted` if it is free on 127.0.0.1, or any free port for None.

    Raises EmbeddedError when the wanted port is not available.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted or 0))
        except OSError as error:
            raise EmbeddedError(
                f"Port {wanted} on 127.0.0.1 cannot be used ({error.strerror}): stop the program that uses it,"
                " or choose another port."
            ) from error
        return int(probe.getsockname()[1])
