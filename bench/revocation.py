"""`python -m bench.revocation`: how long three processes, at half of their maximum load, accept a revoked key.

The processes share the server's core, one PostgreSQL and one Valkey; `wrk` validates a token with each of them. Keys
that all three have accepted are revoked at the first one, one after the other, while each process is polled. The result
is the time from the response of the DELETE to the first refusal by the last process.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from statistics import quantiles
from typing import Any, Self

import httpx2
from msgspec import Struct

from bench import exclusive, load, population, service
from bench.load import Load
from bench.server import Server
from bench.traffic import Request, Traffic
from bench.verdicts import Verdict
from bench.world import World

PROCESSES, REVOCATIONS = 3, 200
TARGET_MILLISECONDS = 25.0
_CONNECTIONS = 16  # of wrk, for each process
_TIMEOUT_SECONDS = 120  # seconds
_SATURATE_SECONDS, _TRIAL_SECONDS, _TRIALS = 2.0, 1.0, 3
_LOAD_SECONDS = 60.0  # maximum
_REFUSAL_TIMEOUT_SECONDS = 5.0
_POLL_SECONDS = 0.001
_EDGES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)  # milliseconds
_JSON = {"content-type": "application/json"}


class Revocation(Struct, frozen=True):
    """The result.

    Attributes:
        milliseconds: of each revocation, from the response to the last process's first refusal; sorted.
        saturating: maximum responses per second of all processes.
        loaded: responses per second during the revocations.
    """

    milliseconds: Sequence[float]
    saturating: float
    loaded: float

    def percentile(self, number: int) -> float:
        """Return a percentile of the revocations (ms)."""
        return quantiles(self.milliseconds, n=100, method="inclusive")[number - 1]

    @property
    def verdict(self) -> Verdict:
        """The target."""
        found = self.percentile(99)
        what = f"revocation, refused by {PROCESSES} processes: p99 at half load"
        target = f"at most {TARGET_MILLISECONDS:g} ms"
        return Verdict(what, f"{found:.1f} ms", target, found <= TARGET_MILLISECONDS)

    def lines(self) -> list[str]:
        """Return the figures and the histogram, a line each."""
        p50, p90, p99 = (self.percentile(number) for number in (50, 90, 99))
        counts = [
            sum(low <= each < high for each in self.milliseconds)
            for low, high in zip((0, *_EDGES), (*_EDGES, float("inf")), strict=True)
        ]
        names = [*(f"< {edge}" for edge in _EDGES), f">= {_EDGES[-1]}"]
        part, longest = self.loaded / self.saturating, self.milliseconds[-1]
        return [
            f"{len(self.milliseconds)} revocations: p50 {p50:.1f}, p90 {p90:.1f}, p99 {p99:.1f}, max {longest:.1f} ms",
            f"{self.loaded:.0f} responses per second meanwhile, {part:.2f} of the maximum of {self.saturating:.0f}",
            "",
            *(f"{name:>7} ms {count:4} {'#' * (count // 2)}" for name, count in zip(names, counts, strict=True)),
        ]


class _Connection:
    """A keep-alive connection to a server, with minimal overhead."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, server: Server) -> Self:
        host, port = server.base_url.removeprefix("http://").split(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Return the status and body of the response."""
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        return int(head[9:12]), await self._reader.readexactly(length)

    def close(self) -> None:
        self._writer.close()


class _Key(Struct, frozen=True):
    validate: bytes
    revoke: bytes


def measure(world: World, *, say: Callable[[str], None]) -> Revocation:
    """Start the processes, determine their maximum rate, and revoke at half of it."""
    more = service.no_limits() | {"IDP_API_KEYS__MAX_KEYS_PER_USER": "10000"}
    with ExitStack() as stack:
        servers = []
        for number in range(PROCESSES):
            started = service.start(
                world.deployment, world.folder, core=world.server_core, name=f"fleet-{number}", settings=more
            )
            stack.callback(started.stop)
            servers.append(started)
        traffic = _traffic(servers)
        _rate(servers, traffic, seconds=_TRIAL_SECONDS, pause=None)  # warm-up
        saturating = _rate(servers, traffic, seconds=_SATURATE_SECONDS, pause=None)
        pause = _pause_for(saturating / 2, servers, traffic)
        say(f"revocations at half of {saturating:.0f} responses per second")
        keys = _keys(servers[0])
        with _Loads(servers, traffic, seconds=_LOAD_SECONDS, pause=pause) as loads:
            milliseconds = asyncio.run(_revoke_all(servers, keys))
            return Revocation(sorted(milliseconds), saturating, loads.finish())


# --- the load --------------------------------------------------------------------------------------------------------


class _Loads:
    """A load on every process."""

    def __init__(self, servers: Sequence[Server], traffic: Traffic, *, seconds: float, pause: float | None) -> None:
        self._stack = ExitStack()
        self._loads = [
            self._stack.enter_context(
                Load(server.base_url, traffic, connections=_CONNECTIONS, seconds=seconds, pause=pause)
            )
            for server in servers
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def finish(self) -> float:
        """Stop, and return the total of responses per second."""
        found = [each.finish() for each in self._loads]
        assert not any(one.refused or one.broken for one in found), found
        return sum(one.rate for one in found)


def _rate(servers: Sequence[Server], traffic: Traffic, *, seconds: float, pause: float | None) -> float:
    with _Loads(servers, traffic, seconds=seconds, pause=pause) as loads:
        time.sleep(seconds)
        return loads.finish()


def _pause_for(wanted: float, servers: Sequence[Server], traffic: Traffic) -> float:
    """Return the pause of connections (ms) for a total of `wanted` responses per second."""
    connections = _CONNECTIONS * len(servers)
    pause = 1000 * connections / wanted
    for _ in range(_TRIALS):
        found = _rate(servers, traffic, seconds=_TRIAL_SECONDS, pause=pause)
        pause = max(0.5, pause + 1000 * connections * (1 / wanted - 1 / found))
    return pause


def _traffic(servers: Sequence[Server]) -> Traffic:
    token = population.service_token(servers[0].base_url, "read")["token"]
    return Traffic([_validate(token)])


def _validate(token: str) -> Request:
    return Request("POST", "/auth/validate", _JSON, json.dumps({"token": token}), {"valid": True})


# --- the revocations -------------------------------------------------------------------------------------------------


def _keys(server: Server) -> list[_Key]:
    person = population.Person(server.base_url)
    with httpx2.Client(base_url=server.base_url, headers=person.bearer, timeout=20) as client:
        made = [
            client.post("/v1/api-keys", json={"name": "bench", "scopes": ["read"]}).raise_for_status().json()
            for _ in range(REVOCATIONS)
        ]
    return [
        _Key(_validate(key["secret"]).raw(), Request("DELETE", f"/v1/api-keys/{key['key_id']}", person.bearer).raw())
        for key in made
    ]


async def _revoke_all(servers: Sequence[Server], keys: Sequence[_Key]) -> list[float]:
    lines = [await _Connection.open(server) for server in servers]
    revoker = await _Connection.open(servers[0])
    try:
        for key in keys:
            for line in lines:
                assert await _accepts(line, key)
        return [await _revoke(revoker, lines, key) for key in keys]
    finally:
        for line in (*lines, revoker):
            line.close()


async def _revoke(revoker: _Connection, lines: Sequence[_Connection], key: _Key) -> float:
    refusals = [asyncio.create_task(_until_refused(line, key)) for line in lines]
    await asyncio.sleep(2 * _POLL_SECONDS)
    status, body = await revoker.send(key.revoke)
    answered = time.perf_counter()
    assert status == 200, body
    return 1000 * max(0.0, max(await asyncio.gather(*refusals)) - answered)


async def _until_refused(line: _Connection, key: _Key) -> float:
    until = time.perf_counter() + _REFUSAL_TIMEOUT_SECONDS
    while await _accepts(line, key):
        assert time.perf_counter() < until, "a revoked key is still accepted"
        await asyncio.sleep(_POLL_SECONDS)
    return time.perf_counter()


async def _accepts(line: _Connection, key: _Key) -> bool:
    status, body = await line.send(key.validate)
    answer: dict[str, Any] = json.loads(body)
    assert status == 200, answer
    return bool(answer["valid"])


def main() -> int:
    """Run the benchmark and print the histogram."""
    if not load.is_installed():
        print("bench needs wrk: on Debian or Ubuntu, apt install wrk", file=sys.stderr)
        return 1

    def say(words: str) -> None:
        print(words, file=sys.stderr, flush=True)

    with exclusive.exclusive_run(_TIMEOUT_SECONDS, say=say), World([], new_requests=0, say=say) as world:
        found = measure(world, say=say)
    print("\n".join(found.lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
