"""Idempotency-Key on creations: the same request again gets the same answer, the secret included (C-27)."""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import msgspec
from msgspec import Struct
from sqlalchemy import Delete, delete
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.apikeys.models import IdempotentAnswerRow
from idp.db.engine import Database
from idp.errors import IdempotencyKeyReused
from idp.ops.periodic import Periodic
from idp.signing.sealing import Sealer

KEPT = timedelta(minutes=10)
_FORGET_EVERY_SECONDS = 60.0
T = TypeVar("T", bound=Struct)


class Idempotency(Periodic):
    """Remembers answers to creations, sealed under the root secret.

    Args:
        sealer: seals them, since they hold secrets that are shown once.
        database: where they are, for forgetting them.
    """

    def __init__(self, sealer: Sealer, database: Database) -> None:
        super().__init__("idempotency", _FORGET_EVERY_SECONDS, self._forget_old)
        self._sealer = sealer
        self._database = database

    async def _forget_old(self) -> None:
        async with self._database.transaction() as session:
            await session.execute(_forget())

    def creation(
        self,
        make: Callable[[AsyncSession], Awaitable[T]],
        answer_type: type[T],
        *,
        actor: str,
        key: str | None,
        request: Struct,
    ) -> Callable[[AsyncSession], Awaitable[T]]:
        """Return `make`, which answers from memory when it was asked before; `make` itself without a key.

        Args:
            make: the creation, run under the single writer's lock.
            answer_type: what it returns.
            actor: who asks; the same key of somebody else is another one.
            key: the header's value, None where it was not sent.
            request: what is asked for.
        """
        if key is None:
            return make
        name = hashlib.sha256(f"{actor}\n{answer_type.__name__}\n{key}".encode()).hexdigest()
        fingerprint = hashlib.sha256(msgspec.json.encode(request)).hexdigest()

        async def remembered(session: AsyncSession) -> T:
            await session.execute(_forget())
            earlier = await session.get(IdempotentAnswerRow, name)
            if earlier is not None:
                if earlier.request != fingerprint:
                    raise IdempotencyKeyReused
                opened = self._sealer.open(earlier.sealed_answer, purpose="idempotent-answer")
                if opened is not None:
                    return msgspec.json.decode(opened, type=answer_type)
                await session.delete(earlier)
                await session.flush()
            answer = await make(session)
            sealed = self._sealer.seal(msgspec.json.encode(answer), purpose="idempotent-answer")
            session.add(IdempotentAnswerRow(key=name, request=fingerprint, sealed_answer=sealed))
            return answer

        return remembered


def _forget() -> Delete:
    return delete(IdempotentAnswerRow).where(IdempotentAnswerRow.created_at < clock.now() - KEPT)
