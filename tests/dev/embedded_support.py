"""Shared code of the tests of embedded servers. Run as a script, it is the parent that is killed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from idp.dev import binaries
from idp.dev.child import processes_tagged
from idp.dev.cluster import find_home
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey
from idp.dev.server_user import ServerUser

ROOT = Path(__file__).parents[2]
NAMED = os.environ.get("IDP_TEST_POSTGRES_BIN")
BIN = Path(NAMED) if NAMED else None


def query(url: str, statement: str) -> str:
    """Run one statement with psql and return what it printed. Raises CalledProcessError."""
    psql = (BIN or binaries.postgres_folder()) / "psql"
    return subprocess.check_output([psql, "-XAt", url, "-c", statement], text=True, stderr=subprocess.STDOUT).strip()


def servers_of(data_dir: Path) -> list[int]:
    """Return the pids of the PostgreSQL processes that run on this data folder."""
    home = find_home(data_dir, ServerUser.for_servers())
    return processes_tagged(home.tag, home.server_user.uid)


def wait_until(condition: Callable[[], object], seconds: float = 10) -> None:
    """Poll until `condition()` is true; an AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


def is_running(pid: int) -> bool:
    """Say whether the process runs (Linux); one that is dead but not yet reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def parent_process(data_dir: Path, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """Run this file as a process that starts both servers and prints the database's URL and Valkey's pid."""
    command = [sys.executable, __file__, str(data_dir), *flags]
    search = f"{ROOT / 'src'}:{ROOT / 'tests'}"
    parent = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": search}, stdout=subprocess.PIPE, text=True)
    try:
        yield parent
    finally:
        parent.kill()
        parent.communicate()


def _main() -> None:
    postgres, valkey = EmbeddedPostgres(Path(sys.argv[1]), bin_dir=BIN), EmbeddedValkey()
    postgres.start()
    valkey.start()
    if "--paused" in sys.argv:
        postgres.pause()
        valkey.pause()
    sys.stdout.write(f"{postgres.url} {valkey.process.pid}\n")
    sys.stdout.flush()
    time.sleep(60)


if __name__ == "__main__":
    _main()
