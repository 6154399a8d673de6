"""A process with a command queue, controlled over stdin (see `writer_support.py`)."""

import asyncio
import json
import os
import sys
import time
from typing import Any
from uuid import UUID

from msgspec import to_builtins
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from idp.apikeys import service
from idp.apikeys.commands import CommandQueue, Work
from idp.apikeys.idempotency import Idempotency
from idp.apikeys.service import KeyFactory
from idp.apikeys.shapes import KeySecret, NewKey, NewToken, TokenSecret
from idp.audit.record import Origin
from idp.core import Core, build_core
from idp.errors import IdpError
from idp.settings import load

_TRANSACTION = text("SELECT pg_current_xact_id()::text")
Order = dict[str, Any]


class Writer:
    """Runs what it is told through one queue, and tells when each change ran and in which transaction."""

    def __init__(self, core: Core, queue: CommandQueue) -> None:
        self._queue = queue
        self._minting = KeyFactory(core.settings.api_keys, core.peppers)
        self._idempotency = Idempotency(core.sealer, core.database)

    async def run(self, order: Order) -> Order:
        """Return the answer, or the code of the refusal, and the marks of the last time it ran."""
        marks: Order = {"code": None}
        urgent = order["do"].startswith("revoke")
        try:
            answer = await self._queue.submit(order["do"], _marked(self._work(order), marks), urgent=urgent)
        except IdpError as error:
            return marks | {"code": error.code}
        return marks | {"answer": to_builtins(answer)}

    def _work(self, order: Order) -> Work[Any]:
        origin = Origin(actor=order.get("actor", "system"))
        key_factory, target = self._minting, UUID(order["target"]) if "target" in order else UUID(int=0)
        match order["do"]:
            case "create_token":
                new = NewToken(order["name"], ["read"])
                make: Work[TokenSecret] = lambda session: service.create_token(session, key_factory, origin, new)  # noqa: E731
                key = order.get("key")
                return self._idempotency.creation(make, TokenSecret, actor=origin.actor, key=key, request=new)
            case "create_key":
                wanted = NewKey(order["name"], ["read"])
                create: Work[KeySecret] = lambda session: service.create_key(  # noqa: E731
                    session, key_factory, origin, order["user"], wanted
                )
                return create
            case "rotate_key":
                return lambda session: service.rotate_key(
                    session, key_factory, origin, order["user"], target, overlap_seconds=0
                )
            case "revoke_key":
                return lambda session: service.revoke_key(session, origin, order["user"], target)
            case "revoke_token":
                return lambda session: service.revoke_token(session, origin, target, None)
            case "extend_token":
                return lambda session: service.extend_token(session, origin, target, 1)
            case "hold":
                return lambda _session: _hold(order["seconds"])
        raise AssertionError(order)


def _marked(work: Work[Any], marks: Order) -> Work[Any]:
    async def marked(session: AsyncSession) -> Any:
        marks["transaction"], marks["began"] = await session.scalar(_TRANSACTION), time.monotonic()
        try:
            return await work(session)
        finally:
            marks["ended"] = time.monotonic()

    return marked


async def _hold(seconds: float) -> bool:
    _say("HOLDING")
    await asyncio.sleep(seconds)
    return True


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def _main() -> None:
    told = json.loads(sys.stdin.readline())
    core = build_core(load("production", environ=os.environ))
    queue = CommandQueue(core.database, max_wait=told["max_wait"])
    writer = Writer(core, queue)
    queue.start()
    await core.database.ping()
    _say("READY")
    await asyncio.to_thread(sys.stdin.readline)
    answers = await asyncio.gather(*(writer.run(order) for order in told["orders"]))
    await queue.stop()
    await core.database.close()
    _say(json.dumps(answers))


if __name__ == "__main__":
    asyncio.run(_main())
