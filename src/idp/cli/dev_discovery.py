"""Find a running `idp dev` by its data folder, for commands in other terminals."""

import importlib.util
import os
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from idp.cli.http import is_loopback
from idp.settings import Secret, config_dir

_MAX_BYTES = 1_000_000


class RunningDev(Struct, frozen=True):
    """The part of `dev.json` that commands read."""

    base_urls: tuple[str, ...]
    management_token: str
    database_url: str = ""
    upstream_issuer: str = ""
    clerk_stand_in: bool = False

    def __repr__(self) -> str:
        return f"Announcement({self.base_urls})"

    @property
    def token(self) -> Secret:
        return Secret(self.management_token)


def default_folder() -> Path:
    """Return the default data folder of `idp dev`: var/dev of the checkout, or of the current folder."""
    checkout = config_dir().parent
    return (checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()) / "var" / "dev"


def url_on(port: int, folder: Path) -> str | None:
    """Return the URL with this port in the folder's `dev.json`, None if there is none."""
    facts = find_running_dev(folder)
    return next((base for base in facts.base_urls if urlsplit(base).port == port), None) if facts else None


def find_running_dev(folder: Path | None = None) -> RunningDev | None:
    """Return the `idp dev` that runs with this folder (default: the default folder), None if none runs.

    Also None if `idp dev` is not installed, or if other users may write the file: they could redirect the commands.
    """
    if importlib.util.find_spec("idp.dev") is None:
        return None
    try:
        with ((folder or default_folder()) / "dev.json").open("rb") as stream:
            status = os.fstat(stream.fileno())
            if status.st_uid != os.geteuid() or status.st_mode & 0o077:
                return None
            facts = msgspec.json.decode(stream.read(_MAX_BYTES), type=RunningDev)
    except (OSError, msgspec.DecodeError):
        return None
    return facts if facts.base_urls and all(map(is_loopback, facts.base_urls)) else None
