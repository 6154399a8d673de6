"""Limits on open connections: in total, below the limit of open files, and per address (SEC-8).

Without a limit, a thousand idle connections use up the process's file descriptors. When a limit is reached, idle
connections are closed first; a new connection is refused only if none is idle.
"""

import asyncio
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Protocol

import structlog

from idp.ops import metrics
from idp.ops.rate_limit_rules import network

log = structlog.get_logger("idp.connections")

_MAX_FILES = 65_536
_RESERVED_FILES = 256  # for the database, Valkey, SMTP, workers and files
_CLOSED_AT_ONCE = 50  # one in so many at a time, so that not every new connection causes a search
_LOG_SECONDS = 10.0


class Connection(Protocol):
    """What this module needs of a connection.

    Attributes:
        address: the network it is counted for (`rate_limit_rules.network`).
        answered: number of requests answered on it.
        last_received: when the last bytes came, in seconds of the monotonic clock.
    """

    address: str
    answered: int
    last_received: float

    def is_idle(self) -> bool:
        """Whether the connection waits for the client."""

    def answer_last(self) -> None:
        """Close it after the answer under way, unless its head is sent already."""

    def drop(self) -> None:
        """Close it immediately."""


class ConnectionLimits:
    """Admits connections.

    Args:
        limit: in total.
        limit_per_address: for one address; trusted proxies are exempt.
        is_trusted: whether an address belongs to a trusted proxy.

    Attributes:
        draining: whether each connection is closed after its next answer.
    """

    def __init__(self, *, limit: int, limit_per_address: int, is_trusted: Callable[[str], bool]) -> None:
        self._limit = limit
        self._limit_per_address = min(limit_per_address, limit)
        self._is_trusted = is_trusted
        self._open: dict[Connection, str] = {}
        self._by_address: Counter[str] = Counter()
        self._unreported: Counter[str] = Counter()
        self._reported_at = -_LOG_SECONDS
        self.draining = False
        self._closed = asyncio.Event()
        metrics.watch_connections(lambda: len(self._open))

    def admit(self, connection: Connection, host: str) -> bool:
        """Count a new connection, and close idle ones if there are too many.

        Returns:
            False if the new connection must be closed.
        """
        address = network(host)
        connection.address = address
        if (
            self._by_address[address] >= self._limit_per_address
            and not self._is_trusted(host)
            and not self._make_room(each for each, of in self._open.items() if of == address)
        ):
            self._count("address_limit")
            return False
        if len(self._open) >= self._limit and not self._make_room(iter(self._open)):
            self._count("limit")
            return False
        self._open[connection] = address
        self._by_address[address] += 1
        return True

    def drain(self) -> None:
        """Close each connection after its next answer, which says so."""
        self.draining = True
        for each in self._open:
            each.answer_last()

    async def all_closed(self) -> None:
        """Wait until no connection is open."""
        while self._open:
            self._closed.clear()
            await self._closed.wait()

    def release(self, connection: Connection) -> None:
        """Stop counting a connection that has ended."""
        address = self._open.pop(connection, None)
        if address is None:
            return
        self._closed.set()
        self._by_address[address] -= 1
        if self._by_address[address] <= 0:
            del self._by_address[address]

    def _make_room(self, candidates: Iterator[Connection]) -> bool:
        """Close idle connections: those without any request first, then the longest idle."""
        idle = [each for each in candidates if each.is_idle()]
        idle.sort(key=lambda each: (each.answered > 0, each.last_received))
        for each in idle[: max(1, len(idle) // _CLOSED_AT_ONCE)]:
            self.release(each)
            each.drop()
            self._count("silent")
        return bool(idle)

    def _count(self, reason: str) -> None:
        metrics.count_dropped_connection(reason)
        self._unreported[reason] += 1
        now = time.monotonic()
        if now - self._reported_at >= _LOG_SECONDS:
            counts = dict(self._unreported)
            log.warning("too many connections: some were closed or refused", open=len(self._open), **counts)
            self._unreported.clear()
            self._reported_at = now


def raise_file_limit() -> int:
    """Raise the soft limit of open files up to the hard limit, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MAX_FILES
    wanted = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    if soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:
            log.warning("the limit of open files stays as it is", files=soft, error=str(error))
        else:
            soft = wanted
    return soft


def connections_for(files: int, wanted: int) -> int:
    """Return how many connections this many open files allow, at most `wanted`."""
    return max(1, min(wanted, files - min(_RESERVED_FILES, files // 4)))
