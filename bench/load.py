"""Running `wrk` and reading what it found."""

import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import msgspec

from bench.traffic import Traffic

_SCRIPT, _PACED = Path(__file__).with_name("load.lua"), Path(__file__).with_name("paced.lua")
_MARK = "RESULT "
_MOST_A_SECOND = 30_000  # no server here answers more, so a file of this many a second never starts over
_PATIENCE = 15.0  # seconds until a load that should be over is ended


class Found(msgspec.Struct, frozen=True):
    """What one load found.

    Attributes:
        requests: how many were answered.
        microseconds: how long it took.
        refused: answers with a status of 400 or more.
        broken: connections and answers that failed otherwise.
        p50: median time to an answer (microseconds); p99: what 99 of 100 stay below.
    """

    requests: int
    microseconds: int
    refused: int
    broken: int
    p50: int
    p99: int

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.requests / self.microseconds * 1e6


class LoadFailed(Exception):
    """wrk could not do its work, or more requests were sent than there are new ones."""


def is_installed() -> bool:
    """Say whether `wrk` is there (Debian and Ubuntu: the package wrk)."""
    return shutil.which("wrk") is not None


def run(base_url: str, traffic: Traffic, *, connections: int, seconds: float) -> Found:
    """Load a server for so long, from one thread over keep-alive connections.

    Raises:
        LoadFailed: no result, or requests that had to be new were sent twice.
    """
    with Load(base_url, traffic, connections=connections, seconds=seconds) as load:
        time.sleep(seconds)
        return load.finish()


class Load:
    """A load under way; leaving the block ends it at the latest.

    Args:
        rest: milliseconds that a connection rests between requests, on average; None for as fast as it goes.
    """

    def __init__(
        self, base_url: str, traffic: Traffic, *, connections: int, seconds: float, rest: float | None = None
    ) -> None:
        self._traffic = traffic
        self._connections = connections
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name, "requests")
        self._written = traffic.write(file, round(_MOST_A_SECOND * seconds))
        # wrk counts in whole seconds, and stops early and in order on SIGINT.
        argv = ["wrk", "-t1", f"-c{connections}", f"-d{int(seconds) + 10}s", "--timeout", "10s"]
        script, more = (_SCRIPT, []) if rest is None else (_PACED, [f"{rest:.3f}"])
        self._wrk = subprocess.Popen(
            [*argv, "-s", str(script), base_url, "--", str(file), *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_: object) -> None:
        self._wrk.kill()
        self._wrk.communicate()
        self._folder.cleanup()

    def finish(self) -> Found:
        """Stop, and return what was found. Raises LoadFailed as `run` does."""
        self._wrk.send_signal(signal.SIGINT)
        try:
            said, _ = self._wrk.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            raise LoadFailed("wrk did not end in time") from None
        found = parse(said)
        sent = found.requests + self._connections
        self._traffic.spent(sent)
        if self._traffic.once and sent > self._written:
            raise LoadFailed(f"{self._written} new requests were too few for {sent}")
        return found


def parse(said: str) -> Found:
    """Return what load.lua printed among wrk's own report.

    Raises:
        LoadFailed: nothing.
    """
    for line in said.splitlines():
        if line.startswith(_MARK):
            return msgspec.json.decode(line.removeprefix(_MARK), type=Found)
    raise LoadFailed(f"wrk said: {said.strip()[-500:]}")
