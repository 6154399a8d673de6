"""Where a process gets changes from, and the lease that proves that it has them (rule 5).

`notify.py` listens for them, `polling.py` reads them from a table. Either way a cached verdict is used only while the
lease is valid.
"""

import time
from abc import abstractmethod

from idp.background import BackgroundService
from idp.db.changes import Changes

LEASE_SECONDS = 0.75  # from the sending of the statement that proves it
# Keeps running while the machine sleeps, if available; macOS' monotonic clock does so too.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boottime() -> float:
    """Return seconds of a monotonic clock that keeps running in a paused process and a sleeping machine."""
    return time.clock_gettime(_CLOCK)


class ChangeSource(BackgroundService):
    """Receives changes and holds the lease.

    Attributes:
        changes: the received changes.
        lease_until: `boottime` until which cached verdicts may be used.
    """

    changes: Changes
    lease_until: float

    @property
    def lease_is_valid(self) -> bool:
        """Whether the lease is valid: every change committed 750 ms ago or earlier was received."""
        return boottime() < self.lease_until

    async def stop(self) -> None:
        """Stop receiving: no cached verdict is used any more."""
        await super().stop()
        self.lease_until = 0.0

    @abstractmethod
    async def catch_up(self) -> None:
        """Wait until this process has received every change that was committed before the call.

        A process that receives none uses no cached verdict and returns at once.
        """
