"""A place for the cluster when the data folder is out of the reach of the user that runs PostgreSQL."""

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
    """Return 16 hexadecimal digits that stand for a path."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def fallback_data_dir(data_dir: Path, location: Path, server_user: ServerUser) -> Path:
    """Return the folder that `location` names, or the one that belongs to `data_dir`; make it if needed.

    Raises EmbeddedError when it is not ours.
    """
    folder = Path(location.read_text().strip()) if location.exists() else ROOT / f"idp-dev-{digest(data_dir)}"
    if folder.parent != ROOT or not _NAME.fullmatch(folder.name):
        raise EmbeddedError(f"{location} does not name a folder of ours: remove that file.")
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    _refuse_stranger(folder, server_user)
    return folder


def _refuse_stranger(folder: Path, server_user: ServerUser) -> None:
    # /var/tmp is everybody's: a folder made in advance, or a link, could hand our data to its maker.
    seen = folder.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid not in {0, server_user.uid} or seen.st_mode & 0o077:
        raise EmbeddedError(f"{folder} was not made by us (owner, mode or kind): look at it, remove it.")
    if seen.st_uid == 0:  # made by us just now, or by a run that ended right here
        server_user.adopt(folder)
