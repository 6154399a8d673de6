"""Changes of users by administrators, as the API and the administration pages make them.

Every function runs one transaction, which authorizes the administrator again after its locks
(docs/decisions/0029-reauthorization-inside-the-transaction.md).
"""

from uuid import UUID

from msgspec import Struct

from idp.apikeys import service as api_keys
from idp.apikeys.shapes import KeyOut
from idp.audit.record import Origin
from idp.db.engine import Database
from idp.errors import SessionNotFound
from idp.lifecycle import offboard
from idp.lifecycle.offboard import RevokedCounts
from idp.principal.model import Principal
from idp.principal.reauthorize import reauthorize
from idp.sessions import service as sessions
from idp.users import administration
from idp.users.shapes import ManagedUser, UserChange


class By(Struct, frozen=True):
    """Who makes a change, and with which request."""

    principal: Principal
    origin: Origin

    @property
    def is_person(self) -> bool:
        """Whether a person makes it, who must leave an active administrator."""
        return self.principal.user is not None


async def change(database: Database, by: By, user_id: str, requested: UserChange) -> ManagedUser:
    """Change a user; disabling revokes all credentials.

    Args:
        database: the database.
        by: the administrator.
        user_id: the user.
        requested: the changes.

    Raises:
        UserNotFound: there is no such user, or it was deleted.
        LastAdmin: the user is the last active administrator.
        AdminRequired: the caller is no longer an administrator; see also `reauthorize`.
    """
    async with database.transaction() as session:
        await api_keys.lock(session)
        await administration.hold(session, user_id)
        await reauthorize(session, by.principal, manages=True)
        if requested.is_active is False:
            await offboard.disable(session, by.origin, user_id, keep_an_admin=by.is_person)
        return await administration.change(session, by.origin, user_id, requested, keep_an_admin=by.is_person)


async def delete(database: Database, by: By, user_id: str) -> RevokedCounts:
    """Delete a user with keys and sessions. Arguments and errors as `change`."""
    async with database.transaction() as session:
        await api_keys.lock(session)
        await administration.hold(session, user_id)
        await reauthorize(session, by.principal, manages=True)
        return await offboard.delete(session, by.origin, user_id, keep_an_admin=by.is_person)


async def end_sessions(database: Database, by: By, user_id: str) -> int:
    """End all sessions of a user, and return their number. Arguments and errors as `change`."""
    async with database.transaction() as session:
        await administration.hold(session, user_id)
        await reauthorize(session, by.principal, manages=True)
        return await sessions.end_all(session, by.origin, user_id, reason=sessions.SIGNED_OUT_BY_ADMIN)


async def end_session(database: Database, by: By, user_id: str, session_id: UUID) -> None:
    """End a session of a user with its apps. Arguments and errors as `change`.

    Raises:
        SessionNotFound: the user has no such session, or it has ended.
    """
    async with database.transaction() as session:
        await administration.hold(session, user_id)
        await reauthorize(session, by.principal, manages=True)
        reason = sessions.SIGNED_OUT_BY_ADMIN
        if not await sessions.end(session, by.origin, session_id, user_id=user_id, reason=reason):
            raise SessionNotFound


async def revoke_key(database: Database, by: By, user_id: str, row_id: UUID) -> KeyOut:
    """Revoke an API key of a user. Arguments and errors as `change`.

    Raises:
        KeyNotFound: the user has no such key.
    """
    async with database.transaction() as session:
        await api_keys.lock(session)
        await administration.hold(session, user_id)
        await reauthorize(session, by.principal, manages=True)
        return await api_keys.revoke_key(session, by.origin, user_id, row_id)
