"""Idempotency-Key on creations: a repeated request gets the same response, including the secret (C-27)."""

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
    """Stores responses to creations, encrypted under the root secret.

    Args:
        sealer: encrypts them, because they contain secrets.
        database: for deleting old ones.
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
        """Wrap `make` so that a repeated request returns the stored response; without a key return `make`.

        Args:
            make: the creation, run under the single writer's lock.
            answer_type: the type of its result.
            actor: the caller; keys of different callers are independent.
            key: the header's value, None if absent.
            request: the request, to detect a reused key.
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
