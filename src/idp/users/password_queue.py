"""Limit of concurrent password checks, in total and per client (SEC-7, SEC-8)."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from idp.errors import Busy
from idp.ops.rate_limit_rules import network


class PasswordQueue:
    """Counts running checks, and refuses beyond the limits.

    Correct passwords cost as much as wrong ones and have no rate limit, so without a limit per client a few concurrent
    sign-ins of one client would block all others.

    Args:
        limit: maximum in total.
        per_address: maximum per IPv4 address or IPv6 network, in this process.
    """

    def __init__(self, limit: int, per_address: int) -> None:
        self._limit = limit
        self._per_address = per_address
        self._running = 0
        self._of: Counter[str] = Counter()

    @contextmanager
    def place(self, asker: str | None) -> Iterator[None]:
        """Take a place for the duration of the block.

        Args:
            asker: the client's address, None for internal calls.

        Raises:
            Busy: the limit in total or of this client is reached.
        """
        address = network(asker) if asker else None
        if self._running >= self._limit or (address is not None and self._of[address] >= self._per_address):
            raise Busy
        self._running += 1
        if address is not None:
            self._of[address] += 1
        try:
            yield
        finally:
            self._running -= 1
            if address is not None:
                self._release(address)

    def _release(self, address: str) -> None:
        self._of[address] -= 1
        if self._of[address] <= 0:
            del self._of[address]  # otherwise every client address would stay in memory
