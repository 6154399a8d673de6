"""The caller, looked at once more inside the transaction that acts for them.

Who calls is decided when a request arrives. Until its change commits, an administrator may be disabled, a session may
end, a team administrator may be removed, an account may be claimed by its owner (C-11): a request that was held back,
or that waited for a lock, would still act. Every change asks here, after the locks of its transaction
(`docs/decisions/0029-reauthorization-inside-the-transaction.md`), and a test walks every route that changes something.
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

# One statement each: what was locked is read again after waiting for it, what is only joined is not. And each locks
# what it reads, so that authority which is found here lasts until the commit.
_USER = text("SELECT is_active AND deleted_at IS NULL FROM idp.users WHERE id = :id FOR SHARE")
_ROLE = text("SELECT TRUE FROM idp.user_roles WHERE user_id = :id AND role = :admin FOR SHARE")
_TEAM = text("""
SELECT TRUE FROM idp.team_memberships m JOIN idp.teams t ON t.id = m.team_id
 WHERE m.user_id = :id AND m.team_id = :team AND m.role = :admin AND t.is_active FOR SHARE
""")
_SESSION = text("SELECT ended_at IS NULL FROM idp.user_sessions WHERE id = CAST(:id AS uuid) FOR SHARE")
_SERVICE = text("""
SELECT revoked_at IS NULL AS is_live, expires_at <= clock_timestamp() AS is_over, :scope = ANY(scopes) AS manages
  FROM idp.api_keys WHERE id = CAST(:id AS uuid) FOR SHARE
""")


async def reauthorize(
    session: AsyncSession, principal: Principal, *, manages: bool = False, team: UUID | None = None
) -> None:
    """Refuse a caller who is no longer what they were when the request arrived.

    Args:
        session: the transaction that is to change something. What it locks, the keys first (C-27), it has locked.
        principal: who called.
        manages: whether a user needs the role `admin` for it, and a service the scope `idp:manage`.
        team: a team whose own administrators may do it, too.

    Raises:
        UserInactive: they were disabled or deleted meanwhile.
        AdminRequired: they are no administrator any more.
        TeamAdminRequired: nor do they administer this team.
        TokenRevoked: their session ended, or their service token was revoked.
        TokenExpired: their service token expired.
    """
    credential = principal.credential
    if principal.user is not None:
        await _check_user(session, principal.user.id, manages=manages, team=team)
    if credential.session_id is not None:
        # After the user's row: what waited there for a claim sees the sessions that it ended.
        if not (await session.execute(_SESSION, {"id": credential.session_id})).scalar():
            raise TokenRevoked
    elif credential.method == AuthMethod.SERVICE_TOKEN:
        await _check_service(session, credential.id, manages=manages or team is not None)


async def _check_user(session: AsyncSession, user_id: str, *, manages: bool, team: UUID | None) -> None:
    if not (await session.execute(_USER, {"id": user_id})).scalar():
        raise UserInactive
    if not manages and team is None:
        return
    who = {"id": user_id, "admin": ADMIN}
    if (await session.execute(_ROLE, who)).scalar():
        return
    if team is None:
        raise AdminRequired
    if not (await session.execute(_TEAM, {**who, "team": team})).scalar():
        raise TeamAdminRequired


async def _check_service(session: AsyncSession, token_id: str | None, *, manages: bool) -> None:
    row = (await session.execute(_SERVICE, {"id": token_id, "scope": IDP_MANAGE})).one_or_none()
    if row is None or not row.is_live:
        raise TokenRevoked
    if row.is_over:
        raise TokenExpired
    if manages and not row.manages:
        raise AdminRequired


def reauthorized(
    principal: Principal, work: Callable[[AsyncSession], Awaitable[T]], *, manages: bool = False
) -> Callable[[AsyncSession], Awaitable[T]]:
    """Return `work` for a command of the single writer, done only if the caller still stands."""

    async def checked(session: AsyncSession) -> T:
        await reauthorize(session, principal, manages=manages)
        return await work(session)

    return checked
