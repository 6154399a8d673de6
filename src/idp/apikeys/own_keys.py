"""Changes of a user's own keys, through the single writer (C-27); the API and the pages share them."""

from collections.abc import Awaitable, Callable
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from idp.apikeys import service
from idp.apikeys.commands import CommandQueue
from idp.apikeys.scopes import ScopePolicy
from idp.apikeys.service import KeyFactory
from idp.apikeys.shapes import KeyOut, KeySecret, NewKey
from idp.audit.record import Origin
from idp.db.engine import Database
from idp.principal.model import Principal
from idp.principal.reauthorize import if_still_authorized

Creation = Callable[[AsyncSession], Awaitable[KeySecret]]


class OwnKeys:
    """Creates, rotates and revokes the keys of a signed-in user.

    Args:
        database: the database.
        command_queue: the single writer.
        key_factory: creates secrets.
        scope_policy: which scopes may be granted.
    """

    def __init__(
        self, database: Database, command_queue: CommandQueue, key_factory: KeyFactory, scope_policy: ScopePolicy
    ) -> None:
        self._database = database
        self._command_queue = command_queue
        self._key_factory = key_factory
        self._scope_policy = scope_policy

    async def create(
        self, caller: Principal, origin: Origin, new: NewKey, *, once: Callable[[Creation], Creation] | None = None
    ) -> KeySecret:
        """Create a key, and return it with its secret.

        Args:
            caller: the user, authorized again when the key is created.
            origin: the request's origin.
            new: the key.
            once: wraps the creation, so that a repeated request gets the same answer.

        Raises:
            ScopeNotGrantable: the user may not grant a scope.
            TooManyKeys: the user has as many live keys as the settings allow.
            WriterBusy, OutcomeUnknown, DatabaseUnavailable: as `CommandQueue.submit`.
        """
        assert caller.user is not None
        self._scope_policy.check(new.scopes, caller.user.roles)

        async def create(session: AsyncSession) -> KeySecret:
            return await service.create_key(session, self._key_factory, origin, caller.user_id, new)

        work = once(create) if once is not None else create
        return await self._command_queue.submit("create_key", if_still_authorized(caller, work))

    async def rotate(self, caller: Principal, origin: Origin, row_id: UUID, *, overlap_seconds: int = 0) -> KeySecret:
        """Replace the secret of a key; the old one is revoked now, or after the overlap.

        Raises:
            KeyNotFound: the user has no such key.
            KeyRevoked, KeyExpired: it is no longer valid.
            WriterBusy, OutcomeUnknown, DatabaseUnavailable: as `CommandQueue.submit`.
        """
        user_id = caller.user_id
        async with self._database.transaction() as session:  # an unknown key needs no command
            await service.get_key(session, user_id, row_id)

        async def work(session: AsyncSession) -> KeySecret:
            return await service.rotate_key(
                session, self._key_factory, origin, user_id, row_id, overlap_seconds=overlap_seconds
            )

        return await self._command_queue.submit("rotate_key", if_still_authorized(caller, work))

    async def revoke(self, caller: Principal, origin: Origin, row_id: UUID) -> KeyOut:
        """Revoke a key at once; revoking it again changes nothing.

        Raises:
            KeyNotFound: the user has no such key.
            OutcomeUnknown, DatabaseUnavailable: as `CommandQueue.submit`.
        """
        user_id = caller.user_id
        async with self._database.transaction() as session:  # unknown and revoked keys need no command
            key = await service.get_key(session, user_id, row_id)
        if key.is_revoked:
            return key

        async def work(session: AsyncSession) -> KeyOut:
            return await service.revoke_key(session, origin, user_id, row_id)

        return await self._command_queue.submit("revoke_key", if_still_authorized(caller, work), urgent=True)
