"""Measures validate during a flood of logins, and how many logins still succeed."""

import json
import time
from statistics import median

import httpx2
from msgspec import Struct

from bench import cpu, load
from bench.load import Load, LoadResult
from bench.measure import CONNECTIONS, Plan
from bench.population import NotBuilt
from bench.requests import REQUESTS_OF
from bench.server import Server
from bench.traffic import Request, Traffic
from bench.world import World

_JSON = {"content-type": "application/json"}
_RAMP_UP_SECONDS = 0.5  # until the flood has full effect
_MAX_ATTEMPTS = 50
_CALM_SECONDS, _POLL_SECONDS = 10.0, 0.2


class Flood(Struct, frozen=True):
    """The result of one kind of flood.

    Attributes:
        kept: validate's rate during the flood, relative to the rate without it.
        p99: validate's p99 during the flood, relative to the p99 without it.
        logins: successful logins per second.
        turned_away: refused logins per second.
        may_pass: whether the passwords are right.
    """

    title: str
    kept: float
    p99: float
    logins: float
    turned_away: float
    may_pass: bool


def measure(world: World, plan: Plan) -> list[Flood]:
    """Flood with right passwords without limits (the work is Argon2), then with wrong ones and the default limits."""
    right = {"email": world.person.email, "password": world.person.password}
    wrong = right | {"password": "not the right one"}
    return [
        _flood("right passwords, no limits", world.idp, right, world, plan, may_pass=True),
        _flood("wrong passwords, default limits", world.limited, wrong, world, plan, may_pass=False),
    ]


def _flood(title: str, server: Server, login: dict[str, str], world: World, plan: Plan, *, may_pass: bool) -> Flood:
    validate = _validate(world)
    logins = Traffic([Request("POST", "/auth/login", _JSON, json.dumps(login))])
    if not may_pass:
        _use_up_the_limit(server, login)
    load.run(server.base_url, validate, connections=CONNECTIONS, seconds=plan.warm_up_seconds)
    idle: list[LoadResult] = []
    flooded: list[LoadResult] = []
    floods: list[LoadResult] = []
    for _ in range(min(plan.rounds, 2)):
        _wait_until_calm(server)
        idle.append(load.run(server.base_url, validate, connections=CONNECTIONS, seconds=plan.seconds))
        long = plan.seconds + _RAMP_UP_SECONDS
        with Load(server.base_url, logins, connections=CONNECTIONS, seconds=long) as flood:
            time.sleep(_RAMP_UP_SECONDS)
            flooded.append(load.run(server.base_url, validate, connections=CONNECTIONS, seconds=plan.seconds))
            floods.append(flood.finish())
    pairs = list(zip(idle, flooded, strict=True))
    return Flood(
        title,
        kept=median(wet.rate / max(dry.rate, 1e-9) for dry, wet in pairs),
        p99=median(wet.p99 / max(dry.p99, 1) for dry, wet in pairs),
        logins=median((found.requests - found.refused) / found.microseconds * 1e6 for found in floods),
        turned_away=median(found.refused / found.microseconds * 1e6 for found in floods),
        may_pass=may_pass,
    )


def _use_up_the_limit(server: Server, login: dict[str, str]) -> None:
    for _ in range(_MAX_ATTEMPTS):
        if httpx2.post(server.base_url + "/auth/login", json=login, timeout=20).status_code == 429:
            return


def _wait_until_calm(server: Server) -> None:
    """Wait until the server has finished the work of an earlier flood."""
    deadline = time.monotonic() + _CALM_SECONDS
    while time.monotonic() < deadline:
        before = cpu.seconds_of(server.pid)
        time.sleep(_POLL_SECONDS)
        if cpu.seconds_of(server.pid) - before < 0.1 * _POLL_SECONDS:
            return


def _validate(world: World) -> Traffic:
    try:
        return REQUESTS_OF["validate"](world)[1]
    except NotBuilt:
        return REQUESTS_OF["validate-jwt"](world)[1]
