"""Writes and lists audit records."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from advanced_alchemy.filters import BeforeAfter, LimitOffset, OnBeforeAfter, OrderBy
from litestar import Request
from msgspec import Struct, structs
from sqlalchemy import tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from idp.audit.models import AuditRow
from idp.db.repository import Repository
from idp.plain_text import without_unseen
from idp.principal.model import Principal

_TEXT_LIMIT = 512  # for user agents of any length
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_IDENTIFIED = ("user:", "service:")
_POSITION_BYTES = 24  # microseconds since 1970, and an id


class Origin(Struct, frozen=True):
    """The actor of a change, and the request it came with.

    Attributes:
        actor: `user:<id>`, `service:<id>`, `anonymous`, or `system` for the service itself.
        impersonator: who acts as this user, by the id at another issuer; records name it in `details`.
    """

    actor: str
    ip_address: str | None = None
    user_agent: str | None = None
    request_id: str | None = None
    impersonator: str | None = None


# For a statement that writes its own record; the selected columns follow.
INSERT_RECORD = """
INSERT INTO idp.audit_logs (id, timestamp, action, actor, user_id, target, details, ip_address, user_agent, request_id)
"""
SYSTEM = Origin(actor="system")
BY_CLERK = Origin(actor="service:clerk")  # its webhooks, and the comparison with its list


def origin_of(request: Request[Any, Any, Any]) -> Origin:
    """Return the origin of a request. Forwarded addresses are used only if a trusted proxy sent them."""
    return origin_of_scope(request.scope)


def origin_of_scope(scope: Mapping[str, Any]) -> Origin:
    """Return the origin of a request, from its ASGI scope."""
    principal, client = scope.get("user"), scope["client"]
    agent = next((value for name, value in scope["headers"] if name == b"user-agent"), None)
    return Origin(
        actor=principal.actor if isinstance(principal, Principal) else "anonymous",
        ip_address=client[0] if client else None,
        user_agent=None if agent is None else _storable(agent.decode("latin-1")),
        request_id=scope.get("request_id"),
        impersonator=principal.credential.impersonator if isinstance(principal, Principal) else None,
    )


def _storable(text: str | None) -> str | None:
    """Return a header without control and bidirectional characters, which would change how a terminal shows it."""
    return without_unseen(text[:_TEXT_LIMIT]) if text else None


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
        session: the transaction of the change.
        origin: the actor and the request.
        action: `noun.verb`, such as `team.renamed`.
        user_id: the user affected.
        target: the other object affected, such as `team:<id>`.
        details: the values before and after; never a secret.
    """
    session.add(
        AuditRow(
            action=action,
            actor=origin.actor,
            user_id=user_id,
            target=target,
            details=(details or {}) | ({"impersonated_by": origin.impersonator} if origin.impersonator else {}),
            ip_address=origin.ip_address,
            user_agent=origin.user_agent,
            request_id=origin.request_id,
        )
    )


class AuditRecord(Struct, frozen=True):
    """An audit record."""

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


def redact_for_user(record: AuditRecord, user_id: str) -> AuditRecord:
    """Return a record for a user who is not an administrator.

    The address, user agent and request id of other actors are personal data, and are left out.
    """
    if record.actor == f"user:{user_id}" or not record.actor.startswith(_IDENTIFIED):
        return record
    return structs.replace(record, ip_address=None, user_agent=None, request_id=None)


class RecordFilter(Struct, frozen=True):
    """A filter for records; None matches all.

    Attributes:
        user_id: the user affected.
        action: such as `team.renamed`.
        actor: such as `user:<id>`.
        target: the other object affected.
        since: inclusive.
        until: exclusive.
    """

    user_id: str | None = None
    action: str | None = None
    actor: str | None = None
    target: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Position(Struct, frozen=True):
    """A position in the list, which stays valid when records are added. Its text is a cursor."""

    timestamp: datetime
    id: UUID

    @classmethod
    def of(cls, record: AuditRecord) -> "Position":
        return cls(record.timestamp, record.id)

    @classmethod
    def parse(cls, cursor: str) -> "Position":
        """Parse a cursor.

        Raises:
            ValueError: it is not a cursor.
        """
        raw = base64.b64decode(cursor, altchars=b"-_", validate=True)
        if len(raw) != _POSITION_BYTES:
            raise ValueError("wrong length")
        try:
            return cls(_EPOCH + timedelta(microseconds=int.from_bytes(raw[:8])), UUID(bytes=raw[8:]))
        except OverflowError:
            raise ValueError("time out of range") from None

    def __str__(self) -> str:
        microseconds = (self.timestamp - _EPOCH) // timedelta(microseconds=1)
        return base64.urlsafe_b64encode(max(0, microseconds).to_bytes(8) + self.id.bytes).decode()


class AuditRepository(Repository[AuditRow]):
    """Audit records, newest first."""

    model_type = AuditRow
    ordering = (OrderBy("timestamp", "desc"), OrderBy("id", "desc"))


async def recent(
    session: AsyncSession, criteria: RecordFilter, *, limit: int, offset: int
) -> tuple[list[AuditRecord], int]:
    """Return a page of records, newest first, and their total number."""
    ranges, equal = _conditions(criteria)
    rows, total = await AuditRepository(session).page(*ranges, limit=limit, offset=offset, **equal)
    return [_out(row) for row in rows], total


async def before(
    session: AsyncSession, criteria: RecordFilter, position: Position | None, *, limit: int
) -> list[AuditRecord]:
    """Return the records after a position (None: all), newest first. Records added meanwhile cause no duplicates."""
    ranges, equal = _conditions(criteria)
    place = (
        () if position is None else (tuple_(AuditRow.timestamp, AuditRow.id) < tuple_(position.timestamp, position.id),)
    )
    repository = AuditRepository(session)
    rows = await repository.get_many(*ranges, *place, *repository.ordering, LimitOffset(limit, 0), **equal)
    return [_out(row) for row in rows]


def _conditions(criteria: RecordFilter) -> tuple[tuple[OnBeforeAfter, BeforeAfter], dict[str, Any]]:
    ranges = (
        OnBeforeAfter("timestamp", on_or_before=None, on_or_after=criteria.since),
        BeforeAfter("timestamp", before=criteria.until, after=None),
    )
    names = ("user_id", "action", "actor", "target")
    return ranges, {name: value for name in names if (value := getattr(criteria, name)) is not None}


def _out(row: AuditRow) -> AuditRecord:
    return AuditRecord(**{name: getattr(row, name) for name in AuditRecord.__struct_fields__})
