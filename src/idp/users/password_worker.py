"""Code of the password process: Argon2id, and bcrypt and PBKDF2 of imported users. Keep its imports small."""

import base64
import ctypes
import hashlib
import hmac
import os
import re
import signal
import sys
import threading
import time
from typing import NamedTuple

import bcrypt
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError
from argon2.low_level import Type

_NICENESS = 10
_CHECK_CPU_SECONDS = 0.005  # with less CPU time in two seconds there was no check
_BCRYPT_PREFIXES = ("$2a$", "$2b$", "$2y$")
_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}\Z")
_BCRYPT_ROUNDS = (4, 15)  # cost 15 takes two CPU seconds, 31 a day and a half
# The PHC form: digest, iterations, salt and hash in Base64 without padding.
_PBKDF2 = re.compile(
    r"\$pbkdf2-(sha256|sha512)\$i=([1-9][0-9]{0,9})(?:,l=[0-9]{1,3})?"
    r"\$([A-Za-z0-9+/]{8,128})\$([A-Za-z0-9+/]{22,128})\Z"
)
_MAX_PBKDF2 = 4_000_000  # rounds of HMAC: two CPU seconds


class Cost(NamedTuple):
    """Argon2id parameters (RFC 9106): passes, memory in KiB, lanes."""

    time: int
    memory: int
    lanes: int


_MAX_ARGON2 = Cost(time=64, memory=1 << 18, lanes=64)  # 256 MiB: a check must fit beside the service
_MAX_WORK = 1 << 22  # passes times KiB: about two CPU seconds


class Check(NamedTuple):
    """The result of a check: whether the password matches, and whether the hash is weaker than the settings.

    `unverifiable` gives the reason if the stored hash cannot be verified; it counts as a wrong password and is audited.
    """

    matches: bool
    is_weak: bool = False
    unverifiable: str | None = None


def start(parent: int) -> None:
    """Prepare the process: lower its priority, ignore Ctrl-C, and end with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICENESS)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: int) -> None:
    """End with the parent; meanwhile give back the memory of checks, which the C library keeps for the next one."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    used = [time.process_time()] * 3
    while os.getppid() == parent:
        time.sleep(1)
        used = [*used[1:], time.process_time()]
        if trim is not None and used[-1] - used[0] > _CHECK_CPU_SECONDS:
            trim(0)
    os._exit(0)


def _hasher(cost: Cost) -> PasswordHasher:
    return PasswordHasher(time_cost=cost.time, memory_cost=cost.memory, parallelism=cost.lanes, type=Type.ID)


def hash_password(password: str, cost: Cost) -> str:
    """Return an Argon2id hash in the PHC string format."""
    return _hasher(cost).hash(password)


def check_password(stored: str | None, password: str, cost: Cost) -> Check:
    """Compare a password with a stored hash.

    Args:
        stored: PHC string of Argon2, or bcrypt or PBKDF2 of an imported user (C-04); None for an unknown user, which
        takes as long as a wrong password (SEC-9).
        password: normalised text.
        cost: parameters of new hashes.
    """
    reason = None if stored is None else unverifiable_reason(stored, cost)
    if stored is None or reason is not None:
        _matches(_dummy_hash(cost), password, cost)
        return Check(matches=False, unverifiable=reason)
    try:
        matches = _matches(stored, password, cost)
    except (ValueError, InvalidHashError, VerificationError) as error:  # well formed, but not decodable
        _matches(_dummy_hash(cost), password, cost)
        return Check(matches=False, unverifiable=f"the hash cannot be read: {error}"[:200])
    # Weakness is reported only for a match, and rehashing is done after the sign-in: a slower rejection would reveal a
    # correct password (SEC-9).
    return Check(matches, is_weak=matches and _is_weak(stored, cost))


def _is_weak(stored: str, cost: Cost) -> bool:
    return not stored.startswith("$argon2") or _hasher(cost).check_needs_rehash(stored)


def _matches(stored: str, password: str, cost: Cost) -> bool:
    if stored.startswith(_BCRYPT_PREFIXES):
        # bcrypt uses 72 bytes: the old services truncated, bcrypt >= 5 refuses more. A NUL ends the input.
        return "\x00" not in password and bcrypt.checkpw(password.encode()[:72], stored.encode())
    if match := _PBKDF2.match(stored):
        return _matches_pbkdf2(match, password)
    try:
        return _hasher(cost).verify(stored, password)
    except VerifyMismatchError:
        return False


def _matches_pbkdf2(stored: re.Match[str], password: str) -> bool:
    digest, iterations = stored[1], int(stored[2])
    salt, expected = (base64.b64decode(each + "=" * (-len(each) % 4)) for each in (stored[3], stored[4]))
    computed = hashlib.pbkdf2_hmac(digest, password.encode(), salt, iterations, len(expected))
    return hmac.compare_digest(computed, expected)


def unverifiable_reason(stored: str, cost: Cost) -> str | None:
    """Return why a stored hash is not verified: it is malformed or too expensive; else None.

    Args:
        stored: the stored hash.
        cost: parameters of new hashes, which are always allowed.
    """
    if stored.startswith(_BCRYPT_PREFIXES):
        match = _BCRYPT.match(stored)
        if match is None:
            return "the bcrypt hash is malformed"
        rounds = int(match[1])
        lowest, highest = _BCRYPT_ROUNDS
        return None if lowest <= rounds <= highest else f"bcrypt with cost {rounds}; {lowest} to {highest} is verified"
    if stored.startswith("$pbkdf2-"):
        return _pbkdf2_problem(stored)
    if not stored.startswith("$argon2"):
        return "the hash has an unknown scheme" if stored else "the hash is empty"
    try:
        given = extract_parameters(stored)
    except (InvalidHashError, ValueError):
        return "the Argon2 hash is malformed"
    limit = Cost(*(max(pair) for pair in zip(cost, _MAX_ARGON2, strict=True)))
    work = max(cost.time * cost.memory, _MAX_WORK)
    stored_cost = Cost(given.time_cost, given.memory_cost, given.parallelism)
    each_fits = all(0 < value <= highest for value, highest in zip(stored_cost, limit, strict=True))
    if not each_fits or stored_cost.time * stored_cost.memory > work:
        parameters = f"t={stored_cost.time}, m={stored_cost.memory} KiB, p={stored_cost.lanes}"
        return f"Argon2 with {parameters}, which exceeds the limits"
    return None


def _pbkdf2_problem(stored: str) -> str | None:
    match = _PBKDF2.match(stored)
    if match is None or any(len(each) % 4 == 1 for each in (match[3], match[4])):
        return "the PBKDF2 hash is malformed"
    blocks = -(-(len(match[4]) * 3 // 4) // hashlib.new(match[1]).digest_size)
    iterations = int(match[2])
    return (
        f"PBKDF2 with {iterations} iterations, which exceeds the limit" if iterations * blocks > _MAX_PBKDF2 else None
    )


_dummy_hashes: dict[Cost, str] = {}


def _dummy_hash(cost: Cost) -> str:
    """Return a dummy hash that matches no password, with the same cost as real ones."""
    if cost not in _dummy_hashes:
        _dummy_hashes[cost] = hash_password(os.urandom(16).hex(), cost)
    return _dummy_hashes[cost]


def warm_up(cost: Cost) -> None:
    """Compute the dummy hash, so that the first unknown user takes no longer than the next."""
    _dummy_hash(cost)
