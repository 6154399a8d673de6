"""Live sessions of a user, with the apps that each signed in to."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct
from sqlalchemy import and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.sessions import apps
from idp.sessions.apps import AppRecord
from idp.sessions.models import SessionRow


class SessionRecord(Struct, frozen=True):
    """A session, as shown to its owner and administrators.

    Attributes:
        current: whether the request comes from it, or from one of its apps.
        acr: authentication context class.
        actor_id: the administrator who acts as the user in it; None for the user.
        actor_reason: why.
    """

    session_id: UUID
    created_at: datetime
    last_activity: datetime
    expires_at: datetime
    device_info: Any
    user_agent: str | None
    ip_address: str | None
    amr: tuple[str, ...]
    current: bool
    apps: tuple[AppRecord, ...]
    acr: str = ""
    actor_id: str | None = None
    actor_reason: str | None = None


async def list_live(session: AsyncSession, user_id: str, *, current: str | None) -> list[SessionRecord]:
    """Return the live sessions of a user, newest first.

    A browser's session that expired is listed as long as one of its apps goes on, because ending it ends the app.

    Args:
        session: the caller's transaction.
        user_id: the user.
        current: the session of the request.
    """
    now, of_apps = clock.now(), await apps.find(session, user_id)
    is_live = and_(SessionRow.expires_at > now, SessionRow.idle_expires_at > now)
    rows = await session.scalars(
        select(SessionRow)
        .where(
            SessionRow.user_id == user_id,
            SessionRow.parent_id.is_(None),
            SessionRow.ended_at.is_(None),
            or_(is_live, SessionRow.id.in_({each.parent_id for each in of_apps if each.is_live})),
        )
        .order_by(SessionRow.created_at.desc(), SessionRow.id.desc())
    )
    return [_record(row, [each for each in of_apps if each.parent_id == row.id], current) for row in rows]


def _record(row: SessionRow, of_apps: Sequence[AppRecord], current: str | None) -> SessionRecord:
    ids = {str(row.id), *(str(each) for app in of_apps for each in app.session_ids)}
    return SessionRecord(
        session_id=row.id,
        created_at=row.created_at,
        last_activity=row.last_seen_at,
        expires_at=min(row.expires_at, row.idle_expires_at),
        device_info=row.device_info,
        user_agent=row.user_agent,
        ip_address=row.ip_address,
        amr=tuple(row.amr),
        current=current in ids,
        apps=tuple(of_apps),
        acr=row.acr,
        actor_id=row.actor_id,
        actor_reason=row.actor_reason,
    )
