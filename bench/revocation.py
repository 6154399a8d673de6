"""`python -m bench.revocation`: how long a revoked key lives on, in three processes at half of what saturates them.

Three processes share the server's core, one PostgreSQL and one Valkey; `wrk` validates a token at each of them. Keys
that all three have accepted are revoked at the first one, one after the other, while each process is asked about the
key all the time. What counts is the time from the answer of the DELETE to the first refusal of the last process.
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
_CONNECTIONS = 16  # of wrk to each process
_LONGEST = 120  # seconds
_SATURATE_SECONDS, _TRY_SECONDS, _TRIES = 2.0, 1.0, 3
_LOAD_SECONDS = 60.0  # at most
_LIVES_ON_SECONDS = 5.0  # then something is broken
_BETWEEN_SECONDS = 0.001  # of one question and the next
_EDGES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)  # milliseconds
_JSON = {"content-type": "application/json"}


class Revocation(Struct, frozen=True):
    """What was found.

    Attributes:
        milliseconds: of each revocation, from the answer to the last process's first refusal; sorted.
        saturating: answers a second that all processes together give at most.
        loaded: answers a second that they gave beside the revocations.
    """

    milliseconds: Sequence[float]
    saturating: float
    loaded: float

    def percentile(self, number: int) -> float:
        """Return what so many of 100 revocations stay below (milliseconds)."""
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
            f"{self.loaded:.0f} answers a second beside them, {part:.2f} of the {self.saturating:.0f} that saturate",
            "",
            *(f"{name:>7} ms {count:4} {'#' * (count // 2)}" for name, count in zip(names, counts, strict=True)),
        ]


class _Line:
    """One keep-alive connection to a server, with as little work in between as there can be."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def to(cls, server: Server) -> Self:
        host, port = server.base_url.removeprefix("http://").split(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Return the status and the body of the answer."""
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
    """Start the processes, find what saturates them, and revoke at half of that."""
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
        _rate(servers, traffic, seconds=_TRY_SECONDS, rest=None)  # to get warm
        saturating = _rate(servers, traffic, seconds=_SATURATE_SECONDS, rest=None)
        rest = _rest_for(saturating / 2, servers, traffic)
        say(f"revocations at half of {saturating:.0f} answers a second")
        keys = _keys(servers[0])
        with _Loads(servers, traffic, seconds=_LOAD_SECONDS, rest=rest) as loads:
            milliseconds = asyncio.run(_revoke_all(servers, keys))
            return Revocation(sorted(milliseconds), saturating, loads.finish())


# --- the load --------------------------------------------------------------------------------------------------------


class _Loads:
    """A load on every process."""

    def __init__(self, servers: Sequence[Server], traffic: Traffic, *, seconds: float, rest: float | None) -> None:
        self._stack = ExitStack()
        self._loads = [
            self._stack.enter_context(
                Load(server.base_url, traffic, connections=_CONNECTIONS, seconds=seconds, rest=rest)
            )
            for server in servers
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def finish(self) -> float:
        """Stop; return how many answers a second there were in all."""
        found = [each.finish() for each in self._loads]
        assert not any(one.refused or one.broken for one in found), found
        return sum(one.rate for one in found)


def _rate(servers: Sequence[Server], traffic: Traffic, *, seconds: float, rest: float | None) -> float:
    with _Loads(servers, traffic, seconds=seconds, rest=rest) as loads:
        time.sleep(seconds)
        return loads.finish()


def _rest_for(wanted: float, servers: Sequence[Server], traffic: Traffic) -> float:
    """Return how long connections must rest (milliseconds) for so many answers a second in all."""
    connections = _CONNECTIONS * len(servers)
    rest = 1000 * connections / wanted
    for _ in range(_TRIES):
        found = _rate(servers, traffic, seconds=_TRY_SECONDS, rest=rest)
        rest = max(0.5, rest + 1000 * connections * (1 / wanted - 1 / found))
    return rest


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
    lines = [await _Line.to(server) for server in servers]
    revoker = await _Line.to(servers[0])
    try:
        for key in keys:
            for line in lines:
                assert await _accepts(line, key)
        return [await _revoke(revoker, lines, key) for key in keys]
    finally:
        for line in (*lines, revoker):
            line.close()


async def _revoke(revoker: _Line, lines: Sequence[_Line], key: _Key) -> float:
    refusals = [asyncio.create_task(_until_refused(line, key)) for line in lines]
    await asyncio.sleep(2 * _BETWEEN_SECONDS)
    status, body = await revoker.ask(key.revoke)
    answered = time.perf_counter()
    assert status == 200, body
    return 1000 * max(0.0, max(await asyncio.gather(*refusals)) - answered)


async def _until_refused(line: _Line, key: _Key) -> float:
    until = time.perf_counter() + _LIVES_ON_SECONDS
    while await _accepts(line, key):
        assert time.perf_counter() < until, "a revoked key lives on"
        await asyncio.sleep(_BETWEEN_SECONDS)
    return time.perf_counter()


async def _accepts(line: _Line, key: _Key) -> bool:
    status, body = await line.ask(key.validate)
    answer: dict[str, Any] = json.loads(body)
    assert status == 200, answer
    return bool(answer["valid"])


def main() -> int:
    """Measure, and print the histogram."""
    if not load.is_installed():
        print("bench needs wrk: on Debian or Ubuntu, apt install wrk", file=sys.stderr)
        return 1

    def say(words: str) -> None:
        print(words, file=sys.stderr, flush=True)

    with exclusive.for_at_most(_LONGEST, say=say), World([], new_requests=0, say=say) as world:
        found = measure(world, say=say)
    print("\n".join(found.lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
