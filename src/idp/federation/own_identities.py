"""A user's own identities at other providers: list, link, unlink. The API and the pages share this."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from idp.accounts.foreign_users import ForeignUsers
from idp.apikeys.service import lock
from idp.audit.record import Origin
from idp.db.engine import Database
from idp.errors import IdentityNotFound, LastWayIn
from idp.federation.login_state import FederatedJourney
from idp.federation.models import FederatedSessionRow
from idp.principal.model import Principal
from idp.principal.reauthorize import reauthorize
from idp.sessions import service as sessions
from idp.sessions.models import SessionRow
from idp.users import administration, credentials, identities
from idp.users.models import IdentityRow

_UNLINKED = "identity_unlinked"


async def unlink(
    database: Database, foreign_users: ForeignUsers, caller: Principal, origin: Origin, identity_id: UUID
) -> None:
    """Unlink an identity, take away what its claim rules gave, and end the other sessions that it began.

    Raises:
        IdentityNotFound: the caller has no such identity.
        LastWayIn: it is the last way to sign in.
        TokenRevoked: the caller's session ended meanwhile; also UserInactive.
    """
    user_id = caller.user_id
    async with database.transaction() as session:
        await lock(session)
        await administration.hold(session, user_id)
        await reauthorize(session, caller)
        linked = await identities.list_of(session, user_id)
        found = [row for row in linked if row.id == identity_id]
        if not found:
            raise IdentityNotFound
        holder = await credentials.find_by_id(session, user_id)
        if len(linked) == 1 and (holder is None or holder.password_hash is None):
            raise LastWayIn
        await foreign_users.unlink(session, origin, found[0])
        await _end_sessions(session, origin, found[0], keep=caller.credential.session_id)


def link_journey(caller: Principal, *, return_to: str) -> FederatedJourney:
    """Return the journey to a provider that links its identity to the caller's account.

    Args:
        caller: the user, whose session must still be there when the provider answers.
        return_to: a path of this service to open afterwards.
    """
    return FederatedJourney(
        "link", return_to=return_to, user_id=caller.user_id, session_id=caller.credential.session_id
    )


async def _end_sessions(session: AsyncSession, origin: Origin, identity: IdentityRow, *, keep: str | None) -> None:
    """End the sessions that a user began with an identity: who unlinks it may not trust it any more."""
    began = (
        select(SessionRow.id)
        .join(FederatedSessionRow, FederatedSessionRow.session_id == SessionRow.id)
        .where(
            SessionRow.user_id == identity.user_id,
            FederatedSessionRow.subject == identity.subject,
            SessionRow.ended_at.is_(None),
        )
    )
    for session_id in (await session.scalars(began)).all():
        if str(session_id) != keep:
            await sessions.end(session, origin, session_id, user_id=identity.user_id, reason=_UNLINKED)
