"""The PostgreSQL cluster of a data folder: locate, lock, remove.

`<data_dir>/postgres` is the cluster. For root, PostgreSQL runs as `nobody`. If that user cannot reach the data folder
(such as root's 0700 temporary folder), the cluster is under /var/tmp and `<data_dir>/postgres.location` has its path.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from idp.dev.errors import EmbeddedError, FolderInUse
from idp.dev.fallback_data_dir import digest, fallback_data_dir
from idp.dev.orphaned_processes import stop_orphaned_processes
from idp.dev.server_user import ServerUser

_LOCATION = "postgres.location"


@dataclass(frozen=True, slots=True)
class Home:
    """The two folders of one embedded PostgreSQL, usually the same."""

    data_dir: Path  # log, password, location
    folder: Path  # the cluster and its lock
    server_user: ServerUser

    @property
    def cluster(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.folder / "postgres"

    @property
    def log(self) -> Path:
        """PostgreSQL's log since its last start."""
        return self.data_dir / "postgres.log"

    @property
    def tag(self) -> str:
        """A name in the command line of every process of this cluster (PostgreSQL's cluster_name)."""
        return "idp-dev-" + digest(self.cluster)

    @property
    def location(self) -> Path | None:
        """The file with the cluster's path, if it is elsewhere."""
        return None if self.folder == self.data_dir else self.data_dir / _LOCATION


def find_home(data_dir: Path, server_user: ServerUser) -> Home:
    """Create the data folder if needed, and choose the cluster's folder.

    Raises EmbeddedError if the folder cannot be written or the fallback folder belongs to another user.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        data_dir = data_dir.resolve(strict=True)
        return Home(data_dir, _cluster_folder(data_dir, server_user), server_user)
    except OSError as error:
        raise _unwritable(data_dir, error) from error


def _unwritable(data_dir: Path, error: OSError) -> EmbeddedError:
    return EmbeddedError(
        f"The data folder {data_dir} cannot be written ({error.strerror}): choose another with --data-dir."
    )


def _cluster_folder(data_dir: Path, server_user: ServerUser) -> Path:
    location = data_dir / _LOCATION
    if not server_user.switch or (not location.exists() and server_user.first_closed(data_dir) is None):
        return data_dir
    return fallback_data_dir(data_dir, location, server_user)


@contextmanager
def locked(home: Home) -> Iterator[None]:
    """Lock the cluster for this process; released at exit, even by SIGKILL. See `acquire`."""
    lock = acquire(home)
    try:
        yield
    finally:
        os.close(lock)


def acquire(home: Home) -> int:
    """Take the cluster's lock and return its file descriptor; closing it releases the lock.

    Raises EmbeddedError when another process holds it or the folder cannot be written.
    """
    try:
        lock = os.open(home.folder / "postgres.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _unwritable(home.data_dir, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(lock, 20).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise FolderInUse(
            f"The data folder {home.data_dir} is in use by process {holder}:"
            " stop it, or choose another with --data-dir."
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def remove_data(data_dir: Path) -> None:
    """Remove the PostgreSQL of `data_dir`; nothing else in that folder.

    Stops an orphaned server first. Raises EmbeddedError if another process uses it.
    """
    if not data_dir.exists():
        return
    home = find_home(data_dir, ServerUser.for_servers())
    with locked(home):
        stop_orphaned_processes(home.cluster, home.tag, home.server_user.uid)
        try:
            _remove_files(home)
        except OSError as error:
            raise EmbeddedError(f"{error.filename} cannot be removed ({error.strerror}).") from error


def _remove_files(home: Home) -> None:
    for made in (home.cluster, *home.folder.glob("postgres.partial-*")):
        if made.exists():
            shutil.rmtree(made)
    for name in (_LOCATION, "postgres.password", "postgres.log", "postgres.lock"):
        (home.data_dir / name).unlink(missing_ok=True)
    if home.folder != home.data_dir:
        shutil.rmtree(home.folder)
