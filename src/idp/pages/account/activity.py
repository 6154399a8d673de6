"""The page /account/activity: what happened to the account, in words."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from litestar import Response, get
from litestar.di import NamedDependency
from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.audit.record import AuditRecord, Position, RecordFilter, before, redact_for_user
from idp.db.engine import Database
from idp.pages.languages import DEFAULT, LANGUAGES
from idp.pages.signed_in import OF_PERSON, SIGNED_IN_ERRORS, SignedInPages, show
from idp.principal.requests import AnyRequest
from idp.provider.models import ClientRow

_PATH, _PAGE_SIZE = "/account/activity", 30
_LAST_ID = UUID(int=2**128 - 1)


class Happening(Struct, frozen=True):
    """An audit record in words.

    Attributes:
        text: the name of its text.
        by: who did it: `you`, `admin`, `acting` (an administrator as the user), `service`, `system`; None for nobody.
        about: what it was about, such as the name of a key or app.
    """

    record: AuditRecord
    text: str
    by: str | None
    about: str | None


@get(_PATH, opt=OF_PERSON, include_in_schema=False, exception_handlers=SIGNED_IN_ERRORS)
async def activity_page(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], database: NamedDependency[Database]
) -> Response[str]:
    """Show a page of the audit records about the user, newest first."""
    visitor = await signed_in_pages.open(request)
    user_id = visitor.user.id
    async with database.transaction() as session:
        about_user = RecordFilter(user_id=user_id)
        found = await before(session, about_user, _position(request), limit=_PAGE_SIZE + 1)
        shown, names = found[:_PAGE_SIZE], await _client_names(session, found)
    return show(
        request,
        "account/activity.html",
        visitor,
        section="account_activity",
        happenings=[_in_words(redact_for_user(each, user_id), user_id, names) for each in shown],
        older=str(Position.of(shown[-1])) if len(found) > _PAGE_SIZE else None,
        is_first="before" not in request.query_params,
    )


def _position(request: AnyRequest) -> Position:
    try:
        return Position.parse(request.query_params.get("before", ""))
    except ValueError:
        return Position(clock.now() + timedelta(days=1), _LAST_ID)


async def _client_names(session: AsyncSession, records: Sequence[AuditRecord]) -> dict[str, str]:
    ids = {str(each.details["client_id"]) for each in records if "client_id" in each.details}
    if not ids:
        return {}
    rows = await session.execute(select(ClientRow.client_id, ClientRow.name).where(ClientRow.client_id.in_(ids)))
    return {row.client_id: row.name for row in rows}


def _in_words(record: AuditRecord, user_id: str, names: Mapping[str, str]) -> Happening:
    return Happening(record, _text_of(record), _by(record, user_id), _about(record.details, names))


def _text_of(record: AuditRecord) -> str:
    """Return the name of the text: of the action, or of the action with what was changed or used, if there is one."""
    action = record.action.replace(".", "_")
    variant = f"{action}_{record.details.get('change') or record.details.get('method')}"
    return variant if f"happened.{variant}" in LANGUAGES[DEFAULT].texts else action


def _by(record: AuditRecord, user_id: str) -> str | None:
    if "impersonated_by" in record.details:
        return "acting"
    if record.actor == f"user:{user_id}":
        return "you"
    kind = record.actor.partition(":")[0]
    return {"user": "admin", "service": "service", "system": "system"}.get(kind)


def _about(details: Mapping[str, Any], names: Mapping[str, str]) -> str | None:
    """Return a name, a reason that an administrator gave, or an app."""
    if "client_id" in details:
        return names.get(str(details["client_id"]), str(details["client_id"]))
    text = details.get("name") or (details.get("reason") if "minutes" in details else None)
    return text if isinstance(text, str) else None


ROUTES = (activity_page,)
