"""Runs one benchmark at a time on a machine, with a timeout."""

import fcntl
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn


@contextmanager
def exclusive_run(seconds: int, *, say: Callable[[str], None]) -> Iterator[None]:
    """Run the block while no other benchmark runs; exit cleanly after the timeout or at SIGTERM.

    Args:
        seconds: the timeout.
        say: prints a status message.
    """
    with Path(__file__).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another benchmark to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for number in (signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, _stop)
        signal.alarm(seconds)
        try:
            yield
        finally:
            signal.alarm(0)


def _stop(number: int, _: object) -> NoReturn:
    for ignored in (signal.SIGTERM, signal.SIGALRM, signal.SIGINT):
        signal.signal(ignored, signal.SIG_IGN)  # do not interrupt the clean-up
    sys.exit(f"stopped by {signal.Signals(number).name}")
