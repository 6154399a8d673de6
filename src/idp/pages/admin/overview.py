"""The page /admin: the state of the service, and what needs attention."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from litestar import Response
from litestar.di import NamedDependency
from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.db.engine import Database
from idp.ops.health import HealthChecks
from idp.pages.admin.routes import admin_page
from idp.pages.signed_in import SignedInPages, show
from idp.principal.permissions import ADMIN
from idp.principal.requests import AnyRequest

# Of large tables the planner's estimate (-1 before the first ANALYZE), and up to a thousand rows.
_NUMBERS = text("""
SELECT (SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'idp.users'::regclass) AS users,
       (SELECT count(*) FROM (SELECT FROM idp.users LIMIT 1000) u) AS some_users,
       (SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'idp.audit_logs'::regclass) AS records,
       (SELECT count(*) FROM (SELECT FROM idp.audit_logs LIMIT 1000) a) AS some_records,
       (SELECT count(*) FROM idp.user_roles r JOIN idp.users u ON u.id = r.user_id
         WHERE r.role = :admin AND u.is_active AND u.deleted_at IS NULL) AS admins,
       (SELECT count(*) FROM (SELECT FROM idp.outbox_unpublished WHERE parked_at IS NOT NULL LIMIT 1000) p) AS parked,
       (SELECT count(*) FROM idp.webhooks WHERE NOT is_active AND disabled_reason <> 'admin') AS webhooks_off,
       (SELECT count(*) FROM idp.api_keys WHERE kind = 'service_token' AND revoked_at IS NULL
           AND expires_at BETWEEN now() AND now() + interval '14 days') AS expiring,
       (SELECT min(signs_from) FROM idp.signing_keys WHERE expires_at IS NULL) AS key_since
""")
_FEW_ADMINS = 2
_OLD_KEY = timedelta(days=365)


class Attention(Struct, frozen=True):
    """Something that an administrator should look at.

    Attributes:
        name: of its text.
        number: in the text.
        path: where to look.
    """

    name: str
    number: int
    path: str | None = None


@admin_page("/admin")
async def overview(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    health_checks: NamedDependency[HealthChecks],
) -> Response[str]:
    """Show the state of the service, with a way to each page."""
    visitor = await signed_in_pages.open(request, admin=True)
    async with database.transaction() as session:
        numbers = await _numbers(session)
    states = await health_checks.states()
    return show(
        request,
        "admin/overview.html",
        visitor,
        section="admin_overview",
        numbers=numbers,
        states=states,
        attention=_attention(numbers),
    )


async def _numbers(session: AsyncSession) -> dict[str, Any]:
    found = dict((await session.execute(_NUMBERS, {"admin": ADMIN})).mappings().one())
    return found | {name: max(found[name], found[f"some_{name}"]) for name in ("users", "records")}


def _attention(numbers: Mapping[str, Any]) -> list[Attention]:
    since = numbers["key_since"]
    days = (clock.now() - since).days if since is not None else 0
    found = (
        (numbers["admins"] < _FEW_ADMINS, Attention("one_admin", numbers["admins"], "/admin/users?role=admin")),
        (numbers["parked"] > 0, Attention("parked", numbers["parked"])),
        (numbers["webhooks_off"] > 0, Attention("webhooks", numbers["webhooks_off"])),
        (numbers["expiring"] > 0, Attention("expiring", numbers["expiring"], "/admin/keys")),
        (days > _OLD_KEY.days, Attention("old_key", days)),
    )
    return [each for is_so, each in found if is_so]


ROUTES = (overview,)
