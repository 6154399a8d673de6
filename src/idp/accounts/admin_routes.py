"""GET /api/auth/admin/audit: who did what, for administrators (S3-55)."""

from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from idp import errors
from idp.audit.record import AuditRecord, recent
from idp.db.engine import Database
from idp.ops.openapi import responses
from idp.ops.paging import Limit, Offset, page
from idp.principal.guards import accepts, requires_admin
from idp.principal.model import AuthMethod

_NO_NUL = r"^[^\x00]*$"
UserFilter = Annotated[
    str | None,
    QueryParameter(max_length=200, pattern=_NO_NUL, description="Only what was done to this user."),
]
ActionFilter = Annotated[
    str | None,
    QueryParameter(max_length=100, pattern=_NO_NUL, description="Only this, such as user.created."),
]


@get(
    "/api/auth/admin/audit",
    guards=[requires_admin],
    opt=accepts(AuthMethod.ADMIN_TOKEN, AuthMethod.SERVICE_TOKEN),
    tags=["Administration"],
    summary="Who did what",
    responses=responses(errors.AdminRequired),
)
async def audit(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    limit: Limit = 100,
    offset: Offset = 0,
    user_id: UserFilter = None,
    action: ActionFilter = None,
) -> Response[list[AuditRecord]]:
    """Return a page of audit records, newest first."""
    async with database.transaction() as session:
        items, total = await recent(session, limit=limit, offset=offset, user_id=user_id, action=action)
    return page(request, items, total=total, limit=limit, offset=offset)


ROUTES = (audit,)
