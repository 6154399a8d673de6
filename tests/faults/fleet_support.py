"""Three `idp serve` processes on one PostgreSQL and one Valkey, and requests to each."""

import asyncio
import os
import random
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

import asyncpg
import httpx2

from cli.support import Running, idp, root_secret, running_serve
from factories import PASSWORD
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey

PROCESSES = 3
BOUND = 1.0  # seconds in which every process refuses, whatever has failed
Json = dict[str, Any]


@dataclass(frozen=True)
class Said:
    """What a process said about a credential: `valid` is None when it could not decide (503)."""

    began: float
    ended: float
    valid: bool | None
    body: Json


@dataclass
class Key:
    """A person's API key."""

    id: str
    secret: str


@dataclass
class Fleet:
    """The processes, the stores behind them, and a person who has keys."""

    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    database_url: str
    served: list[Running]
    clients: list[httpx2.AsyncClient]
    admin: dict[str, str]
    bearer: dict[str, str] = field(default_factory=dict)
    user_id: str = ""
    email: str = ""

    async def register(self) -> None:
        """Make the person."""
        self.email = f"{secrets.token_hex(4)}@example.com"
        body = {"email": self.email, "password": PASSWORD, "name": "Pat"}
        answer = await self.clients[0].post("/auth/register", json=body)
        self.bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        self.user_id = answer.json()["user_id"]

    async def new_key(self) -> Key:
        body = {"name": "a key", "scopes": ["read"]}
        answer = await self.clients[0].post("/v1/api-keys", json=body, headers=self.bearer)
        assert answer.status_code == 201, answer.text
        return Key(answer.json()["key_id"], answer.json()["secret"])

    async def warm_keys(self, count: int) -> list[Key]:
        """Make keys that all processes have accepted."""
        keys: list[Key] = []
        while len(keys) < count:
            keys += await asyncio.gather(*(self.new_key() for _ in range(min(20, count - len(keys)))))
        for key in keys:
            assert [said.valid for said in await self.ask_all(key.secret)] == [True] * PROCESSES
        return keys

    async def ask(self, process: int, secret: str, *scopes: str) -> Said:
        began = time.monotonic()
        body = {"token": secret, "required_scopes": scopes}
        answer = await self.clients[process].post("/auth/validate", json=body)
        said = answer.json()
        assert answer.status_code == 200 or said["code"] == "database_unavailable", answer.text
        return Said(began, time.monotonic(), said["valid"] if answer.status_code == 200 else None, said)

    async def ask_all(self, secret: str, *scopes: str) -> list[Said]:
        return list(await asyncio.gather(*(self.ask(process, secret, *scopes) for process in range(PROCESSES))))

    async def revoke(self, key: Key, *, at: int = 0) -> float:
        """Revoke a key, and return when that was answered."""
        answer = await self.clients[at].delete(f"/v1/api-keys/{key.id}", headers=self.bearer)
        assert answer.status_code == 200, answer.text
        return time.monotonic()

    async def sql(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.database_url)
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()

    # --- watching ----------------------------------------------------------------------------------------------------

    async def revoke_and_watch(self, key: Key) -> float:
        """Revoke a key while all processes are asked about it; return how long after the answer the last one refuses.

        Raises:
            AssertionError: a process accepts it after the bound, or after it has refused it.
        """
        return await self._watch(key.secret, lambda: self.revoke(key))

    async def end_session_and_watch(self, access_token: str) -> float:
        """Sign out with a token while all processes are asked about it; as `revoke_and_watch`."""

        async def sign_out() -> float:
            bearer = {"Authorization": f"Bearer {access_token}"}
            answer = await self.clients[0].post("/api/auth/logout", headers=bearer)
            assert answer.status_code == 200, answer.text
            return time.monotonic()

        return await self._watch(access_token, sign_out)

    async def warm_session(self) -> str:
        """Sign in, and return an access token that all processes have accepted."""
        body = {"email": self.email, "password": PASSWORD}
        answer = await self.clients[0].post("/auth/login", json=body)
        assert answer.status_code == 200, answer.text
        token = str(answer.json()["access_token"])
        assert [said.valid for said in await self.ask_all(token)] == [True] * PROCESSES
        return token

    async def _watch(self, secret: str, end: Callable[[], Awaitable[float]]) -> float:
        watching = [asyncio.create_task(self._until_refused(process, secret)) for process in range(PROCESSES)]
        answered = await end()
        heard = await asyncio.gather(*watching)
        for said in heard:
            assert not [one for one in said if one.valid and one.began > answered + BOUND]
        return max(0.0, *(next(one for one in said if one.valid is False).ended - answered for said in heard))

    async def _until_refused(self, process: int, secret: str) -> list[Said]:
        said, until = [await self.ask(process, secret)], time.monotonic() + 10
        while said[-1].valid is not False:
            assert time.monotonic() < until, f"process {process} goes on accepting"
            said.append(await self.ask(process, secret))
        again = [await self.ask(process, secret) for _ in range(2)]
        assert not any(one.valid for one in again)
        return [*said, *again]

    @asynccontextmanager
    async def asking_again(self, refused: Sequence[Key]) -> AsyncIterator[None]:
        """Ask again and again, everywhere, about what is in this growing list; nothing of it may be accepted."""
        ended, accepted = asyncio.Event(), list[Said]()

        async def nag() -> None:
            while not ended.is_set():
                await asyncio.sleep(0.02)
                if refused:
                    said = await self.ask(random.randrange(PROCESSES), random.choice(refused).secret)
                    accepted.extend([said] if said.valid else [])

        nagging = asyncio.create_task(nag())
        try:
            yield
        finally:
            ended.set()
            await nagging
        for key in refused:
            accepted += [said for said in await self.ask_all(key.secret) if said.valid]
        assert not accepted

    async def wait_until(self, secret: str, looks: Callable[[Said], bool], *scopes: str) -> float:
        """Ask all processes until each says what it should; return how long the last one took (seconds)."""
        began = time.monotonic()

        async def one(process: int) -> float:
            while not looks(said := await self.ask(process, secret, *scopes)):
                assert time.monotonic() < began + 10, (process, said)
                await asyncio.sleep(0.005)
            return said.ended - began

        return max(await asyncio.gather(*(one(process) for process in range(PROCESSES))))

    # --- what goes wrong ---------------------------------------------------------------------------------------------

    @contextmanager
    def stopped(self, process: int) -> Iterator[None]:
        """Stop a process (SIGSTOP) for the length of the block."""
        pid = self.served[process].process.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def logged(self, process: int, words: str) -> int:
        """Count the lines of a process's log that have these words."""
        return sum(words in line for line in self.served[process].said().splitlines())


