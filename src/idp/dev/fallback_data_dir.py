"""A fallback folder for the cluster, if PostgreSQL's user cannot reach the data folder."""

import hashlib
import os
import re
import stat
from contextlib import suppress
from pathlib import Path

from idp.dev.errors import EmbeddedError
from idp.dev.server_user import ServerUser

ROOT = Path("/var/tmp")  # noqa: S108  what we find there is checked by _refuse_stranger
_NAME = re.compile(r"idp-dev-[0-9a-f]{16}")


def digest(path: Path) -> str:
    """Return a digest of a path, 16 hexadecimal digits."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def fallback_data_dir(data_dir: Path, location: Path, server_user: ServerUser) -> Path:
    """Return the folder in `location`, or the fallback of `data_dir`; create it if needed.

    Raises EmbeddedError if it belongs to another user.
    """
    folder = Path(location.read_text().strip()) if location.exists() else ROOT / f"idp-dev-{digest(data_dir)}"
    if folder.parent != ROOT or not _NAME.fullmatch(folder.name):
        raise EmbeddedError(f"{location} does not contain a valid folder: remove that file.")
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    _refuse_stranger(folder, server_user)
    return folder


def _refuse_stranger(folder: Path, server_user: ServerUser) -> None:
    # /var/tmp is world-writable: an attacker could create the folder or a link in advance to get our data.
    seen = folder.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid not in {0, server_user.uid} or seen.st_mode & 0o077:
        raise EmbeddedError(f"{folder} was not created by `idp dev` (owner, mode or type): check and remove it.")
    if seen.st_uid == 0:  # created by this run, or by a run that ended here
        server_user.adopt(folder)
