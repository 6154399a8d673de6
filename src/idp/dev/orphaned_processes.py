"""What a killed parent may leave behind: a PostgreSQL that still runs or is still shutting down."""

import time
from pathlib import Path
from signal import SIGCONT, SIGINT, SIGKILL, SIGQUIT

from idp.dev.child import is_alive, processes_tagged, send
from idp.dev.errors import EmbeddedError

_POLL_SECONDS = 0.01


def stop_orphaned_processes(cluster: Path, tag: str, uid: int) -> None:
    """Stop whatever still runs on `cluster`: politely, then firmly; and clear a pid file that would mislead.

    Call it only while holding the cluster's lock, so that what runs is known to have no owner.
    Raises EmbeddedError when something will not go away.
    """
    send(processes_tagged(tag, uid), SIGCONT)  # a paused server could not hear the rest
    # Only the postmaster may get SIGINT: to its children it means other things.
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
    # PostgreSQL itself discards a pid file whose process is gone. Ours is known to be gone, so a live process
    # with that number is somebody else (or a zombie), and PostgreSQL would refuse to start because of it.
    pid = postmaster_pid(cluster)
    if pid is not None and is_alive(pid):
        (cluster / "postmaster.pid").unlink(missing_ok=True)