@asynccontextmanager
async def running_fleet(
    postgres: EmbeddedPostgres, valkey: EmbeddedValkey, folder: Path, **more: str
) -> AsyncIterator[Fleet]:
    """Run three processes for the length of the block, with these variables, too."""
    url, admin_token = postgres.create_database("fleet"), secrets.token_urlsafe(40)
    environ = {
        "DATABASE_URL": url,
        "VALKEY_URL": valkey.url,
        "IDP_SECRET_KEY": root_secret(),
        "IDP_PUBLIC_URL": "https://id.example.com",
        "ADMIN_TOKEN": admin_token,
        "IDP_API_KEYS__MAX_KEYS_PER_USER": "10000",
        "IDP_RATE_LIMITS__BAD_CREDENTIALS_PER_ADDRESS_PER_MINUTE": "1000000",
    }
    done = idp("migrate", seconds=60, **environ)
    assert done.returncode == 0, done.stderr
    environ |= more
    async with AsyncExitStack() as stack:
        outside = stack.enter_context(ExitStack())
        started = [
            outside.enter_context(running_serve(folder / f"serve-{number}", wait=False, **environ))
            for number in range(PROCESSES)
        ]
        clients = [
            await stack.enter_async_context(httpx2.AsyncClient(base_url=base_url, timeout=20))
            for _, base_url in started
        ]
        for client in clients:
            await _until_it_answers(client)
        admin = {"Authorization": f"Bearer {admin_token}"}
        fleet = Fleet(postgres, valkey, url, [running for running, _ in started], clients, admin)
        await fleet.register()
        yield fleet


async def _until_it_answers(client: httpx2.AsyncClient) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if (await client.get("/readyz")).status_code == 200:
                return
        except httpx2.TransportError:
            await asyncio.sleep(0.05)
    raise AssertionError("a process did not start")


def histogram(title: str, seconds: Sequence[float]) -> None:
    """Print how long revocations took to reach the last process, in milliseconds."""
    found = sorted(1000 * each for each in seconds)
    cuts = quantiles(found, n=100, method="inclusive")
    edges = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)
    counts = [sum(low <= each < high for each in found) for low, high in zip((0, *edges), edges, strict=False)]
    bars = "".join(
        f"\n  < {edge:5} ms {count:4} {'#' * (count // 2)}" for edge, count in zip(edges, counts, strict=True)
    )
    figures = f"p50 {cuts[49]:.1f}, p90 {cuts[89]:.1f}, p99 {cuts[98]:.1f}, max {found[-1]:.1f} ms"
    sys.stdout.write(f"\n{title}: {len(found)} revocations, {figures}{bars}\n")
