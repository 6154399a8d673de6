"""The file that keeps the stand-in for Clerk between the commands of `idp dev clerk` and the service."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from idp.dev.clerk_instance import InstanceState, new_state

NAME = "clerk.json"


def read_state(path: Path) -> InstanceState:
    """Return the stand-in's state.

    Raises:
        OSError: there is none.
    """
    return msgspec.json.decode(path.read_bytes(), type=InstanceState)


@contextmanager
def changing(path: Path) -> Iterator[InstanceState]:
    """Change the state, which is created if there is none; other commands wait, and readers see the old or the new one.

    Args:
        path: the file, readable by its owner only.
    """
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(lock, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        state = read_state(path) if path.exists() else new_state()
        yield state
        written = path.with_suffix(".new")
        written.touch(mode=0o600)
        written.write_bytes(msgspec.json.encode(state))
        written.replace(path)
