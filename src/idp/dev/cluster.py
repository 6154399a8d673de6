"""One data folder's PostgreSQL on disk: where it is, making it, locking it, removing it.

`<data_dir>/postgres` holds the cluster. When we are root, PostgreSQL runs as `nobody`; a data folder below a
private one (root's 0700 temporary folder) is out of its reach, and then the cluster lives under /var/tmp and
`<data_dir>/postgres.location` says where.
"""

import fcntl
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from idp.dev.account import Account
from idp.dev.fault import EmbeddedError
from idp.dev.leftovers import end_leftovers

SPARE_ROOT = Path("/var/tmp")  # noqa: S108 - what we find there is checked by _refuse_stranger
_SPARE_NAME = re.compile(r"idp-dev-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Home:
    """The two folders of one embedded PostgreSQL, usually the same."""

    data_dir: Path  # the person's folder: log, password, location
    folder: Path  # holds the cluster and its lock
    account: Account

    @property
    def cluster(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.folder / "postgres"

    @property
    def log(self) -> Path:
        """What PostgreSQL said since its last start."""
        return self.data_dir / "postgres.log"

    @property
    def tag(self) -> str:
        """A name that every process of this cluster shows in its command line (PostgreSQL's cluster_name)."""
        return "idp-dev-" + _digest(self.cluster)


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def find_home(data_dir: Path, account: Account) -> Home:
    """Create the data folder if needed and decide where its cluster lives.

    Raises EmbeddedError when the folder cannot be written or the spare place belongs to somebody else.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        data_dir = data_dir.resolve(strict=True)
        return Home(data_dir, _cluster_folder(data_dir, account), account)
    except OSError as error:
        raise _unwritable(data_dir, error) from error


def _unwritable(data_dir: Path, error: OSError) -> EmbeddedError:
    return EmbeddedError(
        f"The data folder {data_dir} cannot be written ({error.strerror}): choose another with --data-dir."
    )


def _cluster_folder(data_dir: Path, account: Account) -> Path:
    if not account.switch:
        return data_dir
    location = data_dir / "postgres.location"
    if not location.exists():
        if account.first_closed(data_dir) is None:
            return data_dir
        location.write_text(f"{SPARE_ROOT / ('idp-dev-' + _digest(data_dir))}\n")
    folder = _spare_named_in(location)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    _refuse_stranger(folder, account)
    return folder


def _spare_named_in(location: Path) -> Path:
    folder = Path(location.read_text().strip())
    if folder.parent != SPARE_ROOT or not _SPARE_NAME.fullmatch(folder.name):
        raise EmbeddedError(f"{location} does not name a folder of ours: remove that file.")
    return folder


def _refuse_stranger(folder: Path, account: Account) -> None:
    # /var/tmp is everybody's: a folder made in advance, or a link, could hand our data to its maker.
    seen = folder.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid not in {0, account.uid} or seen.st_mode & 0o077:
        raise EmbeddedError(f"{folder} was not made by us (owner, mode or kind): look at it, remove it.")
    if seen.st_uid == 0:  # made by us just now, or by a run that ended right here
        account.adopt(folder)


@contextmanager
def locked(home: Home) -> Iterator[None]:
    """Hold the cluster for this process; released at exit, even by SIGKILL. See `acquire`."""
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
        raise EmbeddedError(
            f"The data folder {home.data_dir} is in use by process {holder}:"
            " stop it, or choose another with --data-dir."
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def remove_data(data_dir: Path) -> None:
    """Remove the PostgreSQL that lives in, or is named by, `data_dir`; nothing else in that folder.

    Ends an orphaned server first. Raises EmbeddedError when another process uses it.
    """
    if not data_dir.exists():
        return
    home = find_home(data_dir, Account.for_servers())
    with locked(home):
        end_leftovers(home.cluster, home.tag, home.account.uid)
        try:
            _remove_files(home)
        except OSError as error:
            raise EmbeddedError(f"{error.filename} cannot be removed ({error.strerror}).") from error


def _remove_files(home: Home) -> None:
    for made in (home.cluster, *home.folder.glob("postgres.partial-*")):
        if made.exists():
            shutil.rmtree(made)
    for name in ("postgres.location", "postgres.password", "postgres.log", "postgres.lock"):
        (home.data_dir / name).unlink(missing_ok=True)
    if home.folder != home.data_dir:
        shutil.rmtree(home.folder)
