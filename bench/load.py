"""Runs `wrk` and parses its results."""

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
_MAX_RATE = 30_000  # above the rate of every server, so that a file for once-only requests is long enough
_EXIT_SECONDS = 15.0  # seconds until wrk must have exited after SIGINT


class LoadResult(msgspec.Struct, frozen=True):
    """The result of a load.

    Attributes:
        requests: number of responses.
        microseconds: duration.
        refused: responses with a status of 400 or above.
        broken: other failures of connections and responses.
        p50: median latency (µs).
        p99: 99th percentile of the latency (µs).
    """

    requests: int
    microseconds: int
    refused: int
    broken: int
    p50: int
    p99: int

    @property
    def rate(self) -> float:
        """Responses per second."""
        return self.requests / self.microseconds * 1e6


class LoadFailed(Exception):
    """wrk failed, or a once-only request was sent twice."""


def is_installed() -> bool:
    """Whether `wrk` is installed (Debian and Ubuntu: the package wrk)."""
    return shutil.which("wrk") is not None


def run(base_url: str, traffic: Traffic, *, connections: int, seconds: float) -> LoadResult:
    """Load a server for some seconds, from one thread over keep-alive connections.

    Raises:
        LoadFailed: no result, or a once-only request was sent twice.
    """
    with Load(base_url, traffic, connections=connections, seconds=seconds) as load:
        time.sleep(seconds)
        return load.finish()


class Load:
    """A running load; leaving the block ends it.

    Args:
        pause: average time between a connection's requests (ms); None for the maximum rate.
    """

    def __init__(
        self, base_url: str, traffic: Traffic, *, connections: int, seconds: float, pause: float | None = None
    ) -> None:
        self._traffic = traffic
        self._connections = connections
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name, "requests")
        self._written = traffic.write(file, round(_MAX_RATE * seconds))
        # wrk's duration is in whole seconds; SIGINT stops it early and cleanly.
        argv = ["wrk", "-t1", f"-c{connections}", f"-d{int(seconds) + 10}s", "--timeout", "10s"]
        script, more = (_SCRIPT, []) if pause is None else (_PACED, [f"{pause:.3f}"])
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

    def finish(self) -> LoadResult:
        """Stop, and return the result. Raises LoadFailed as `run`."""
        self._wrk.send_signal(signal.SIGINT)
        try:
            output, _ = self._wrk.communicate(timeout=_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            raise LoadFailed("wrk did not exit in time") from None
        found = parse(output)
        sent = found.requests + self._connections
        self._traffic.mark_sent(sent)
        if self._traffic.once and sent > self._written:
            raise LoadFailed(f"{self._written} once-only requests were too few for {sent}")
        return found


def parse(output: str) -> LoadResult:
    """Parse the line of load.lua in wrk's output.

    Raises:
        LoadFailed: there is none.
    """
    for line in output.splitlines():
        if line.startswith(_MARK):
            return msgspec.json.decode(line.removeprefix(_MARK), type=LoadResult)
    raise LoadFailed(f"wrk printed: {output.strip()[-500:]}")
