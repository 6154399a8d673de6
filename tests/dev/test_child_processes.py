"""Signals that arrive while a child process is made."""

import subprocess
import sys

import pytest

_IN_THE_MIDDLE_OF_A_FORK = """
import os, signal
from idp.dev.server_user import ServerUser
from idp.dev.child import run

def stop(*_):
    raise SystemExit(7)

signal.signal(signal.{name}, stop)
os.register_at_fork(before=lambda: os.kill(os.getpid(), signal.{name}))
run(["/bin/sleep", "30"], server_user=ServerUser.own())
print("went on")
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGALRM"])
def test_a_signal_during_a_fork_is_handled_after_it(name: str) -> None:
    """Python drops what is raised there, and a lock with it: `idp dev`, stopped in that moment, hung for ever."""
    code = _IN_THE_MIDDLE_OF_A_FORK.format(name=name)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")
