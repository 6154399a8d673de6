"""`python -m bench.soak`: half load for ten minutes, and whether memory, files and connections stay flat.

Half load is half the rate that the same requests reach for five seconds without a pause: sign-ins, refreshes, keys
created and revoked, validations, `/auth/me`. The verdict cache is limited to 2,000 entries, so that it is full after
the warm-up and does not look like a leak. Every ten seconds it prints resident memory of the process and its helpers,
open files, and connections to PostgreSQL. The first third is the warm-up; the last third is compared with the second.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import asyncpg
import httpx2

from bench import service, stores
from bench.server import Server

_PASSWORD = "correct horse battery"
_CALLERS = 8
_FULL_SPEED_SECONDS = 5.0
_ALLOWED_GROWTH = 0.03  # of memory, between the last two thirds
_ALLOWED_FILES = 8  # keep-alive connections and the pool vary by a few
_SETTINGS = {"IDP_AUTHN__CACHE_ENTRIES": "2000", "IDP_API_KEYS__MAX_KEYS_PER_USER": "10000"}


@dataclass(frozen=True)
class Sample:
    """What a process uses at a moment."""

    seconds: float
    megabytes: float
    files: int
    connections: int
    requests: int

    def line(self) -> str:
        """Return it as a line of the printed table."""
        return (
            f"{self.seconds:6.0f} s {self.megabytes:8.1f} MB {self.files:5} files {self.connections:4} connections"
            f" {self.requests:9,} requests"
        )


class Caller:
    """One person who signs in, refreshes, creates and revokes keys, one request after the other."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client
        self._email = f"{secrets.token_hex(6)}@example.com"
        self.answered = 0
        self.refused = 0

    async def register(self) -> None:
        """Create the person. Raises httpx2.HTTPStatusError."""
        body = {"email": self._email, "password": _PASSWORD, "name": "Pat"}
        answer = await self._client.post("/auth/register", json=body)
        self._accept(answer.raise_for_status().json())

    def _accept(self, tokens: dict[str, Any]) -> None:
        self._bearer = {"authorization": f"Bearer {tokens['access_token']}"}
        self._refresh_token = tokens["refresh_token"]

    async def round(self) -> None:
        """Send one of each, and more of the cheap ones."""
        if answer := await self._ask("POST", "/auth/login", json={"email": self._email, "password": _PASSWORD}):
            self._accept(answer)
        new = {"name": secrets.token_hex(8), "scopes": ["read"]}
        key = await self._ask("POST", "/v1/api-keys", json=new, headers=self._bearer)
        for _ in range(4):
            if answer := await self._ask("POST", "/api/auth/refresh", json={"refresh_token": self._refresh_token}):
                self._accept(answer)
            for _ in range(5):
                await self._ask("GET", "/auth/me", headers=self._bearer)
                if key is not None:
                    await self._ask("POST", "/auth/validate", json={"token": key["secret"]})
        if key is not None:
            await self._ask("DELETE", f"/v1/api-keys/{key['key_id']}", headers=self._bearer)

    async def _ask(self, method: str, path: str, **more: Any) -> Any:
        answer = await self._client.request(method, path, **more)
        self.answered += 1
        self.refused += not answer.is_success
        return answer.json() if answer.is_success else None


class Soak:
    """A load on a server, and samples of what the server uses."""

    def __init__(self, server: Server, database_url: str, seconds: float) -> None:
        self._server, self._database_url, self._seconds = server, database_url, seconds
        self._callers: list[Caller] = []
        self.samples: list[Sample] = []

    async def run(self) -> str | None:
        """Run it, printing each sample; return why the server leaks, None if it does not."""
        async with httpx2.AsyncClient(base_url=self._server.base_url, timeout=30) as client:
            self._callers = [Caller(client) for _ in range(_CALLERS)]
            for caller in self._callers:
                await caller.register()
            began = time.monotonic()
            await self._all(lambda caller: self._repeat(caller, began + _FULL_SPEED_SECONDS))
            rate = self._answered() / (time.monotonic() - began) / 2
            print(f"half load: {rate:.0f} requests a second", flush=True)
            began = time.monotonic()
            sampling = asyncio.create_task(self._sample(began))
            await self._all(lambda caller: self._repeat(caller, began + self._seconds, rate / _CALLERS))
            await sampling
        refused = sum(caller.refused for caller in self._callers)
        print(f"{self._answered():,} requests, {refused} without success", flush=True)
        return verdict(self.samples)

    def _answered(self) -> int:
        return sum(caller.answered for caller in self._callers)

    async def _all(self, action: Callable[[Caller], Coroutine[Any, Any, None]]) -> None:
        await asyncio.gather(*(action(caller) for caller in self._callers))

    @staticmethod
    async def _repeat(caller: Caller, until: float, rate: float | None = None) -> None:
        """Send rounds until a moment, at this rate (requests a second), or without a pause."""
        began, before = time.monotonic(), caller.answered
        while time.monotonic() < until:
            await caller.round()
            if rate is not None:
                await asyncio.sleep(max(0.0, began + (caller.answered - before) / rate - time.monotonic()))

    async def _sample(self, began: float) -> None:
        connection = await asyncpg.connect(self._database_url)
        try:
            while (elapsed := time.monotonic() - began) < self._seconds - 1:
                statement = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                connections = await connection.fetchval(statement) - 1  # without this one
                tree = _tree(self._server.pid)
                megabytes, files = sum(map(_megabytes, tree)), sum(map(_files, tree))
                self.samples.append(Sample(elapsed, megabytes, files, connections, self._answered()))
                print(self.samples[-1].line(), flush=True)
                await asyncio.sleep(min(10.0, self._seconds / 12))
        finally:
            await connection.close()


def verdict(samples: list[Sample]) -> str | None:
    """Return what grew between the second and the last third, None if nothing did."""
    third = len(samples) // 3
    before, after = samples[third : 2 * third], samples[2 * third :]
    if not before:
        return "too short for a verdict"
    was, became = (fmean(each.megabytes for each in part) for part in (before, after))
    if became > was * (1 + _ALLOWED_GROWTH):
        return f"memory grew from {was:.1f} to {became:.1f} MB"
    if max(each.files for each in after) > max(each.files for each in before) + _ALLOWED_FILES:
        return "open files grew"
    if max(each.connections for each in after) > max(each.connections for each in before) + _ALLOWED_FILES:
        return "connections to PostgreSQL grew"
    print(f"flat: {was:.1f} MB, then {became:.1f} MB; {after[-1].files} files, {after[-1].connections} connections")
    return None


def _tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in _tree(int(child)))]


def _megabytes(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def _files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def main() -> int:
    """Run a process, its stores and the load."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long; 600 by default")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder, stores.running() as running:
        deployment = service.deploy(running, name="idp-soak")
        settings = service.no_limits() | _SETTINGS
        server = service.start(deployment, Path(folder), core=0, name="idp", settings=settings)
        try:
            leak = asyncio.run(Soak(server, deployment.database_url, seconds).run())
        finally:
            server.stop()
    if leak is not None:
        print(f"not flat: {leak}", file=sys.stderr)
    return leak is not None


if __name__ == "__main__":
    raise SystemExit(main())
