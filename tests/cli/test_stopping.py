"""Stopping `idp serve` and `idp dev`."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

# A weak reference's callback is where Python drops what is raised: an import makes and drops many.
_LOSES_IT = """
import time, weakref
from idp.cli.server import until_stopped

class Dropped: ...

def busy(_reference):
    print("on", flush=True)
    try:
        time.sleep(60)
    except SystemExit:
        print("raised, and now dropped", flush=True)
        raise
    print("went on", flush=True)

with until_stopped():
    try:
        dropped = Dropped()
        reference = weakref.ref(dropped, busy)
        del dropped
        time.sleep(60)
    finally:
        time.sleep(1)  # longer than what got lost is looked for
        print("cleaned up", flush=True)
"""
_WILL_NOT = """
import time
from idp.cli.server import until_stopped

with until_stopped():
    try:
        print("on", flush=True)
        time.sleep(60)
    finally:
        time.sleep(60)
"""


@contextmanager
def child(code: str) -> Iterator[subprocess.Popen[str]]:
    """Run some Python until it says that it is on."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_shutdown_signal_that_python_loses_still_stops_it() -> None:
    """Stopped in the middle of an import, it hung: the exception of the signal was dropped, and nothing came after."""
    with child(_LOSES_IT) as process:
        time.sleep(0.1)  # it sleeps in the callback
        process.send_signal(signal.SIGTERM)
        said, complaint = process.communicate(timeout=20)
        assert process.returncode == 0
        assert said == "raised, and now dropped\ncleaned up\n", "once, and in full"
        assert complaint == ""


def test_a_third_signal_stops_at_once() -> None:
    """Cleaning up may take its time, but nobody needs SIGKILL."""
    with child(_WILL_NOT) as process:
        time.sleep(0.1)  # it sleeps in the block
        for number in (signal.SIGTERM, signal.SIGINT):
            process.send_signal(number)
            time.sleep(0.6)
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 1


_WRAPS_IT = """
import time
from idp.cli.server import until_stopped

class Slow:
    def __set_name__(self, owner, name):
        print("on", flush=True)
        time.sleep(60)

with until_stopped():
    class Owner:
        slow = Slow()
    print("went on", flush=True)
"""


def test_an_end_that_python_wraps_is_a_quiet_end_too() -> None:
    """Python 3.11 makes a RuntimeError of it in `__set_name__`, and libraries make others."""
    with child(_WRAPS_IT) as process:
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        said, complaint = process.communicate(timeout=20)
        assert (process.returncode, said, complaint) == (0, "", "")


_FAILS_ON_THE_WAY_OUT = """
import time
from idp.cli.server import until_stopped

class Fails:
    def __del__(self):
        raise ValueError("dropped")

with until_stopped():
    try:
        print("on", flush=True)
        time.sleep(60)
    finally:
        Fails()
        time.sleep(0.3)
        print("cleaned up", flush=True)
        raise OSError("cannot be cleaned up")
"""


def test_an_error_during_shutdown_is_reported_and_interrupts_nothing() -> None:
    with child(_FAILS_ON_THE_WAY_OUT) as process:
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        said, complaint = process.communicate(timeout=20)
        assert (process.returncode, said) == (1, "cleaned up\n")
        assert "cannot be cleaned up" in complaint
