"""The user of the embedded servers: the current user, or `nobody` for root (PostgreSQL refuses root)."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Prints the first of the given folders that cannot be entered.
_WALK = 'for folder; do cd "$folder" 2>/dev/null || { printf %s "$folder"; exit 1; }; done'


@dataclass(frozen=True, slots=True)
class ServerUser:
    """A local user. `switch`: child processes must change to it."""

    name: str
    uid: int
    gid: int
    switch: bool

    @classmethod
    def own(cls) -> "ServerUser":
        """Return the current user."""
        return cls(f"uid {os.geteuid()}", os.geteuid(), os.getegid(), switch=False)

    @classmethod
    def for_servers(cls) -> "ServerUser":
        """Return the user for servers: `nobody` for root, else the current user."""
        if os.geteuid() != 0:
            return cls.own()
        nobody = pwd.getpwnam("nobody")
        return cls(nobody.pw_name, nobody.pw_uid, nobody.pw_gid, switch=True)

    @property
    def identity(self) -> dict[str, Any]:
        """Keyword arguments for `subprocess` to switch to this user, without our groups."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switch else {}

    def adopt(self, folder: Path) -> None:
        """Make this user the owner of a newly created folder."""
        if self.switch:
            os.chown(folder, self.uid, self.gid, follow_symlinks=False)

    def first_closed(self, folder: Path) -> Path | None:
        """Return the topmost parent of `folder` that this user cannot enter, or None.

        Tested by a child process of this user, because modes alone are not reliable (ACLs, mounts).
        """
        if not self.switch:
            return None
        way = [*reversed(folder.resolve().parents), folder.resolve()]
        walk = subprocess.run(  # noqa: S603 - a fixed script, the folders are its arguments
            ["/bin/sh", "-c", _WALK, "sh", *map(str, way)],
            cwd="/",
            stdout=subprocess.PIPE,
            check=False,
            **self.identity,
        )
        return None if walk.returncode == 0 else Path(os.fsdecode(walk.stdout))
