"""`python -m bench.writer`: what the single writer's groups are worth, in changes a second.

The same change (making a service token: a row and its audit entry) by 64 callers at once, through the queue that
commits groups, and through one that commits each by itself. PostgreSQL writes to disk (fsync on), as in production.
"""

import asyncio
import secrets
import time
from statistics import median
from unittest.mock import patch

from sqlalchemy.ext.asyncio import AsyncSession

from bench import alone, service, stores
from idp.apikeys.commands import LARGEST_GROUP, CommandQueue
from idp.apikeys.service import Minting, create_token
from idp.apikeys.shapes import NewToken, TokenSecret
from idp.audit.record import Origin
from idp.parts import Parts, build_parts
from idp.settings import load

_ROUNDS, _SECONDS, _CALLERS = 3, 1.5, 64
_LONGEST = 60  # seconds
_DURABLE = {"fsync": "on", "full_page_writes": "on"}


def main() -> None:
    """Print both rates, and how many times the one is the other."""
    with (
        alone.for_at_most(_LONGEST, say=print),
        patch.dict("idp.dev.postgres._SETTINGS", _DURABLE),
        stores.running() as running,
    ):
        deployment = service.deploy(running)
        parts = build_parts(load("production", environ=deployment.env))
        grouped, single = asyncio.run(_measure(parts))
    print(f"in groups of up to {LARGEST_GROUP}: {grouped:.0f} changes a second")
    print(f"one transaction each:   {single:.0f} changes a second")
    print(f"groups are worth {grouped / single:.1f} times as much")


async def _measure(parts: Parts) -> tuple[float, float]:
    grouped, single = [], []
    try:
        for _ in range(_ROUNDS):
            grouped.append(await _rate(parts, LARGEST_GROUP))
            single.append(await _rate(parts, 1))
    finally:
        await parts.database.close()
    return median(grouped), median(single)


async def _rate(parts: Parts, largest_group: int) -> float:
    minting, origin = Minting(parts.settings.api_keys, parts.peppers), Origin(actor="bench")
    queue = CommandQueue(parts.database, largest_group=largest_group)
    queue.start()
    began, done = time.perf_counter(), 0

    async def change(session: AsyncSession) -> TokenSecret:
        return await create_token(session, minting, origin, NewToken(secrets.token_hex(12), ["read"]))

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
