"""A user ends their own sessions: one of them, that of an app, or all others. The API and the pages share this."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from idp.audit.record import Origin
from idp.db.engine import Database
from idp.errors import SessionNotFound
from idp.principal.model import Principal
from idp.principal.reauthorize import reauthorize
from idp.sessions import service as sessions
from idp.users import credentials


async def end_own(database: Database, caller: Principal, origin: Origin, session_id: UUID) -> None:
    """End a session of the caller with its apps and tokens; given the `sid` of an app, only that app's.

    Raises:
        SessionNotFound: the caller has no live session of this id.
        TokenRevoked: the caller's session ended meanwhile; also UserInactive.
    """
    user_id, reason = caller.user_id, sessions.LOGGED_OUT
    async with database.transaction() as session:
        await lock_user(session, user_id, caller)
        if not (
            await sessions.end(session, origin, session_id, user_id=user_id, reason=reason)
            or await sessions.end_app(session, origin, session_id, user_id=user_id, reason=reason)
        ):
            raise SessionNotFound


async def end_others(database: Database, caller: Principal, origin: Origin) -> int:
    """End all sessions of the caller but the one of the request; return how many were live.

    Raises:
        TokenRevoked: the caller's session ended meanwhile; also UserInactive.
    """
    current = caller.credential.session_id
    keep = UUID(current) if current else None
    async with database.transaction() as session:
        await lock_user(session, caller.user_id, caller)
        return await sessions.end_all(session, origin, caller.user_id, reason=sessions.LOGGED_OUT_EVERYWHERE, keep=keep)


async def lock_user(session: AsyncSession, user_id: str, caller: Principal | None) -> None:
    """Lock the user until the commit, and authorize the caller again (decision 0029)."""
    await credentials.hold(session, user_id)
    if caller is not None:
        await reauthorize(session, caller)
