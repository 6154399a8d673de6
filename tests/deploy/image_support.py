"""Runs a built image as a cluster would: its user, a read-only root, no capability, process 1 of its own."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# `buildah run` has neither a read-only root nor a signal that reaches the process, so the image's root is mounted, and
# entered with the parts that a runtime uses: namespaces, a read-only bind, tmpfs, no capability, no new privileges.
_ENTER = """
root=$1 user=$2 folder=$3 writable=$4
shift 4
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
[ -z "$writable" ] || mount --bind "$writable" "$root/var/lib/idp"
exec chroot "$root" setpriv --reuid "${user%:*}" --regid "${user#*:}" --clear-groups --no-new-privs \
    --inh-caps=-all --ambient-caps=-all --bounding-set=-all env -C "$folder" "$@"
"""


@dataclass(frozen=True)
class Image:
    """A built image; `root` is its mounted file system."""

    root: Path
    config: dict[str, Any]

    def command(self, *command: str, writable: Path | None = None) -> list[str]:
        """Return a command of the image's user, in the image, for the host's root."""
        return [
            *("unshare", "--mount", "--pid", "--fork", "sh", "-ec", _ENTER, "enter"),
            *(str(self.root), self.config["User"], self.config["WorkingDir"], str(writable or ""), *command),
        ]

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        return dict(entry.split("=", 1) for entry in self.config["Env"]) | {"HOME": "/var/lib/idp", **given}

    def run(self, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the image until it ends."""
        arguments = self.command(*command)
        return subprocess.run(arguments, env=self.environment(environ), capture_output=True, text=True, timeout=120)

    @contextmanager
    def running(self, *command: str, writable: Path | None = None, **environ: str) -> Iterator["Container"]:
        """Run a command in the image for the length of the block."""
        arguments = self.command(*command, writable=writable)
        process = subprocess.Popen(
            arguments,
            env=self.environment(environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            yield Container(process)
        finally:
            if process.poll() is None:
                os.kill(Container(process).first, signal.SIGKILL)  # its namespace ends with process 1
            process.communicate(timeout=20)


@dataclass(frozen=True)
class Container:
    """A running image."""

    process: subprocess.Popen[str]

    @property
    def first(self) -> int:
        """The host's number of its process 1."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def terminate(self) -> None:
        """Send SIGTERM to its process 1, as a runtime does."""
        os.kill(self.first, signal.SIGTERM)

    def ended(self, seconds: float) -> tuple[int, str]:
        """Wait for the end, and return its exit code and output."""
        output, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, output


def buildah(folder: Path, *arguments: str) -> str:
    return subprocess.check_output([folder / "buildah", *arguments], text=True)


@contextmanager
def mounted(folder: Path, name: str) -> Iterator[Image]:
    """Mount an image that script/build-images made."""
    config = json.loads(buildah(folder, "inspect", "--type", "image", name))["Docker"]["config"]
    container = buildah(folder, "from", "--pull-never", name).strip()
    try:
        yield Image(Path(buildah(folder, "mount", container).strip()), config)
    finally:
        buildah(folder, "umount", container)
        buildah(folder, "rm", container)
