"""`idp serve` processes that can be killed, moved and restarted, and the stores behind them."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from bench.kafka_broker import Broker
from cli.support import IDP, ROOT, Running, get, lasting_port, wait_until
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey
from mail.mail_support import PostOffice

PROCESSES = 3
_T = TypeVar("_T")


class LoopThread:
    """An event loop in a thread: the load goes on while a test waits for a server to start."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _T], seconds: float = 60) -> _T:
        """Run to its end, and return the result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    def call(self, function: Callable[[], object]) -> None:
        """Call it in the loop, soon."""
        self._loop.call_soon_threadsafe(function)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class Node:
    """An `idp serve` on a port that it keeps.

    Args:
        output: its log.
        environ: its variables.
        before: a command that runs it, such as `ip netns exec NAME`.
        host: the address to listen on.
        tree: the source tree to run; None is this one.
    """

    def __init__(
        self,
        output: Path,
        environ: Mapping[str, str],
        *,
        before: Sequence[str] = (),
        host: str = "127.0.0.1",
        tree: Path | None = None,
    ) -> None:
        self.environ, self.tree = dict(environ), tree
        self.base_url = f"http://{host}:{(port := lasting_port())}"
        self._output, self._starts = output, 0
        self._before = before
        self._arguments = ["serve", "--host", host, "--port", str(port)]
        self._running: Running | None = None

    def start(self) -> "Node":
        """Start it without waiting for it."""
        self._starts += 1
        output = self._output.with_name(f"{self._output.name}-{self._starts}")
        environ = dict(self.environ)
        is_plain = not self._before and self.tree is None and "LD_PRELOAD" not in environ
        if self.tree is not None:
            environ |= {"PYTHONPATH": str(self.tree / "src"), "IDP_CONFIG_DIR": str(self.tree / "config")}
        command = [*self._before, *IDP, *self._arguments]
        self._running = Running(command, output, environ, forked=is_plain)
        return self

    def wait(self) -> "Node":
        """Wait until it is ready."""
        wait_until(lambda: self.process.poll() is not None or self._is_ready(), what=f"idp serve at {self.base_url}")
        assert self.process.poll() is None, self.running.said()
        return self

    def _is_ready(self) -> bool:
        with suppress(OSError):
            return get(f"{self.base_url}/readyz").status == 200
        return False

    @property
    def running(self) -> Running:
        assert self._running is not None
        return self._running

    @property
    def process(self) -> Any:
        return self.running.process

    def kill(self) -> None:
        """Kill it (SIGKILL), without its helper processes, which have to notice."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Stop it as an orchestrator does (SIGTERM), and return its exit code."""
        os.kill(self.process.pid, signal.SIGTERM)
        return int(self.process.wait(60))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop it (SIGSTOP) for the length of the block."""
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)

    def clean_up(self) -> None:
        if self._running is not None:
            self._running.clean_up()


@dataclass
class Cluster:
    """Three processes and what they need.

    Attributes:
        environ: the variables of every process.
        mailed: addresses that were promised a mail.
        disk: the small file system of PostgreSQL's data; None where none may be mounted.
    """

    loop: LoopThread
    folder: Path
    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    office: PostOffice
    database_url: str
    environ: dict[str, str]
    disk: Path | None
    kafka: Broker
    kafka_pid: int
    nodes: list[Node] = field(default_factory=list)
    mailed: list[str] = field(default_factory=list)
    _opened: AsyncExitStack = field(default_factory=AsyncExitStack)

    def sql(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        """Run a statement directly on the server."""

        async def run() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.database_url, timeout=10)
            try:
                return list(await connection.fetch(statement, *values))
            finally:
                await connection.close(timeout=5)

        return self.loop.run(run())

    def open_office(self) -> None:
        self.loop.run(self._opened.enter_async_context(self.office.open()))

    def close_office(self) -> None:
        self.loop.run(self._opened.aclose())

    @contextmanager
    def with_nodes(self, others: Mapping[int, Node]) -> Iterator[None]:
        """Run other processes in the place of these, for the length of the block."""
        originals = list(self.nodes)
        for number, node in others.items():
            originals[number].stop()
            self.nodes[number] = node.start()
        try:
            for node in others.values():
                node.wait()
            yield
        finally:
            for number, node in others.items():
                node.clean_up()
                self.nodes[number] = originals[number].start()
            for number in others:
                self.nodes[number].wait()


_MOCK = """
import os, sys
os.environ |= {"IDP_TEST_KAFKA": "mock"}
os.environ.pop("KAFKA_BOOTSTRAP_SERVERS", None)
from bench.kafka_broker import broker
with broker() as running:
    print(running.servers, flush=True)
    sys.stdin.read()
"""


@contextmanager
def mock_kafka() -> Iterator[tuple[Broker, int]]:
    """Run the mock cluster of librdkafka in a process that may be stopped; yield its pid, too."""
    process = subprocess.Popen(
        [sys.executable, "-c", _MOCK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    with process:
        assert process.stdout is not None
        try:
            yield Broker("mock", process.stdout.readline().strip()), process.pid
        finally:
            process.kill()


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path | None]:
    """Mount a file system of this size for the length of the block; None where that is not permitted."""
    folder = Path(tempfile.mkdtemp(prefix="idp-faults-", dir="/var/tmp"))  # the server's user may enter it
    folder.chmod(0o755)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "idp-faults", str(folder)]
    try:
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
            yield None
            return
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=False)
    finally:
        folder.rmdir()
