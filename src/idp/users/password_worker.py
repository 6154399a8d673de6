"""What runs in the password process: Argon2id and bcrypt, and nothing else. Imports are kept small on purpose."""

import ctypes
import os
import signal
import sys
import threading
import time
from typing import NamedTuple

import bcrypt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import Type

_NICENESS = 10
_BCRYPT_PREFIXES = ("$2a$", "$2b$", "$2y$")


class Cost(NamedTuple):
    """Argon2id parameters (RFC 9106): passes, memory in KiB, lanes."""

    time: int
    memory: int
    lanes: int


class Check(NamedTuple):
    """Whether the password fits, and its new hash if the stored one is weaker than the settings ask for."""

    fits: bool
    rehashed: str | None


def start(parent: int) -> None:
    """Prepare the process: yield to the one that answers requests, leave Ctrl-C to it, and never outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICENESS)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


def _hasher(cost: Cost) -> PasswordHasher:
    return PasswordHasher(time_cost=cost.time, memory_cost=cost.memory, parallelism=cost.lanes, type=Type.ID)


def hash_password(password: str, cost: Cost) -> str:
    """Return an Argon2id hash in the PHC string format."""
    return _hasher(cost).hash(password)


def check_password(stored: str | None, password: str, cost: Cost) -> Check:
    """Compare a password with a stored hash.

    Args:
        stored: PHC string of Argon2, or a bcrypt hash of an old service (C-04); None for nobody, which takes as long
            as a wrong password (SEC-9).
        password: normalised text.
        cost: what new hashes cost.
    """
    if stored is not None and stored.startswith(_BCRYPT_PREFIXES):
        # bcrypt reads 72 bytes; the old services cut there, and bcrypt >= 5 refuses more.
        fits = bcrypt.checkpw(password.encode()[:72], stored.encode())
        return Check(fits, hash_password(password, cost) if fits else None)
    hasher = _hasher(cost)
    try:
        fits = hasher.verify(stored or _of_nobody(cost), password)
    except (VerificationError, InvalidHashError):
        return Check(fits=False, rehashed=None)
    if stored is None:
        return Check(fits=False, rehashed=None)
    return Check(fits, hasher.hash(password) if hasher.check_needs_rehash(stored) else None)


_nobody: dict[Cost, str] = {}


def _of_nobody(cost: Cost) -> str:
    """Return a hash that no password fits, of the same cost as real ones."""
    if cost not in _nobody:
        _nobody[cost] = hash_password(os.urandom(16).hex(), cost)
    return _nobody[cost]


def warm_up(cost: Cost) -> None:
    """Make the hash of nobody now, so that the first unknown user costs no more than the next."""
    _of_nobody(cost)
