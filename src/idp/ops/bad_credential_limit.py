"""A flood of bad credentials from one address is shed before it costs a look-up; credentials in memory pass.

Counted in this process alone: what is protected is its own database connections, and a shared count would cost more
than what it saves. An address that sends good and bad ones keeps the good ones it has used before.
"""

import time
from collections import OrderedDict
from collections.abc import Callable

from idp.errors import RateLimited
from idp.ops import metrics
from idp.ops.rate_limit_rules import network

_WINDOW_SECONDS = 60.0
_MOST_ADDRESSES = 50_000
_PLAUSIBLE = 100


class BadCredentialLimit:
    """Counts bad credentials by address, in windows of a minute.

    Args:
        limit: bad ones an address and minute, after which unseen ones are refused; a hundred times as many for those
            that look like ours, since one address may be a gateway that sends everyone's.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def check(self, client: str | None, *, plausible: Callable[[], bool]) -> None:
        """Refuse if this address has used up its minute.

        Args:
            client: the address, None for questions of our own.
            plausible: whether the credential has the form of ours, checksum included.

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
        if len(self._counts) > _MOST_ADDRESSES:
            self._counts.popitem(last=False)
