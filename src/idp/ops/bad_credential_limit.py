"""A limit on bad credentials per address: above it, credentials that are not cached are refused without a look-up.

It is counted per process, because it protects the database connections of this process. Cached credentials of the
same address are still accepted.
"""

import time
from collections import OrderedDict
from collections.abc import Callable

from idp.errors import RateLimited
from idp.ops import metrics
from idp.ops.rate_limit_rules import network

_WINDOW_SECONDS = 60.0
_MAX_ADDRESSES = 50_000
_PLAUSIBLE = 100


class BadCredentialLimit:
    """Counts bad credentials by address, in windows of a minute.

    Args:
        limit: bad credentials per address and minute; a hundred times as many if their checksum is right, since the
            address may be a gateway that forwards all clients.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def check(self, client: str | None, *, plausible: Callable[[], bool]) -> None:
        """Refuse if this address has reached the limit.

        Args:
            client: the address; None for internal calls.
            plausible: whether the credential has the right prefix and checksum.

        Raises:
            RateLimited: with `Retry-After` in seconds.
        """
        if client is None:
            return
        began, count = self._counts.get(network(client), (0.0, 0))
        if count < self._limit or (count < self._limit * _PLAUSIBLE and plausible()):
            return
        left = began + _WINDOW_SECONDS - time.monotonic()
        if left > 0:
            metrics.count_limited("bad_credentials")
            raise RateLimited(headers={"Retry-After": str(int(left) + 1)})

    def count(self, client: str | None) -> None:
        """Count a bad credential."""
        if client is None:
            return
        address, now = network(client), time.monotonic()
        began, count = self._counts.pop(address, (now, 0))
        self._counts[address] = (began, count + 1) if now - began < _WINDOW_SECONDS else (now, 1)
        if len(self._counts) > _MAX_ADDRESSES:
            self._counts.popitem(last=False)
