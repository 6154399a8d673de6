"""The caller, looked at once more inside the transaction that acts for them.

Who calls is decided when a request arrives. Until its change commits, an administrator may be disabled, a session may
end, an account may be claimed by its owner (C-11): a request that was held back, or that waited for a lock, would still
act. What makes or ends authority asks here, after the locks of its transaction.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from idp.errors import AdminRequired, TokenRevoked, UserInactive
from idp.principal.model import AuthMethod, Principal
from idp.principal.permissions import ADMIN

T = TypeVar("T")

# Whoever disables, claims or demotes the user holds this row: either they were first, and it is seen, or they wait.
_USER = text("""
SELECT u.is_active AND u.deleted_at IS NULL AS is_active,
       EXISTS (SELECT 1 FROM idp.user_roles r WHERE r.user_id = u.id AND r.role = :admin) AS is_admin
  FROM idp.users u WHERE u.id = :id FOR SHARE OF u
""")
_SESSION = text("SELECT ended_at IS NULL FROM idp.user_sessions WHERE id = CAST(:id AS uuid)")
_SERVICE = text("SELECT revoked_at IS NULL FROM idp.api_keys WHERE id = CAST(:id AS uuid) FOR SHARE")


async def check_standing(session: AsyncSession, principal: Principal, *, manages: bool = False) -> None:
    """Refuse a caller who is no longer what they were when the request arrived.

    Args:
        session: the transaction that is to change something. If it takes the lock of the keys (C-27), it has it.
        principal: who called.
        manages: whether a user needs the role `admin` for it.

    Raises:
        UserInactive: they were disabled or deleted meanwhile.
        AdminRequired: they administer no more.
        TokenRevoked: their session ended, or their service token was revoked.
    """
    credential = principal.credential
    if principal.user is not None:
        row = (await session.execute(_USER, {"id": principal.user.id, "admin": ADMIN})).first()
        if row is None or not row.is_active:
            raise UserInactive
        if manages and not row.is_admin:
            raise AdminRequired
    if credential.session_id is not None:
        # After the user's row: what waited there for a claim sees the sessions that it ended.
        if not (await session.execute(_SESSION, {"id": credential.session_id})).scalar():
            raise TokenRevoked
    elif (
        credential.method == AuthMethod.SERVICE_TOKEN
        and not (await session.execute(_SERVICE, {"id": credential.id})).scalar()
    ):
        raise TokenRevoked


def while_standing(
    principal: Principal, work: Callable[[AsyncSession], Awaitable[T]], *, manages: bool = False
) -> Callable[[AsyncSession], Awaitable[T]]:
    """Return `work` for a command of the single writer, done only if the caller still stands."""

    async def checked(session: AsyncSession) -> T:
        await check_standing(session, principal, manages=manages)
        return await work(session)

    return checked
