"""Stop PostgreSQL processes that a killed parent left running."""

import time
from pathlib import Path
from signal import SIGCONT, SIGINT, SIGKILL, SIGQUIT

from idp.dev.child import is_alive, processes_tagged, send
from idp.dev.errors import EmbeddedError

_POLL_SECONDS = 0.01


def stop_orphaned_processes(cluster: Path, tag: str, uid: int) -> None:
    """Stop all processes on `cluster`, first gracefully, then by SIGKILL, and remove a misleading pid file.

    Call it only with the cluster's lock, so that the processes are known to be orphaned. Raises EmbeddedError if a
    process does not end.
    """
    send(processes_tagged(tag, uid), SIGCONT)  # a paused server does not handle other signals
    # Only the postmaster may get SIGINT, which has another meaning for its children.
    send([pid for pid in processes_tagged(tag, uid) if pid == postmaster_pid(cluster)], SIGINT)
    if not _gone(tag, uid, 10 if postmaster_pid(cluster) else 0):
        send(processes_tagged(tag, uid), SIGQUIT)
    if not _gone(tag, uid, 5):
        send(processes_tagged(tag, uid), SIGKILL)
    if not _gone(tag, uid, 5):
        raise EmbeddedError(f"PostgreSQL processes on {cluster} do not end: {processes_tagged(tag, uid)}.")
    _clear_misleading_pid(cluster)


def _gone(tag: str, uid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while processes_tagged(tag, uid):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def postmaster_pid(cluster: Path) -> int | None:
    """Return the pid written in the cluster's postmaster.pid, or None without a readable one."""
    try:
        return int((cluster / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _clear_misleading_pid(cluster: Path) -> None:
    # PostgreSQL discards a pid file of a dead process. The server is known to be dead, so a live process with that pid
    # is another one (or a zombie), and PostgreSQL would refuse to start.
    pid = postmaster_pid(cluster)
    if pid is not None and is_alive(pid):
        (cluster / "postmaster.pid").unlink(missing_ok=True)
