"""The page /admin/audit: audit records, and whether they match the hash chain."""

from datetime import UTC, datetime

from litestar.di import NamedDependency
from msgspec import Struct, structs
from sqlalchemy.ext.asyncio import AsyncSession

from idp.audit.links import Head, find_head
from idp.audit.record import AuditRecord, Position, RecordFilter, before
from idp.audit.verify import verify_records
from idp.db.engine import Database
from idp.errors import ValidationFailed
from idp.ops.problems import invalid
from idp.pages.admin.audited_users import actor_of, addresses_in, id_of
from idp.pages.admin.routes import PAGE_SIZE, Page, admin_page, link, problem_text, text_of, wants_part
from idp.pages.signed_in import SignedInPages, show
from idp.principal.requests import AnyRequest

_PATH = "/admin/audit"
_FILTERS = ("action", "actor", "target", "user", "since", "until")


class ChainState(Struct, frozen=True):
    """What is proven about the records of a page.

    Attributes:
        head: the last link of the chain; None without one.
        intact: number of records whose link matches.
        broken: ids of records whose link does not match.
        unlinked: number of records without a link, which are the newest of the last second.
    """

    head: Head | None
    intact: int
    broken: list[str]
    unlinked: int


@admin_page(_PATH)
async def audit(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], database: NamedDependency[Database]
) -> Page:
    """List audit records, newest first, and check their links of the hash chain."""
    visitor = await signed_in_pages.open(request, admin=True)
    kept, problem = {name: text_of(request, name) for name in _FILTERS}, None
    records: list[AuditRecord] = []
    following, state, addresses = None, None, {}
    try:
        requested, position = _filter(kept), _position(text_of(request, "cursor"))
    except ValidationFailed as error:
        problem = problem_text(request, error)
    else:
        async with database.transaction() as session:
            found = await before(session, await _with_ids(session, requested), position, limit=PAGE_SIZE + 1)
            records = found[:PAGE_SIZE]
            state = await _state_of(session, records)
            addresses = await addresses_in(session, records)
        following = link(_PATH, **kept, cursor=str(Position.of(records[-1]))) if len(found) > PAGE_SIZE else None
    return show(
        request,
        "admin/_audit.html" if wants_part(request) else "admin/audit.html",
        visitor,
        section="admin_audit",
        status=422 if problem else 200,
        filters=kept,
        problem=problem,
        records=records,
        addresses=addresses,
        chain=state,
        first=link(_PATH, **kept) if text_of(request, "cursor") else None,
        following=following,
    )


def _filter(given: dict[str, str]) -> RecordFilter:
    return RecordFilter(
        user_id=given["user"] or None,
        action=given["action"] or None,
        actor=given["actor"] or None,
        target=given["target"] or None,
        since=_moment("since", given["since"]),
        until=_moment("until", given["until"]),
    )


async def _with_ids(session: AsyncSession, entered: RecordFilter) -> RecordFilter:
    """Replace addresses of users by what records have in their place."""
    return structs.replace(
        entered,
        user_id=await id_of(session, entered.user_id) if entered.user_id else None,
        actor=await actor_of(session, entered.actor) if entered.actor else None,
        target=await actor_of(session, entered.target) if entered.target else None,
    )


def _moment(name: str, text: str) -> datetime | None:
    """Return a time as browsers enter it, such as 2026-01-31T08:00, in UTC."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise invalid(["query", name], "2026-01-31 08:00") from None


def _position(cursor: str) -> Position | None:
    try:
        return Position.parse(cursor) if cursor else None
    except ValueError:
        raise invalid(["query", "cursor"], cursor[:40]) from None


async def _state_of(session: AsyncSession, records: list[AuditRecord]) -> ChainState:
    linked = await verify_records(session, [each.id for each in records])
    broken = [str(each) for each, is_intact in linked.items() if not is_intact]
    head = await find_head(session)
    return ChainState(head, len(linked) - len(broken), broken, len(records) - len(linked))


ROUTES = (audit,)
