"""Passwords: policy, and hashing in bounded worker processes.

Argon2id takes about 20 ms of CPU. It would block the event loop and starve it from threads, so it runs in separate
processes of lower priority with a bounded queue (SEC-7).
"""

import asyncio
import os
import re
import signal
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

import structlog

from idp.errors import Busy, PasswordRejected, PasswordsRefused
from idp.ops.problems import FieldError, invalid
from idp.settings_schema import Passwords as PasswordSettings
from idp.users import complexity, password_worker
from idp.users.complexity import Violation
from idp.users.email import domain_key, email_key
from idp.users.normal_form import normal_form
from idp.users.password_queue import PasswordQueue
from idp.users.password_worker import Check, Cost

log = structlog.get_logger("idp.passwords")
_NO_LETTER = re.compile(r"[\W\d_]+")
_MIN_WORD_LENGTH = 3  # of a name
_MAX_NFC_PARTS = 4  # maximum code points that NFC composes into one
_MIN_DISTINCT_CHARACTERS = 4  # minimum number of different characters, against "aaaaaaaa"
_MADE_OF_NAMES = "The password consists of your name, your e-mail address or the service's name; choose another one."
P = ParamSpec("P")
R = TypeVar("R")


class NoSharedMemory(Exception):
    """The machine has no shared memory for semaphores; the message has the remedy."""


def check_shared_memory() -> None:
    """Check whether processes can share semaphores.

    Raises:
        NoSharedMemory: they cannot.
    """
    try:
        get_context("spawn").Semaphore(1)
    except OSError as error:
        raise NoSharedMemory(
            f"Password checks run in separate processes, which require a writable /dev/shm ({error.strerror}): "
            "mount a tmpfs there, for example with `docker run --tmpfs /dev/shm`."
        ) from None


class Passwords:
    """Hashes and checks passwords in worker processes.

    Args:
        settings: policy and hashing parameters.
        service: names and hosts of the service, which are not allowed as a password (SEC-4).
    """

    def __init__(
        self, settings: PasswordSettings, *, service: Sequence[str] = (), refused_domains: Collection[str] = ()
    ) -> None:
        self._settings = settings
        self._refused_domains = frozenset(refused_domains)
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
        """Stop the workers; waiting checks are dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def check_policy(
        self, password: str, *, email: str | None, name: str | None = None, member: str = "password"
    ) -> None:
        """Check the password policy (C-07; SEC-1, SEC-3, SEC-4).

        Args:
            password: the new password.
            email: the user's address.
            name: the user's name; a password must not consist of it.
            member: the member's name in the body.

        Raises:
            PasswordRejected: with the reason.
        """
        violation = self._policy_violation(password, email, name)
        if violation is not None:
            entry = FieldError(["body", member], violation.text, "value_error")
            raise PasswordRejected(violation.text, reason=violation.rule, length=violation.length, errors=[entry])

    def _policy_violation(self, password: str, email: str | None, name: str | None) -> Violation | None:
        settings = self._settings
        low, high = settings.min_length, settings.max_length
        too_long = len(password) > high * _MAX_NFC_PARTS  # in any normal form
        length = len(password if too_long else normal_form(password))
        if not low <= length <= high:
            return Violation("length", f"The password has {length} characters; choose {low} to {high}.", length)
        plain = normal_form(password).casefold().strip()
        if email is not None and plain in {email.casefold(), email_key(email), email.casefold().rpartition("@")[0]}:
            return Violation("address", "The password is the e-mail address or a part of it; choose another one.")
        refuse_common = settings.refuse_common or settings.require_complexity
        if refuse_common and (plain in _common_passwords() or len(set(plain)) < _MIN_DISTINCT_CHARACTERS):
            return Violation("common", "The password is among the most common ones, which attackers try first.")
        if settings.refuse_common and _is_made_of(plain, (name or "", _local_part(email), *self._service)):
            return Violation("names", _MADE_OF_NAMES)
        return complexity.complexity_violation(password) if settings.require_complexity else None

    def check_address(self, email: str, *, member: str = "email") -> None:
        """Refuse a disposable address, if the old service's rules are enabled (S4-47).

        Raises:
            ValidationFailed: the address is disposable.
        """
        if self._settings.require_complexity and complexity.is_disposable(email):
            raise invalid(["body", member], "Addresses of disposable mail services are not accepted; use another one.")

    def check_domain(self, email: str) -> None:
        """Refuse the password of an address whose people sign in through their own provider.

        Raises:
            PasswordsRefused: the domain is bound to such a provider.
        """
        if domain_key(email) in self._refused_domains:
            raise PasswordsRefused

    async def hash(self, password: str, *, asker: str | None = None) -> str:
        """Return the hash to store.

        Args:
            password: the chosen password.
            asker: the client's address, for its share of the queue; None for internal calls.

        Raises:
            Busy: the queue is full, in total or for this address.
        """
        with self._queue.place(asker):
            return await self._run(password_worker.hash_password, normal_form(password), self._cost)

    async def check(self, stored: str | None, password: str, *, asker: str | None = None) -> Check:
        """Compare a password with a stored hash, None for an unknown user; both take the same time (SEC-9).

        Args:
            stored: from `hash`.
            password: the entered password.
            asker: as for `hash`.

        Raises:
            Busy: the queue is full, in total or for this address.
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
        # Workers inherit this signal mask: only the parent handles Ctrl-C and stops them.
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
                mp_context=get_context("spawn"),  # a fork would copy sockets and locks of the event loop
                initializer=password_worker.start,
                initargs=(os.getpid(),),
            )
        return self._pool


def _local_part(email: str | None) -> str:
    """Return the part before the @, which often is the user's name."""
    return (email or "").rpartition("@")[0]


def _is_made_of(password: str, names: Sequence[str]) -> bool:
    """Whether a password consists only of words of these names, digits and symbols."""
    letters = _NO_LETTER.sub("", password)
    spelled = [normal_form(name).casefold() for name in names]
    pieces = {piece for name in spelled for piece in (*_NO_LETTER.split(name), _NO_LETTER.sub("", name))}
    rest = letters
    for piece in sorted((each for each in pieces if len(each) >= _MIN_WORD_LENGTH), key=len, reverse=True):
        rest = rest.replace(piece, "")
    return bool(letters) and not rest


@cache
def _common_passwords() -> frozenset[str]:
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    return frozenset(FREQUENCY_LISTS["passwords"])
