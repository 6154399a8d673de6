"""`python -m bench.capacity`: what each kind of request costs, and whether costs add up for a mixture behind nginx.

Measures the processor time of a request of each kind in idp and in PostgreSQL, alone. Then three processes behind nginx
answer a mixture of them at two rates, while keys are revoked through nginx. The model of docs/scale.md multiplies costs
by rates; here its prediction stands beside what was measured. All processes of idp share one core.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from urllib.parse import urlencode

import httpx2
from msgspec import Struct

from bench import cpu, exclusive, population, server, service
from bench.load import Load
from bench.population import Person
from bench.requests import REQUESTS_OF
from bench.server import Server
from bench.traffic import Request, Traffic
from bench.world import World

PROCESSES = 3
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
# Requests of each kind in a mixture of 100: many services validate, few people sign in.
MIXTURE = {"validate": 60, "me": 20, "introspect-new": 10, "refresh": 6, "client-credentials": 3, "login": 1}
_RATES = (1000, 2000)  # of the mixture, requests a second
_ROUNDS, _SECONDS, _LOGIN_SECONDS, _MIX_SECONDS, _IDLE_SECONDS, _CONNECTIONS = 3, 1.0, 3.0, 6.0, 5.0, 32
_PEOPLE = 20  # who sign in and refresh by turns
_ONCE = 12_000  # requests of a kind that can be sent only once
_REVOCATIONS = 20
_TIMEOUT_SECONDS = 300
_JSON = {"content-type": "application/json"}
_CONF = """
{user}
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream idp {{ {servers} keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://idp; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""


class Cost(Struct, frozen=True):
    """Processor time of a request (µs): in idp with its password process, and in PostgreSQL."""

    idp: float
    postgres: float


class Point(Struct, frozen=True):
    """A mixture at a rate.

    Attributes:
        rate: requests a second, as they came.
        predicted: processor time a second of idp and PostgreSQL (seconds): idle, and the costs of the kinds.
        measured: the same, as measured.
    """

    rate: float
    predicted: Cost
    measured: Cost


def main() -> None:
    """Measure, and print the tables."""
    if NGINX is None:
        sys.exit("bench.capacity needs nginx: on Debian or Ubuntu, apt install nginx-light")
    with exclusive.exclusive_run(_TIMEOUT_SECONDS, say=_say), World([], new_requests=_ONCE, say=_say) as world:
        costs = {kind: _cost(world, kind) for kind in MIXTURE}
        idle, points, slowest = _behind_nginx(world, costs)
    print(_report(costs, idle, points, slowest))


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


# --- each kind alone -------------------------------------------------------------------------------------------------


def _cost(world: World, kind: str) -> Cost:
    _say(kind)
    traffic = _traffic(world, kind)
    traffic.check(world.idp.base_url)
    # Sign-ins that wait would be counted as begun, and not as answered.
    connections, seconds = (2, _LOGIN_SECONDS) if kind == "login" else (_CONNECTIONS, _SECONDS)
    idp = [world.idp]
    found = [
        _measure(world, idp, idp[0].base_url, traffic, connections=connections, seconds=seconds) for _ in range(_ROUNDS)
    ]
    return Cost(median(each[0].idp for each in found), median(each[0].postgres for each in found))


def _measure(
    world: World,
    servers: Sequence[Server],
    url: str,
    traffic: Traffic,
    *,
    seconds: float,
    connections: int = _CONNECTIONS,
    pause: float | None = None,
) -> tuple[Cost, float]:
    """Return the cost of a request, and the rate."""
    before = _spent(world, servers)
    with Load(url, traffic, connections=connections, seconds=seconds, pause=pause) as load:
        time.sleep(seconds)
        found = load.finish()
    after = _spent(world, servers)
    assert found.refused == found.broken == 0, found
    idp, postgres = ((late - early) / found.requests * 1e6 for early, late in zip(before, after, strict=True))
    return Cost(idp, postgres), found.rate


def _spent(world: World, servers: Sequence[Server]) -> tuple[float, float]:
    database = world.stores.postgres.process
    assert database is not None
    return sum(cpu.seconds_of(each.pid) for each in servers), cpu.seconds_of(database.pid)


def _traffic(world: World, kind: str) -> Traffic:
    if kind == "login":
        people = [Person(world.idp.base_url) for _ in range(_PEOPLE)]
        bodies = [json.dumps({"email": each.email, "password": each.password}) for each in people]
        return Traffic([Request("POST", "/auth/login", _JSON, body) for body in bodies])
    if kind == "refresh":
        people = [Person(world.idp.base_url) for _ in range(_PEOPLE)]
        each = [population.many_refresh_tokens(world.deployment, one, _ONCE // _PEOPLE) for one in people]
        tokens = [token for some in zip(*each, strict=True) for token in some]
        bodies = [json.dumps({"refresh_token": token}) for token in tokens]
        return Traffic([Request("POST", "/api/auth/refresh", _JSON, body) for body in bodies], once=True)
    if kind == "introspect-new":
        tokens = population.many_jwts(world.deployment, world.person, _ONCE)
        headers = {"content-type": "application/x-www-form-urlencoded", **world.introspector}
        return Traffic(
            [Request("POST", "/oauth2/introspect", headers, urlencode({"token": token})) for token in tokens], once=True
        )
    return REQUESTS_OF[kind](world)[1]


# --- a mixture behind nginx ------------------------------------------------------------------------------------------


def _behind_nginx(world: World, costs: dict[str, Cost]) -> tuple[Cost, list[Point], float]:
    with ExitStack() as stack:
        servers = [stack.enter_context(_started(world, f"behind-{number}")) for number in range(PROCESSES)]
        url = stack.enter_context(_nginx(world.folder, servers))
        mixture = _mixture(world)
        idle, expected = _idle(world, servers), _expected(costs)
        points = []
        for rate in _RATES:
            _say(f"the mixture at {rate} a second")
            cost, found = _measure(world, servers, url, mixture, seconds=_MIX_SECONDS, pause=1000 * _CONNECTIONS / rate)
            predicted = _per_second(expected, found)
            predicted = Cost(idle.idp + predicted.idp, idle.postgres + predicted.postgres)
            points.append(Point(found, predicted, _per_second(cost, found)))
        _say("revocations through nginx")
        return idle, points, _slowest_revocation(url, world, mixture)


def _idle(world: World, servers: Sequence[Server]) -> Cost:
    """Return the processor time a second of the processes without requests (seconds)."""
    before = _spent(world, servers)
    time.sleep(_IDLE_SECONDS)
    idp, postgres = ((late - early) / _IDLE_SECONDS for early, late in zip(before, _spent(world, servers), strict=True))
    return Cost(idp, postgres)


def _per_second(cost: Cost, rate: float) -> Cost:
    return Cost(cost.idp * rate / 1e6, cost.postgres * rate / 1e6)


@contextmanager
def _started(world: World, name: str) -> Iterator[Server]:
    started = service.start(
        world.deployment, world.folder, core=world.server_core, name=name, settings=service.no_limits()
    )
    try:
        yield started
    finally:
        started.stop()


@contextmanager
def _nginx(folder: Path, servers: Sequence[Server]) -> Iterator[str]:
    assert NGINX is not None
    port = server.free_port()
    conf = folder / "nginx.conf"
    lines = " ".join(f"server {each.base_url.removeprefix('http://')};" for each in servers)
    user = "user root;" if os.geteuid() == 0 else ""
    conf.write_text(_CONF.format(folder=folder, port=port, servers=lines, user=user))
    process = subprocess.Popen([NGINX, "-c", str(conf), "-e", str(folder / "error.log")])
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(100):
            with contextlib.suppress(httpx2.TransportError):
                httpx2.get(f"{url}/healthz")
                break
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait()


def _mixture(world: World) -> Traffic:
    """Interleave requests of all kinds; those sent only once are enough for all rates."""
    total = round(sum(_RATES) * _MIX_SECONDS * 1.6) + 2000
    by_kind = {kind: _traffic(world, kind).requests for kind in MIXTURE}
    requests = []
    for number in range(total):
        place = number % 100
        for kind, share in MIXTURE.items():
            if place < share:
                requests.append(by_kind[kind][number % len(by_kind[kind])])
                break
            place -= share
    return Traffic([requests[(number * 37) % total] for number in range(total)], once=True)


def _expected(costs: dict[str, Cost]) -> Cost:
    """Return the cost of a request of the mixture, by the costs of its kinds."""
    parts = [(share / 100, costs[kind]) for kind, share in MIXTURE.items()]
    return Cost(sum(share * cost.idp for share, cost in parts), sum(share * cost.postgres for share, cost in parts))


def _slowest_revocation(url: str, world: World, mixture: Traffic) -> float:
    """Return how long after its answer a revoked key was last accepted behind nginx (ms), under the mixture's load."""
    slowest = 0.0
    pause = 1000 * _CONNECTIONS / _RATES[0]
    with (
        httpx2.Client(base_url=url, headers=world.person.bearer, timeout=10) as client,
        Load(url, mixture, connections=_CONNECTIONS, seconds=30, pause=pause) as load,
    ):
        for _ in range(_REVOCATIONS):
            made = client.post("/v1/api-keys", json={"name": "capacity", "scopes": ["read"]}).json()
            ask = {"token": made["secret"]}
            for _ in range(3 * PROCESSES):
                assert client.post("/auth/validate", json=ask).json()["valid"]
            client.delete(f"/v1/api-keys/{made['key_id']}").raise_for_status()
            revoked, refusals = time.monotonic(), 0
            while refusals < 5 * PROCESSES:
                began = time.monotonic()
                if client.post("/auth/validate", json=ask).json()["valid"]:
                    slowest, refusals = max(slowest, (began - revoked) * 1000), 0
                else:
                    refusals += 1
        load.finish()
    return slowest


# --- the tables ------------------------------------------------------------------------------------------------------


def _report(costs: dict[str, Cost], idle: Cost, points: Sequence[Point], slowest: float) -> str:
    lines = ["| request | in a mixture of 100 | idp µs | PostgreSQL µs |", "| --- | --- | --- | --- |"]
    lines += [f"| {kind} | {MIXTURE[kind]} | {cost.idp:.0f} | {cost.postgres:.0f} |" for kind, cost in costs.items()]
    lines += ["", f"{PROCESSES} idle processes: {idle.idp:.3f} cores, PostgreSQL {idle.postgres:.3f}"]
    lines += ["", "| requests/s | idp: predicted | measured | PostgreSQL: predicted | measured |", "| --- " * 5 + "|"]
    lines += [
        f"| {each.rate:.0f} | {each.predicted.idp:.2f} cores | {each.measured.idp:.2f} | "
        f"{each.predicted.postgres:.2f} cores | {each.measured.postgres:.2f} |"
        for each in points
    ]
    last = f"last accepted {slowest:.0f} ms after the response" if slowest else "never accepted after the response"
    lines += ["", f"{_REVOCATIONS} keys revoked through nginx, {PROCESSES} processes behind it: {last}."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
