"""Check the caller's authority again inside the transaction that makes a change.

A request is authenticated when it arrives. Before its change commits, an administrator may be disabled, a session may
end, a team administrator may be removed, an account may be claimed by its owner (C-11). Without a second check, a
request that was delayed or waited for a lock would still act. Every change calls this module after the locks of its
transaction (`docs/decisions/0029-reauthorization-inside-the-transaction.md`), and a test walks every route that changes
something.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from idp.errors import AdminRequired, TeamAdminRequired, TokenExpired, TokenRevoked, UserInactive
from idp.principal.model import AuthMethod, Principal
from idp.principal.permissions import ADMIN, IDP_MANAGE

T = TypeVar("T")

# One statement each: PostgreSQL re-reads a locked row after waiting for it, but not joined rows. FOR SHARE keeps the
# authority until the commit.
_USER = text("SELECT is_active AND deleted_at IS NULL FROM idp.users WHERE id = :id FOR SHARE")
_ROLE = text("SELECT TRUE FROM idp.user_roles WHERE user_id = :id AND role = :admin FOR SHARE")
_TEAM = text("""
SELECT TRUE FROM idp.team_memberships m JOIN idp.teams t ON t.id = m.team_id
 WHERE m.user_id = :id AND m.team_id = :team AND m.role = :admin AND t.is_active FOR SHARE
""")
_SESSION = text("SELECT ended_at IS NULL FROM idp.user_sessions WHERE id = CAST(:id AS uuid) FOR SHARE")
_IDENTITY = text("""
SELECT TRUE FROM idp.identities WHERE user_id = :id AND provider = :provider AND subject = :subject FOR SHARE
""")
_SERVICE = text("""
SELECT revoked_at IS NULL AS is_live, expires_at <= clock_timestamp() AS is_over, :scope = ANY(scopes) AS manages
  FROM idp.api_keys WHERE id = CAST(:id AS uuid) FOR SHARE
""")


async def reauthorize(
    session: AsyncSession, principal: Principal, *, manages: bool = False, team: UUID | None = None
) -> None:
    """Refuse a caller who has lost the required authority since the request arrived.

    Args:
        session: the transaction of the change, which already holds its locks (the keys' lock first, C-27).
        principal: the caller.
        manages: require the role `admin` of a user, the scope `idp:manage` of a service.
        team: a team whose administrators are allowed too.

    Raises:
        UserInactive: the user was disabled or deleted.
        AdminRequired: the caller is no longer an administrator.
        TeamAdminRequired: nor an administrator of this team.
        TokenRevoked: the session ended, the identity was unlinked, or the service token was revoked.
        TokenExpired: the service token expired.
    """
    credential = principal.credential
    if principal.user is not None:
        await _check_user(session, principal.user.id, manages=manages, team=team)
        # These two after the user's row, so that a request that waited for a claim sees what the claim ended.
        if credential.identity is not None:
            await _check_identity(session, principal.user.id, *credential.identity)
    if credential.session_id is not None:
        if not (await session.execute(_SESSION, {"id": credential.session_id})).scalar():
            raise TokenRevoked
    elif credential.method == AuthMethod.SERVICE_TOKEN:
        await _check_service(session, credential.id, manages=manages or team is not None)


async def require_session(session: AsyncSession, user_id: str, session_id: UUID | str | None) -> None:
    """Refuse what a session began if it has ended since, in a transaction that holds its user.

    Args:
        session: the transaction of the change.
        user_id: the session's user.
        session_id: None for a credential without a session.

    Raises:
        UserInactive: the user was disabled or deleted.
        TokenRevoked: the session ended.
    """
    await _check_user(session, user_id, manages=False, team=None)
    if session_id is not None and not (await session.execute(_SESSION, {"id": str(session_id)})).scalar():
        raise TokenRevoked


async def _check_user(session: AsyncSession, user_id: str, *, manages: bool, team: UUID | None) -> None:
    if not (await session.execute(_USER, {"id": user_id})).scalar():
        raise UserInactive
    if not manages and team is None:
        return
    parameters = {"id": user_id, "admin": ADMIN}
    if (await session.execute(_ROLE, parameters)).scalar():
        return
    if team is None:
        raise AdminRequired
    if not (await session.execute(_TEAM, {**parameters, "team": team})).scalar():
        raise TeamAdminRequired


async def _check_identity(session: AsyncSession, user_id: str, provider: str, subject: str) -> None:
    parameters = {"id": user_id, "provider": provider, "subject": subject}
    if not (await session.execute(_IDENTITY, parameters)).scalar():
        raise TokenRevoked


async def _check_service(session: AsyncSession, token_id: str | None, *, manages: bool) -> None:
    row = (await session.execute(_SERVICE, {"id": token_id, "scope": IDP_MANAGE})).one_or_none()
    if row is None or not row.is_live:
        raise TokenRevoked
    if row.is_over:
        raise TokenExpired
    if manages and not row.manages:
        raise AdminRequired


def if_still_authorized(
    principal: Principal, work: Callable[[AsyncSession], Awaitable[T]], *, manages: bool = False
) -> Callable[[AsyncSession], Awaitable[T]]:
    """Wrap `work` for the single writer: it runs only if the caller is still authorized."""

    async def checked(session: AsyncSession) -> T:
        await reauthorize(session, principal, manages=manages)
        return await work(session)

    return checked
