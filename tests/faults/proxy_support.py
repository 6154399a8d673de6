"""A TCP proxy in front of PostgreSQL that knows just enough of its protocol to cut a connection at the commit.

PostgreSQL's documentation, "Message Formats": after the packets of the start, which have no type, a message is one
byte of type and four of length, which count themselves. A commit is a simple query: type `Q`, and the statement.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from typing import Self
from urllib.parse import urlsplit, urlunsplit

_SPECIAL_REQUESTS = (
    80877102  # from here on the code asks for encryption or a cancellation, and the start is yet to come
)


class Cut(Enum):
    """Where the next commit is lost."""

    ON_THE_WAY = "the server never gets it"
    ON_THE_WAY_BACK = "the server commits, and its answer is lost"


class Proxy:
    """Passes on what clients and server say, until it is told to cut.

    Attributes:
        url: its address, for clients.
        cut: where to lose the next commit; None again afterwards.
        then_away: whether the network is gone after that cut.
        away: whether it is gone now: nobody gets through.
        commits_lost: how many commits were cut.
        gone: set when the network goes away.
    """

    def __init__(self, database_url: str) -> None:
        self._real = urlsplit(database_url)
        self.url = ""
        self.cut: Cut | None = None
        self.then_away = False
        self.away = False
        self.commits_lost = 0
        self.gone = asyncio.Event()
        self._links: set[_Link] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Self]:
        """Listen for the length of the block."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        credentials = self._real.netloc.rpartition("@")[0]
        self.url = urlunsplit(self._real._replace(netloc=f"{credentials}@127.0.0.1:{port}"))
        try:
            yield self
        finally:
            server.close()
            self.lose_everything()

    def lose_everything(self) -> None:
        """Lose every connection."""
        for link in self._links:
            link.lose()

    async def _accept(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if self.away:
            to_client.transport.abort()
            return
        server, to_server = await asyncio.open_connection(self._real.hostname, self._real.port)
        link = _Link(self, (client, to_client), (server, to_server))
        self._links.add(link)
        try:
            await asyncio.gather(link.requests(), link.answers(), return_exceptions=True)
        finally:
            link.lose()
            self._links.discard(link)

    def lost(self) -> None:
        """Take note that a commit was lost."""
        self.cut, self.commits_lost = None, self.commits_lost + 1
        if self.then_away:
            self.away = True
            self.gone.set()
            self.lose_everything()


_End = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    def __init__(self, proxy: Proxy, client: _End, server: _End) -> None:
        self._proxy = proxy
        self._client, self._to_client = client
        self._server, self._to_server = server
        self._started = False
        self._muted = False

    def lose(self) -> None:
        self._to_client.transport.abort()
        self._to_server.transport.abort()

    async def requests(self) -> None:
        while True:
            message = await self._next_request()
            if message[:1] == b"Q" and message[5:11].upper() == b"COMMIT" and self._proxy.cut:
                if self._proxy.cut is Cut.ON_THE_WAY:
                    self.lose()
                    self._proxy.lost()
                    return
                self._muted = True
            self._to_server.write(message)

    async def _next_request(self) -> bytes:
        kind = await self._client.readexactly(1) if self._started else b""
        length = await self._client.readexactly(4)
        rest = await self._client.readexactly(int.from_bytes(length) - 4)
        if not self._started:
            self._started = int.from_bytes(rest[:4]) < _SPECIAL_REQUESTS
        return kind + length + rest

    async def answers(self) -> None:
        while piece := await self._server.read(65536):
            if self._muted:  # the commit is done, since the server answers it
                self.lose()
                self._proxy.lost()
                return
            self._to_client.write(piece)
        self.lose()
