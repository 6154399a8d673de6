"""How the commands end that serve."""

import signal
import subprocess
import sys
import time

_LOSES_IT = """
import time
from idp.cli.server import until_stopped
with until_stopped():
    print("on", flush=True)
    while True:
        try:
            time.sleep(60)
        except SystemExit:
            print("lost", flush=True)
"""


def test_whoever_asks_a_third_time_is_obeyed_at_once() -> None:
    """An exception that a signal raises can be lost, in a callback of Python's own; then nothing else would end us."""
    process = subprocess.Popen([sys.executable, "-c", _LOSES_IT], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "on\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "lost\n"
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 1
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
