"""Compares refreshing over HTTP with its SQL statement alone."""

import asyncio
import json
import time
from statistics import median
from uuid import uuid4

import asyncpg

from bench import load, population
from bench.measure import CONNECTIONS
from bench.traffic import Request, Traffic
from bench.verdicts import Verdict
from bench.world import World
from idp import clock
from idp.sessions.refresh_tokens import ROTATE
from idp.settings import load as load_settings
from idp.settings import root_secret
from idp.signing.peppers import Peppers

_ROUNDS, _SECONDS, _TOKENS = 3, 0.8, 6000
_JSON = {"content-type": "application/json"}


def measure(world: World) -> Verdict:
    """Return the rate of refreshes over HTTP relative to that of the statement alone."""
    ratios = []
    for _ in range(_ROUNDS):
        person = population.Person(world.idp.base_url)  # a new user per round, since a user has a maximum of sessions
        tokens = population.many_refresh_tokens(world.deployment, person, _TOKENS)
        alone = asyncio.run(_rotations(world, tokens))
        fresh = population.many_refresh_tokens(world.deployment, person, _TOKENS)
        bodies = [json.dumps({"refresh_token": token}) for token in fresh]
        traffic = Traffic([Request("POST", "/api/auth/refresh", _JSON, body) for body in bodies], once=True)
        ratios.append(load.run(world.idp.base_url, traffic, connections=CONNECTIONS, seconds=_SECONDS).rate / alone)
    ratio = median(ratios)
    return Verdict("refresh: rate relative to the statement alone", f"{ratio:.2f}", "at least 0.45", ratio >= 0.45)


async def _rotations(world: World, tokens: list[str]) -> float:
    """Return how many tokens per second the statement rotates, with CONNECTIONS concurrent calls."""
    root = root_secret(load_settings("production", environ=world.deployment.env).settings)
    assert root is not None
    peppers, done = Peppers([root], "refresh-token"), 0
    pool = await asyncpg.create_pool(world.deployment.database_url, min_size=10, max_size=10)
    waiting = iter(tokens)
    began = time.perf_counter()

    async def rotate() -> None:
        nonlocal done
        for token in waiting:
            if time.perf_counter() - began > _SECONDS:
                return
            arguments = (peppers.possible(token), "idp", clock.now(), uuid4(), uuid4().hex)
            assert await pool.fetchrow(ROTATE, *arguments) is not None
            done += 1

    await asyncio.gather(*(rotate() for _ in range(CONNECTIONS)))
    took = time.perf_counter() - began
    await pool.close()
    return done / took
