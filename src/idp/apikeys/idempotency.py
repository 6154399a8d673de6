"""Idempotency-Key on creations: a repeated request gets the same answer, including the secret (C-27)."""

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

RETENTION = timedelta(minutes=10)
_CLEAN_UP_SECONDS = 60.0
T = TypeVar("T", bound=Struct)


class Idempotency(Periodic):
    """Stores answers to creations for ten minutes, encrypted with a key derived from the root secret.

    Args:
        sealer: encrypts the answers, since they contain secrets.
        database: for deleting expired answers.
    """

    def __init__(self, sealer: Sealer, database: Database) -> None:
        super().__init__("idempotency", _CLEAN_UP_SECONDS, self._clean_up)
        self._sealer = sealer
        self._database = database

    async def _clean_up(self) -> None:
        async with self._database.transaction() as session:
            await session.execute(_delete_expired())

    def creation(
        self,
        create: Callable[[AsyncSession], Awaitable[T]],
        answer_type: type[T],
        *,
        actor: str,
        key: str | None,
        request: Struct,
    ) -> Callable[[AsyncSession], Awaitable[T]]:
        """Return `create`, wrapped so that a repeated request gets the stored answer; unwrapped without a key.

        Args:
            create: the creation, run under the single writer's lock.
            answer_type: of the answer.
            actor: the caller; keys of different callers are independent.
            key: the header's value, None if it was not sent.
            request: the body; another body with the same key is refused.
        """
        if key is None:
            return create
        name = hashlib.sha256(f"{actor}\n{answer_type.__name__}\n{key}".encode()).hexdigest()
        fingerprint = hashlib.sha256(msgspec.json.encode(request)).hexdigest()

        async def create_once(session: AsyncSession) -> T:
            await session.execute(_delete_expired())
            earlier = await session.get(IdempotentAnswerRow, name)
            if earlier is not None:
                if earlier.request != fingerprint:
                    raise IdempotencyKeyReused
                opened = self._sealer.open(earlier.sealed_answer, purpose="idempotent-answer")
                if opened is not None:
                    return msgspec.json.decode(opened, type=answer_type)
                await session.delete(earlier)
                await session.flush()
            answer = await create(session)
            sealed = self._sealer.seal(msgspec.json.encode(answer), purpose="idempotent-answer")
            session.add(IdempotentAnswerRow(key=name, request=fingerprint, sealed_answer=sealed))
            return answer

        return create_once


def _delete_expired() -> Delete:
    return delete(IdempotentAnswerRow).where(IdempotentAnswerRow.created_at < clock.now() - RETENTION)
