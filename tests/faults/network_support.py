"""A process in a network of its own (a network namespace of Linux), and a forwarder of TCP connections that may be cut.

Where no namespace may be made, the forwarder itself stops passing on bytes, which a process cannot tell apart from a
network that loses every packet.
"""

import asyncio
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from faults.nodes_support import LoopThread


@dataclass
class Forwarder:
    """Passes on TCP connections to a server.

    Attributes:
        passing: cleared while nothing gets through; connections stay open.
    """

    host: str
    port: int
    passing: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def listen(self, host: str) -> int:
        """Listen on any free port of this address, and return it."""
        self.passing.set()
        self._server = await asyncio.start_server(self._accept, host, 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self.passing.wait()
            with suppress(OSError):
                there, back = await asyncio.open_connection(self.host, self.port)
                await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(65536):
                await self.passing.wait()
                writer.write(piece)
        writer.transport.abort()


@contextmanager
def forwarded(loop: LoopThread, url: str, host: str) -> Iterator[tuple[Forwarder, str]]:
    """Forward to the server of a URL; yield the forwarder, and the URL that leads through it."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    forwarder = Forwarder(parts.hostname, parts.port)
    port = loop.run(forwarder.listen(host))
    credentials, at, _ = parts.netloc.rpartition("@")
    try:
        yield forwarder, urlunsplit(parts._replace(netloc=f"{credentials}{at}{host}:{port}"))
    finally:
        loop.run(forwarder.close())


@dataclass(frozen=True)
class Namespace:
    """A network namespace.

    Attributes:
        name: for `ip netns exec`.
        outside, inside: the addresses of the two ends of its link.
    """

    name: str
    outside: str
    inside: str

    @property
    def enter(self) -> list[str]:
        return ["ip", "netns", "exec", self.name]

    def drop(self, ports: list[int]) -> None:
        """Lose every packet to and from these ports of the outside."""
        for port in ports:
            for chain, direction in (("OUTPUT", "--dport"), ("INPUT", "--sport")):
                _run(*self.enter, "iptables", "-w", "-A", chain, "-p", "tcp", direction, str(port), "-j", "DROP")

    def drop_nothing(self) -> None:
        _run(*self.enter, "iptables", "-w", "-F")


@contextmanager
def namespace() -> Iterator[Namespace | None]:
    """Create a namespace with a link to it for the length of the block; None where that is not permitted."""
    if os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("iptables")):
        yield None
        return
    name, third = f"idp{secrets.token_hex(3)}", secrets.randbelow(250) + 1
    space = Namespace(name, f"10.254.{third}.1", f"10.254.{third}.2")
    try:
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", f"{name}o", "type", "veth", "peer", "name", f"{name}i", "netns", name)
        _run("ip", "addr", "add", f"{space.outside}/30", "dev", f"{name}o")
        _run("ip", "link", "set", f"{name}o", "up")
        for command in (f"addr add {space.inside}/30 dev {name}i", f"link set {name}i up", "link set lo up"):
            _run(*space.enter, "ip", *command.split())
        space.drop_nothing()
    except subprocess.CalledProcessError:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        yield None
        return
    try:
        yield space
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
