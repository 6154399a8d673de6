"""GET /api/auth/admin/audit: audit records for administrators (S3-55)."""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from msgspec import structs

from idp import errors
from idp.audit.record import AuditRecord, Position, RecordFilter, before, recent
from idp.db.engine import Database
from idp.ops.openapi import responses
from idp.ops.paging import Cursor, Limit, Offset, page, page_at_cursor
from idp.ops.problems import invalid
from idp.principal.guards import accepts, read_by_shared_secret_admins, requires_admin
from idp.principal.model import AuthMethod

_NO_NUL = r"^[^\x00]*$"
UserFilter = Annotated[
    str | None,
    QueryParameter(max_length=200, pattern=_NO_NUL, description="Only records about this user."),
]
ActionFilter = Annotated[
    str | None,
    QueryParameter(max_length=100, pattern=_NO_NUL, description="Only this action, such as user.created."),
]
ActorFilter = Annotated[
    str | None,
    QueryParameter(max_length=600, pattern=_NO_NUL, description="Only this actor: user:<id>, service:<id>, system."),
]
TargetFilter = Annotated[
    str | None,
    QueryParameter(max_length=600, pattern=_NO_NUL, description="Only this target, such as team:<id>."),
]
# Text, because the framework accepts more time formats than RFC 3339, such as numbers.
Since = Annotated[
    str | None, QueryParameter(max_length=40, format="date-time", description="Only from this time on (RFC 3339).")
]
Until = Annotated[
    str | None, QueryParameter(max_length=40, format="date-time", description="Only before this time (RFC 3339).")
]


@get(
    "/api/auth/admin/audit",
    guards=[requires_admin],
    opt=accepts(AuthMethod.ADMIN_TOKEN, AuthMethod.SERVICE_TOKEN) | read_by_shared_secret_admins(),
    tags=["Administration"],
    summary="List audit records",
    responses=responses(errors.AdminRequired, errors.FreshLoginRequired, errors.ValidationFailed),
)
async def audit(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    limit: Limit = 100,
    offset: Offset = 0,
    cursor: Cursor = None,
    user_id: UserFilter = None,
    action: ActionFilter = None,
    actor: ActorFilter = None,
    target: TargetFilter = None,
    since: Since = None,
    until: Until = None,
) -> Response[list[AuditRecord]]:
    """Return a page of audit records, newest first.

    Pass `X-Next-Cursor` of a page as `cursor` of the next one, with the same filters: no record is repeated, even if
    new ones are added. `offset` counts from the newest and suits only the first pages.
    """
    requested = RecordFilter(user_id, action, actor, target, _instant("since", since), _instant("until", until))
    if cursor is None:
        async with database.transaction() as session:
            items, total = await recent(session, requested, limit=limit, offset=offset)
        last = str(Position.of(items[-1])) if items else None
        return page(request, _redact(request, items), total=total, limit=limit, offset=offset, cursor=last)
    if offset:
        raise invalid(["query", "offset"], "Use either `cursor` or `offset`, not both.")
    position = _position(cursor)
    async with database.transaction() as session:
        records = await before(session, requested, position, limit=limit + 1)
    items = records[:limit]
    following = str(Position.of(items[-1])) if len(records) > limit else None
    return page_at_cursor(request, _redact(request, items), limit=limit, cursor=following)


def _redact(request: Request[Any, Any, Any], records: list[AuditRecord]) -> list[AuditRecord]:
    """Remove session ids for a shared-secret token, whose holders could forge tokens for them."""
    if not request.user.credential.shared_secret:
        return records
    return [structs.replace(each, details=_without_sessions(each.details)) for each in records]


def _without_sessions(details: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in details.items() if name not in {"session_id", "sessions"}}


def _position(cursor: str) -> Position:
    try:
        return Position.parse(cursor)
    except ValueError:
        raise invalid(["query", "cursor"], "Send the X-Next-Cursor of the previous page unchanged.") from None


def _instant(name: str, given: str | None) -> datetime | None:
    if given is None:
        return None
    try:
        moment = msgspec.convert(given, datetime)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        pass
    raise invalid(["query", name], "Send a time with an offset, such as 2026-01-31T00:00:00Z.")


ROUTES = (audit,)
