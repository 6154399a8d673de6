"""Slow database connections, connections dropped by a firewall, and configuration errors."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from factories import prepare, running
from idp.db.engine import Database
from idp.dev.embedded import EmbeddedPostgres
from idp.errors import DatabaseUnavailable
from idp.settings import load

pytestmark = pytest.mark.alone
LIMITS = {"IDP_DATABASE__POOL_TIMEOUT_SECONDS": "1", "IDP_DATABASE__CONNECT_TIMEOUT_SECONDS": "10"}


class Network:
    """What lies between us and the server: slow to connect, and able to forget every connection without a word."""

    def __init__(self, url: str, delay: float) -> None:
        self._real = urlsplit(url)
        self.delay = delay
        self.generation = 0
        self.url = ""
        self._links: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Network"]:
        server = await asyncio.start_server(self._enter, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        login = self._real.netloc.rpartition("@")[0]
        self.url = self._real._replace(netloc=f"{login}@127.0.0.1:{port}").geturl()
        try:
            yield self
        finally:
            server.close()
            for link in self._links:
                link.cancel()
            await asyncio.gather(*self._links, return_exceptions=True)

    def forget_connections(self) -> None:
        self.generation += 1

    def _enter(self, ours: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        self._links.add(asyncio.create_task(self._accept(ours, back)))

    async def _accept(self, ours: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        born = self.generation
        try:
            await asyncio.sleep(self.delay)
        except asyncio.CancelledError:
            back.close()
            raise
        theirs, there = await asyncio.open_connection(self._real.hostname, self._real.port)

        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while data := await reader.read(65536):
                    if born == self.generation:
                        writer.write(data)
                        await writer.drain()
            except OSError:
                pass
            finally:
                writer.close()

        await asyncio.gather(pass_on(ours, there), pass_on(theirs, back))


async def test_a_database_that_takes_over_a_second_to_accept_is_waited_for(postgres: EmbeddedPostgres) -> None:
    """the time to connect is a bound of its own."""
    url = postgres.create_database("slow_to_accept")
    await prepare(load("production", environ={"DATABASE_URL": url}))
    async with Network(url, 1.3).listening() as network:
        environ = LIMITS | {"DATABASE_DIRECT_URL": url}
        async with running(network.url, environ=environ, profile="production", migrate=False) as service:
            people = await asyncio.gather(*(service.register() for _ in range(4)))
            answers = await asyncio.gather(*(service.me(each.bearer) for each in people))
            assert {answer.status_code for answer in answers} == {200}


async def test_connect_timeout_in_the_address_counts(postgres: EmbeddedPostgres) -> None:
    """`connect_timeout` of DATABASE_URL is shorter than the setting, and the shorter one holds."""
    async with Network(postgres.create_database("asked_for"), 5).listening() as network:
        settings = load("production", environ={"DATABASE_URL": f"{network.url}?connect_timeout=1"} | LIMITS).settings
        database, began = Database(settings.database), time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            await database.connect_directly()
        assert time.monotonic() - began < 3
        await database.close()


async def test_connections_that_a_firewall_forgot_cost_no_refusal(postgres: EmbeddedPostgres) -> None:
    """one that rested has to answer first, and one dead one makes its elder siblings suspect."""
    url = postgres.create_database("forgotten")
    await prepare(load("production", environ={"DATABASE_URL": url}))
    async with Network(url, 0).listening() as network:
        settings = load("production", environ={"DATABASE_URL": network.url} | LIMITS).settings
        database = Database(settings.database)
        await asyncio.gather(*(database.ping() for _ in range(6)))
        await asyncio.gather(*(database.reads.fetch("SELECT pg_sleep(0.1)") for _ in range(5)))
        network.forget_connections()
        await asyncio.sleep(5.5)
        began = time.monotonic()
        for _ in range(6):
            await database.ping()
            await database.reads.fetch("SELECT 1")
        assert time.monotonic() - began < 2, "one look each, and not one for every connection"
        await database.close()


@pytest.mark.parametrize(
    ("spoil", "mistake"),
    [
        (lambda parts: parts._replace(netloc=f"idp:wrong@{parts.hostname}:{parts.port}"), "refuses the password"),
        (lambda parts: parts._replace(path="/nowhere"), "database does not exist"),
        (lambda parts: parts._replace(query="sslmode=require"), "TLS negotiation"),
    ],
)
async def test_a_wrong_statement_is_distinguished_from_an_unreachable_server(
    postgres: EmbeddedPostgres, spoil: object, mistake: str
) -> None:
    """503 and not 500, and `/readyz` and `/health` say which mistake, without a name or an address."""
    url = spoil(urlsplit(postgres.create_database(f"mistake_{len(mistake)}"))).geturl()  # type: ignore[operator]
    async with running(url, environ=LIMITS, profile="production", migrate=False, hears=False) as service:
        ready = await service.client.get("/readyz")
        assert ready.status_code == 503
        assert mistake in ready.json()["reason"]
        assert mistake in (await service.client.get("/health")).json()["components"]["database"]
        login = {"email": "a@example.com", "password": "correct horse battery"}
        answer = await service.client.post("/auth/login", json=login)
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
