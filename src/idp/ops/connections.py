"""How many connections there may be: in all, below the limit of open files, and by address (SEC-8).

Without a bound, a thousand silent connections use up the files of the process, and nobody else is answered. When a
limit is reached, connections that say nothing are closed first; only where none is silent a new one is refused.
"""

import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Protocol

import structlog

from idp.ops import metrics
from idp.ops.rate_limit_rules import network

log = structlog.get_logger("idp.connections")

_MOST_FILES = 65_536
_RESERVED_FILES = 256  # for the database, Valkey, SMTP, workers and files
_CLOSED_AT_ONCE = 50  # one part in so many, so that a flood does not cause a search at every connection
_LOG_SECONDS = 10.0


class Connection(Protocol):
    """What this module asks of a connection.

    Attributes:
        address: whom it is counted for, as `network` returns it.
        answered: how many requests were answered on it.
        heard_at: when the last bytes came, in seconds of the monotonic clock.
    """

    address: str
    answered: int
    heard_at: float

    def is_silent(self) -> bool:
        """Whether the client has to send something before anything can happen."""

    def drop(self) -> None:
        """Close it at once."""


class ConnectionLimits:
    """Admits connections.

    Args:
        most: in all.
        most_per_address: for one address; trusted proxies are exempt, for they bring everybody's.
        is_trusted: whether an address is that of a trusted proxy.
    """

    def __init__(self, *, most: int, most_per_address: int, is_trusted: Callable[[str], bool]) -> None:
        self._most = most
        self._most_per_address = min(most_per_address, most)
        self._is_trusted = is_trusted
        self._open: dict[Connection, str] = {}
        self._by_address: Counter[str] = Counter()
        self._untold: Counter[str] = Counter()
        self._told_at = -_LOG_SECONDS
        metrics.watch_connections(lambda: len(self._open))

    def admit(self, connection: Connection, host: str) -> bool:
        """Count a new connection, and close silent ones for it where there are too many.

        Returns:
            False where it must be closed itself.
        """
        address = network(host)
        connection.address = address
        if (
            self._by_address[address] >= self._most_per_address
            and not self._is_trusted(host)
            and not self._make_room(each for each, of in self._open.items() if of == address)
        ):
            self._count("address_limit")
            return False
        if len(self._open) >= self._most and not self._make_room(iter(self._open)):
            self._count("limit")
            return False
        self._open[connection] = address
        self._by_address[address] += 1
        return True

    def release(self, connection: Connection) -> None:
        """Forget a connection that ended."""
        address = self._open.pop(connection, None)
        if address is None:
            return
        self._by_address[address] -= 1
        if self._by_address[address] <= 0:
            del self._by_address[address]

    def _make_room(self, candidates: Iterator[Connection]) -> bool:
        """Close the connections that are silent, those first on which nothing was ever asked, then the oldest."""
        silent = [each for each in candidates if each.is_silent()]
        silent.sort(key=lambda each: (each.answered > 0, each.heard_at))
        for each in silent[: max(1, len(silent) // _CLOSED_AT_ONCE)]:
            self.release(each)
            each.drop()
            self._count("silent")
        return bool(silent)

    def _count(self, reason: str) -> None:
        metrics.count_dropped_connection(reason)
        self._untold[reason] += 1
        now = time.monotonic()
        if now - self._told_at >= _LOG_SECONDS:
            counts = dict(self._untold)
            log.warning("too many connections: some were closed or refused", open=len(self._open), **counts)
            self._untold.clear()
            self._told_at = now


def raise_file_limit() -> int:
    """Raise the soft limit of open files as far as the hard one allows, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MOST_FILES
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:
            log.warning("the limit of open files stays as it is", files=soft, error=str(error))
        else:
            soft = wanted
    return soft


def connections_for(files: int, wanted: int) -> int:
    """Return how many connections this many open files allow, and no more than `wanted`."""
    return max(1, min(wanted, files - min(_RESERVED_FILES, files // 4)))
