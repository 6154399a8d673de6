"""How many passwords may be checked at a time, of all together and of one client (SEC-7, SEC-8)."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from idp.errors import Busy
from idp.ops.rate_limit_rules import network


class PasswordQueue:
    """Counts what is under way, and refuses instead of growing.

    A right password costs as much as a wrong one and is not limited otherwise, so without a share for each client a
    dozen accounts that sign in at once would close the door for everybody.

    Args:
        limit: at most so many at a time.
        per_address: at most so many of one IPv4 address or IPv6 network, in this process.
    """

    def __init__(self, limit: int, per_address: int) -> None:
        self._limit = limit
        self._per_address = per_address
        self._under_way = 0
        self._of: Counter[str] = Counter()

    @contextmanager
    def place(self, asker: str | None) -> Iterator[None]:
        """Take a place for the length of the block.

        Args:
            asker: the address that asks, None for questions of our own.

        Raises:
            Busy: all places are taken, or this client's.
        """
        address = network(asker) if asker else None
        if self._under_way >= self._limit or (address is not None and self._of[address] >= self._per_address):
            raise Busy
        self._under_way += 1
        if address is not None:
            self._of[address] += 1
        try:
            yield
        finally:
            self._under_way -= 1
            if address is not None:
                self._leave(address)

    def _leave(self, address: str) -> None:
        self._of[address] -= 1
        if self._of[address] <= 0:
            del self._of[address]  # or every address that ever asked would stay in memory
