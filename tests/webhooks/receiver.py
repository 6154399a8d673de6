"""An endpoint of somebody else: a small HTTP server that remembers what it gets and answers what it is told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

HANG = 0  # instead of a status: no answer
Answer = int | tuple[int, dict[str, str]]


@dataclass
class Posted:
    """A request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A running endpoint; `answer` may be replaced at any time."""

    url: str
    answer: Callable[[Posted], Answer] = lambda _: 204
    posts: list[Posted] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        return [each.headers["webhook-id"] for each in self.posts]

    async def wait_for(self, number: int, *, seconds: float = 15) -> list[Posted]:
        """Wait until it has so many requests."""
        async with asyncio.timeout(seconds):
            while len(self.posts) < number:  # noqa: ASYNC110  other code appends
                await asyncio.sleep(0.02)
        return self.posts

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(reader, writer)
        finally:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            posted = Posted(method, path, headers, body)
            self.posts.append(posted)
            answer = self.answer(posted)
            status, more = answer if isinstance(answer, tuple) else (answer, {})
            if status == HANG:
                await asyncio.sleep(3600)
            lines = "".join(f"{name}: {value}\r\n" for name, value in more.items())
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n{lines}Connection: close\r\n\r\n".encode())
            await writer.drain()
            writer.close()
            await writer.wait_closed()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Run an endpoint on loopback for the length of the block."""
    receiver = Receiver("")
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(receiver.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    try:
        yield receiver
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
