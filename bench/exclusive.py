"""One measurement at a time on a machine, and none for ever."""

import fcntl
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn


@contextmanager
def for_at_most(seconds: int, *, say: Callable[[str], None]) -> Iterator[None]:
    """Run the block when no other measurement runs; end it in order after so long, or when asked to (SIGTERM).

    Args:
        say: told when there is another one to wait for.
    """
    with Path(__file__).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another measurement to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for number in (signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, _stop)
        signal.alarm(seconds)
        try:
            yield
        finally:
            signal.alarm(0)


def _stop(number: int, _: object) -> NoReturn:
    for again in (signal.SIGTERM, signal.SIGALRM, signal.SIGINT):
        signal.signal(again, signal.SIG_IGN)  # what is being stopped is stopped whole
    sys.exit(f"stopped by {signal.Signals(number).name}")
