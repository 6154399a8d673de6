"""Passwords: the policy, and a bounded worker so that a flood of logins never stalls other requests.

Argon2id takes about 20 ms of a core. In the event loop that stops every request, in threads it starves them, so it runs
in separate processes of lower priority, behind a queue that refuses instead of growing (SEC-7, performance.md).
"""

import asyncio
import os
import re
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

import structlog

from idp.errors import Busy, PasswordRejected
from idp.ops.problems import FieldError, invalid
from idp.settings_schema import Passwords as PasswordSettings
from idp.users import complexity, password_worker
from idp.users.email import email_key
from idp.users.normal_form import normal_form
from idp.users.password_queue import PasswordQueue
from idp.users.password_worker import Check, Cost

log = structlog.get_logger("idp.passwords")
_NO_LETTER = re.compile(r"[\W\d_]+")
_SHORTEST_WORD = 3  # of a name
_MOST_PARTS = 4  # code points that can become one in NFC
_FEWEST_CHARACTERS = 4  # different ones; "aaaaaaaa" and eight spaces stand for their like
P = ParamSpec("P")
R = TypeVar("R")


class NoSharedMemory(Exception):
    """The machine has no place for the semaphores between processes; the message says what to do."""


def check_shared_memory() -> None:
    """Find out whether processes can share semaphores here.

    Raises:
        NoSharedMemory: they cannot.
    """
    try:
        get_context("spawn").Semaphore(1)
    except OSError as error:
        raise NoSharedMemory(
            f"Passwords are checked in processes of their own, which need a writable /dev/shm ({error.strerror}): "
            "mount a tmpfs there, for example with `docker run --tmpfs /dev/shm`."
        ) from None


class Passwords:
    """Hashes and checks passwords in worker processes.

    Args:
        settings: the policy, and what hashing costs.
        service: what the service calls itself and where it is found; neither makes a password (SEC-4).
    """

    def __init__(self, settings: PasswordSettings, *, service: Sequence[str] = ()) -> None:
        self._settings = settings
        self._service = tuple(service)
        self._cost = Cost(settings.argon2_time_cost, settings.argon2_memory_kib, settings.argon2_parallelism)
        self._queue = PasswordQueue(settings.queue_limit, settings.queue_limit_per_address)
        self._pool: ProcessPoolExecutor | None = None

    def start(self) -> None:
        """Start the workers in the background.

        Raises:
            NoSharedMemory: /dev/shm cannot be written.
        """
        self._submit(password_worker.warm_up, self._cost)

    def stop(self) -> None:
        """End the workers; checks that still wait are dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def check_policy(
        self, password: str, *, email: str | None, name: str | None = None, member: str = "password"
    ) -> None:
        """Refuse a password that may not be chosen (C-07; SEC-1, SEC-3, SEC-4).

        Args:
            password: what was chosen.
            email: whose it is to be.
            name: theirs, for passwords that consist of it.
            member: what the body calls it.

        Raises:
            PasswordRejected: with the reason.
        """
        reason = self._why_not(password, email, name)
        if reason is not None:
            raise PasswordRejected(reason, errors=[FieldError(["body", member], reason, "value_error")])

    def _why_not(self, password: str, email: str | None, name: str | None) -> str | None:
        settings = self._settings
        low, high = settings.min_length, settings.max_length
        too_long = len(password) > high * _MOST_PARTS  # whatever its normal form is
        length = len(password if too_long else normal_form(password))
        if not low <= length <= high:
            return f"The password has {length} characters; choose {low} to {high}."
        plain = normal_form(password).casefold().strip()
        if email is not None and plain in {email.casefold(), email_key(email), email.casefold().rpartition("@")[0]}:
            return "The password is the e-mail address, or a part of it; choose another one."
        refuse_common = settings.refuse_common or settings.require_complexity
        if refuse_common and (plain in _common_passwords() or len(set(plain)) < _FEWEST_CHARACTERS):
            return "The password is among the most common ones, which attackers try first."
        if settings.refuse_common and _is_made_of(plain, (name or "", _local_part(email), *self._service)):
            return "The password is made of your name, your e-mail address or the service's name; choose another one."
        return complexity.missing_from(password) if settings.require_complexity else None

    def check_address(self, email: str, *, member: str = "email") -> None:
        """Refuse an address that is lent for minutes, where the old service's rules are on (S4-47).

        Raises:
            ValidationFailed: naming the member.
        """
        if self._settings.require_complexity and complexity.is_disposable(email):
            raise invalid(["body", member], "Addresses of disposable mail services are not accepted here; use another.")

    async def hash(self, password: str, *, asker: str | None = None) -> str:
        """Return the hash to store.

        Args:
            password: what was chosen.
            asker: the address that asks, which has a share of the queue; None for questions of our own.

        Raises:
            Busy: too many checks wait already, or too many of this address.
        """
        with self._queue.place(asker):
            return await self._run(password_worker.hash_password, normal_form(password), self._cost)

    async def check(self, stored: str | None, password: str, *, asker: str | None = None) -> Check:
        """Compare a password with a stored hash, None for nobody; both take the same time (SEC-9).

        Args:
            stored: what `hash` returned.
            password: what was typed.
            asker: as for `hash`.

        Raises:
            Busy: too many checks wait already, or too many of this address.
        """
        with self._queue.place(asker):
            return await self._run(password_worker.check_password, stored, normal_form(password), self._cost)

    async def _run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await asyncio.wrap_future(self._submit(work, *args, **kwargs))
        except BrokenProcessPool:
            log.warning("a password worker died; starting another")
            self._pool = None
            raise Busy from None

    def _submit(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> "Future[R]":
        executor = self._executor()
        # A worker that starts now inherits this mask: the terminal's Ctrl-C is for us, and we end it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return executor.submit(work, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    def _executor(self) -> ProcessPoolExecutor:
        if self._pool is None:
            check_shared_memory()
            self._pool = ProcessPoolExecutor(
                max_workers=self._settings.workers,
                mp_context=get_context("spawn"),  # a fork would copy sockets and locks of a running event loop
                initializer=password_worker.start,
                initargs=(os.getpid(),),
            )
        return self._pool


def _local_part(email: str | None) -> str:
    """Return what stands before the @: often somebody's name, and the only one that is known before they give it."""
    return (email or "").rpartition("@")[0]


def _is_made_of(password: str, names: Sequence[str]) -> bool:
    """Whether a password is nothing but words of these names, in any order, with digits and signs between them."""
    letters = _NO_LETTER.sub("", password)
    spelled = [normal_form(name).casefold() for name in names]
    pieces = {piece for name in spelled for piece in (*_NO_LETTER.split(name), _NO_LETTER.sub("", name))}
    rest = letters
    for piece in sorted((each for each in pieces if len(each) >= _SHORTEST_WORD), key=len, reverse=True):
        rest = rest.replace(piece, "")
    return bool(letters) and not rest


@cache
def _common_passwords() -> frozenset[str]:
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    return frozenset(FREQUENCY_LISTS["passwords"])
