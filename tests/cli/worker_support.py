"""Support of the tests of `idp serve --workers`: its processes, its log, and clients that keep it busy."""

import asyncio
import json
import os
import re
import secrets
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from cli.support import Running, get, root_secret, running_serve, wait_until

ENVIRON = {"IDP_SECRET_KEY": root_secret()}


class Service:
    """A running `idp serve --workers`."""

    def __init__(self, serve: Running, url: str, metrics_token: str) -> None:
        self.serve, self.url, self.metrics_token = serve, url, metrics_token
        self.port = int(url.rpartition(":")[2])

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines but those of requests."""
        lines = [json.loads(line) for line in self._lines() if line.startswith("{")]
        return [line for line in lines if line["event"] != "request"]

    def _lines(self) -> list[str]:
        return self.serve.said().rpartition("\n")[0].splitlines()  # the last one may be half written

    def said(self, event: str) -> int:
        return sum(event in line["event"] for line in self.log)

    def generations(self) -> list[psutil.Process]:
        """Return the processes that fork workers."""
        return [each for each in _children(self.serve.process.pid) if "idp.cli.workers.generation" in _command(each)]

    def workers(self) -> list[psutil.Process]:
        """Return the workers of the newest generation."""
        children = _children(self.generations()[-1].pid)
        return [each for each in children if "idp.cli.workers.generation" in _command(each)]

    def scrape(self) -> dict[str, float]:
        """Return the samples of one scrape, by name with labels."""
        answer = get(f"{self.url}/metrics", token=self.metrics_token)
        assert answer.status == 200, answer.text
        lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def requests(self) -> float:
        """Return how many requests for /healthz were answered, by a scrape."""
        return sum(value for name, value in self.scrape().items() if re.match(r"auth_request_total.*healthz", name))

    def reload(self) -> None:
        """Send SIGHUP, and wait until the new workers serve."""
        before = self.said("serving")
        os.kill(self.serve.process.pid, signal.SIGHUP)
        wait_until(lambda: self.said("serving") > before, 40, "the new workers")


def _children(pid: int) -> list[psutil.Process]:
    return sorted(psutil.Process(pid).children(), key=lambda each: each.create_time())


def _command(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


@contextmanager
def serving(output: Path, *arguments: str, workers: int = 2, **environ: str) -> Iterator[Service]:
    """Run `idp serve --workers` until the end of the block; yield it when all workers serve."""
    token = secrets.token_hex(32)
    given = ENVIRON | {"METRICS_TOKEN": token} | environ
    if "METRICS_TOKEN_FILE" in environ:
        del given["METRICS_TOKEN"]
    with running_serve(output, "--workers", str(workers), *arguments, wait=False, **given) as (serve, url):
        service = Service(serve, url, token)
        wait_until(lambda: serve.process.poll() is not None or service.said("serving"), 60, "the workers")
        assert serve.process.poll() is None, serve.said()
        yield service


class Load:
    """Clients that send one request after the other, most of them on connections that they keep open."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.results: Counter[str] = Counter()
        self._stopped = False

    async def run(self, clients: int = 12) -> None:
        """Send requests until `stop`."""
        await asyncio.gather(*(self._client(keeps=number % 3 > 0) for number in range(clients)))

    def stop(self) -> None:
        self._stopped = True

    @property
    def failures(self) -> dict[str, int]:
        """What was no 200, by kind."""
        return {kind: number for kind, number in self.results.items() if kind not in {"ok", "announced"}}

    async def _client(self, *, keeps: bool) -> None:
        streams = None
        while not self._stopped or streams is not None:
            try:
                streams = streams or await asyncio.open_connection("127.0.0.1", self.port)
                ends = await self._exchange(*streams) or not keeps or self._stopped
            except (OSError, EOFError) as error:
                self.results[type(error).__name__] += 1
                ends = True
            if streams is not None and ends:
                streams[1].close()
                with suppress(OSError):
                    await streams[1].wait_closed()
                streams = None
            await asyncio.sleep(0.002)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Send a request, and return whether the answer announces the end of the connection."""
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).lower()
        await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        self.results["ok" if head.startswith(b"http/1.1 200") else head[9:12].decode()] += 1
        announced = b"connection: close" in head
        self.results["announced"] += announced
        return announced


@contextmanager
def loaded(port: int) -> Iterator[Load]:
    """Keep a service busy for the duration of the block."""
    import threading

    load = Load(port)
    thread = threading.Thread(target=lambda: asyncio.run(load.run()))
    thread.start()
    try:
        time.sleep(0.5)
        yield load
    finally:
        load.stop()
        thread.join(30)
