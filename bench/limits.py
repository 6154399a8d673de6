"""Compares components with the libraries below them, in this process, without a server."""

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from statistics import median
from typing import Any

import argon2
import asyncpg
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from bench import cpu, foreign_tokens, load, refresh
from bench.population import Person
from bench.traffic import Request, Traffic
from bench.verdicts import Verdict
from bench.world import World
from idp import cache
from idp.core import Core, build_core
from idp.settings import load as load_settings
from idp.signing.compact import parse
from idp.signing.jwt import Family, TokenUser

_ROUNDS = 7  # of sign-ins, which have the most noise, because a second process is involved
_TURNS, _SECONDS = 9, 0.06  # of each side, for calls of microseconds: short, so that both sides have the same noise
_IN_FLIGHT = 32
_USERS = 12  # they sign in by turns, to stay below the maximum of sessions
_POINT_SELECT = "SELECT id, kind, name, scopes, expires_at, revoked_at FROM idp.api_keys WHERE digest = $1"
_GET_MICROSECONDS = 15.0
Call = Callable[[], Awaitable[Any]]


def measure(world: World) -> list[Verdict]:
    """Return all verdicts."""
    return [*asyncio.run(_all(world)), *foreign_tokens.measure(), _login(world), refresh.measure(world)]


async def _all(world: World) -> list[Verdict]:
    core = build_core(load_settings("production", environ=world.deployment.env))
    try:
        return [*await _signatures(core), await _get(world), await _select(core, world)]
    finally:
        await core.database.close()


def raw_verification() -> float:
    """Return the cost of a raw ES256 verification of a token's length (µs)."""
    key, message, algorithm = ec.generate_private_key(ec.SECP256R1()), secrets.token_bytes(600), ec.ECDSA(SHA256())
    public, signature = key.public_key(), key.sign(message, algorithm)

    async def verify() -> None:
        public.verify(signature, message, algorithm)

    return median([asyncio.run(_cost(verify, 1)) for _ in range(_TURNS)])


async def _signatures(core: Core) -> list[Verdict]:
    user = TokenUser(id="01990c7e-0000-7000-8000-000000000001", email="pat@example.com", email_verified=False)
    token = (await core.tokens.issue(user, Family.AUTH)).token
    key, message = ec.generate_private_key(ec.SECP256R1()), token.rpartition(".")[0].encode()
    public, algorithm = key.public_key(), ec.ECDSA(SHA256())
    signature = key.sign(message, algorithm)

    async def raw_verify() -> None:
        public.verify(signature, message, algorithm)

    async def raw_sign() -> None:
        key.sign(message, algorithm)

    verify = await _ratio(raw_verify, lambda: core.tokens.verify(parse(token)), concurrency=1)
    sign = await _ratio(raw_sign, lambda: core.tokens.issue(user, Family.AUTH), concurrency=1)
    return [
        Verdict("ES256 verify: rate relative to the raw operation", f"{verify:.2f}", "at least 0.85", verify >= 0.85),
        Verdict("ES256 sign: rate relative to the raw operation", f"{sign:.2f}", "at least 0.8", sign >= 0.80),
    ]


async def _get(world: World) -> Verdict:
    valkey = cache.connect(world.deployment.env["VALKEY_URL"])
    assert valkey is not None
    shared = cache.SharedCache(cache.SharedStore(valkey))
    keys = [b"bench:%d" % number for number in range(1000)]
    for key in keys:
        await valkey.set(key, b"x" * 400, px=60_000)
    endless_keys = _cycle(keys)
    costs = [await _cost(lambda: shared.get(next(endless_keys)), _IN_FLIGHT) for _ in range(_ROUNDS)]
    await shared.close()
    await valkey.aclose()
    found = median(costs)
    target = f"at most {_GET_MICROSECONDS:.0f} µs"
    return Verdict("Valkey GET, 32 concurrent", f"{found:.0f} µs", target, found <= _GET_MICROSECONDS)


async def _select(core: Core, world: World) -> Verdict:
    pool = await asyncpg.create_pool(world.deployment.database_url, min_size=10, max_size=10)
    try:
        bare = await _ratio(
            lambda: core.database.reads.fetchrow(_POINT_SELECT, "0" * 64),
            lambda: pool.fetchrow(_POINT_SELECT, "0" * 64),
            concurrency=_IN_FLIGHT,
        )
    finally:
        await pool.close()
    return Verdict("point read: cost relative to asyncpg", f"{bare:.2f}", "at most 2", bare <= 2)


def _login(world: World) -> Verdict:
    hasher = argon2.PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)  # the service's defaults
    people = [Person(world.idp.base_url) for _ in range(_USERS)]
    stored = hasher.hash(people[0].password)
    bodies = [json.dumps({"email": each.email, "password": each.password}) for each in people]
    logins = Traffic([Request("POST", "/auth/login", {"content-type": "application/json"}, body) for body in bodies])
    ratios = []
    for _ in range(_ROUNDS):
        before = time.process_time()
        for _ in range(20):
            hasher.verify(stored, people[0].password)
        alone = (time.process_time() - before) / 20
        spent = cpu.seconds_of(world.idp.pid)
        found = load.run(world.idp.base_url, logins, connections=2, seconds=0.8)
        ratios.append(alone * found.requests / (cpu.seconds_of(world.idp.pid) - spent))
    ratio = median(ratios)
    return Verdict("login: rate relative to Argon2 alone", f"{ratio:.2f}", "at least 0.85", ratio >= 0.85)


async def _ratio(one: Call, other: Call, *, concurrency: int) -> float:
    """Return the cost of the first call relative to the second: the median over rounds."""
    await _cost(one, concurrency)
    await _cost(other, concurrency)
    return median([await _cost(one, concurrency) / await _cost(other, concurrency) for _ in range(_TURNS)])


async def _cost(call: Call, concurrency: int) -> float:
    """Return the processor time of this process per call (µs), with this many concurrent calls."""
    before, until, calls = time.process_time(), time.perf_counter() + _SECONDS, 0

    async def caller() -> None:
        nonlocal calls
        while time.perf_counter() < until:
            await call()
            calls += 1

    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return (time.process_time() - before) / calls * 1e6


def _cycle(keys: list[bytes]) -> Iterator[bytes]:
    while True:
        yield from keys
