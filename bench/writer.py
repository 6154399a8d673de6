"""`python -m bench.writer`: measures the gain of the single writer's group commits.

64 concurrent callers create service tokens (a row and its audit record) with group commits, and with one transaction
for each. PostgreSQL writes to disk (fsync on), as in production.
"""

import asyncio
import secrets
import time
from statistics import median
from unittest.mock import patch

from sqlalchemy.ext.asyncio import AsyncSession

from bench import exclusive, service, stores
from idp.apikeys.commands import MAX_GROUP_SIZE, CommandQueue
from idp.apikeys.service import KeyFactory, create_token
from idp.apikeys.shapes import NewToken, TokenSecret
from idp.audit.record import Origin
from idp.core import Core, build_core
from idp.settings import load

_ROUNDS, _SECONDS, _CALLERS = 3, 1.5, 64
_TIMEOUT_SECONDS = 60  # seconds
_DURABLE = {"fsync": "on", "full_page_writes": "on"}


def main() -> None:
    """Print both rates and their ratio."""
    with (
        exclusive.exclusive_run(_TIMEOUT_SECONDS, say=print),
        patch.dict("idp.dev.postgres._SETTINGS", _DURABLE),
        stores.running() as running,
    ):
        deployment = service.deploy(running)
        core = build_core(load("production", environ=deployment.env))
        grouped, single = asyncio.run(_measure(core))
    print(f"in groups of up to {MAX_GROUP_SIZE}: {grouped:.0f} changes per second")
    print(f"one transaction each:   {single:.0f} changes per second")
    print(f"ratio: {grouped / single:.1f}")


async def _measure(core: Core) -> tuple[float, float]:
    grouped, single = [], []
    try:
        for _ in range(_ROUNDS):
            grouped.append(await _rate(core, MAX_GROUP_SIZE))
            single.append(await _rate(core, 1))
    finally:
        await core.database.close()
    return median(grouped), median(single)


async def _rate(core: Core, max_group_size: int) -> float:
    key_factory, origin = KeyFactory(core.settings.api_keys, core.peppers), Origin(actor="bench")
    queue = CommandQueue(core.database, max_group_size=max_group_size)
    queue.start()
    began, done = time.perf_counter(), 0

    async def change(session: AsyncSession) -> TokenSecret:
        return await create_token(session, key_factory, origin, NewToken(secrets.token_hex(12), ["read"]))

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() - began < _SECONDS:
            await queue.submit("create_token", change)
            done += 1

    try:
        await asyncio.gather(*(caller() for _ in range(_CALLERS)))
        return done / (time.perf_counter() - began)
    finally:
        await queue.stop()


if __name__ == "__main__":
    main()
