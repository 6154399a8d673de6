"""Writing and reading audit records."""

from datetime import datetime
from typing import Any
from uuid import UUID

from litestar import Request
from msgspec import Struct
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from idp.audit.models import AuditRow
from idp.principal.model import Principal

_TEXT_LIMIT = 512  # a record must be written whatever the client sent


class Origin(Struct, frozen=True):
    """Who acts, and from where.

    Attributes:
        actor: `user:<id>`, `service:<id>`, `anonymous`, or `system` for what nobody asked for.
    """

    actor: str
    ip_address: str | None = None
    user_agent: str | None = None
    request_id: str | None = None


SYSTEM = Origin(actor="system")


def origin_of(request: Request[Any, Any, Any]) -> Origin:
    """Return who sent a request, and from where. Forwarded addresses count only from trusted proxies."""
    principal = request.scope.get("user")
    return Origin(
        actor=principal.actor if isinstance(principal, Principal) else "anonymous",
        ip_address=request.client.host if request.client else None,
        user_agent=_storable(request.headers.get("user-agent")),
        request_id=request.scope.get("request_id"),  # type: ignore[arg-type]
    )


def _storable(text: str | None) -> str | None:
    return text.replace("\x00", "")[:_TEXT_LIMIT] if text else None


def record(
    session: AsyncSession,
    origin: Origin,
    *,
    action: str,
    user_id: str | None = None,
    target: str | None = None,
    details: dict[str, Any] | None = None,
) -> None:
    """Add a record to the caller's transaction.

    Args:
        session: the transaction that makes the change.
        origin: who acts.
        action: what was done, `thing.verb`, such as `team.renamed`.
        user_id: whom it was done to.
        target: what else it was done to, such as `team:<id>`.
        details: names of what changed, before and after; never a secret.
    """
    session.add(
        AuditRow(
            action=action,
            actor=origin.actor,
            user_id=user_id,
            target=target,
            details=details or {},
            ip_address=origin.ip_address,
            user_agent=origin.user_agent,
            request_id=origin.request_id,
        )
    )


class AuditRecord(Struct, frozen=True):
    """One record, as administrators read it."""

    id: UUID
    timestamp: datetime
    action: str
    actor: str
    user_id: str | None
    target: str | None
    details: dict[str, Any]
    ip_address: str | None
    user_agent: str | None
    request_id: str | None


async def recent(
    session: AsyncSession,
    *,
    limit: int,
    offset: int,
    user_id: str | None = None,
    action: str | None = None,
    target: str | None = None,
) -> tuple[list[AuditRecord], int]:
    """Return a page of records, newest first, and how many there are in all."""
    conditions = []
    if user_id is not None:
        conditions.append(AuditRow.user_id == user_id)
    if action is not None:
        conditions.append(AuditRow.action == action)
    if target is not None:
        conditions.append(AuditRow.target == target)
    total = await session.scalar(select(func.count()).select_from(AuditRow).where(*conditions))
    rows = await session.scalars(
        select(AuditRow)
        .where(*conditions)
        .order_by(AuditRow.timestamp.desc(), AuditRow.id.desc())
        .limit(limit)
        .offset(offset)
    )
    names = AuditRecord.__struct_fields__
    return [AuditRecord(**{name: getattr(row, name) for name in names}) for row in rows], total or 0
