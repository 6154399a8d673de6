"""The page /admin/events: events that wait for Kafka, and those that it refused."""

from litestar.di import NamedDependency

from idp.audit.record import origin_of, record
from idp.db.engine import Database
from idp.events import pending
from idp.pages.admin.routes import PAGE_SIZE, Answer, Page, admin_form, admin_page, done
from idp.pages.signed_in import SignedInPages, show
from idp.principal.reauthorize import reauthorize
from idp.principal.requests import AnyRequest
from idp.settings import Settings

_PATH = "/admin/events"


@admin_page(_PATH)
async def events(
    request: AnyRequest,
    signed_in_pages: NamedDependency[SignedInPages],
    database: NamedDependency[Database],
    settings: NamedDependency[Settings],
) -> Page:
    """Show the outbox."""
    visitor = await signed_in_pages.open(request, admin=True)
    async with database.transaction() as session:
        waiting, refused = await pending.count_outbox(session)
        parked = await pending.list_parked(session, limit=PAGE_SIZE)
    return show(
        request,
        "admin/events.html",
        visitor,
        section="admin_events",
        waiting=waiting,
        refused=refused,
        parked=parked,
        kafka=settings.kafka.bootstrap_servers,
    )


@admin_form(f"{_PATH}/replay")
async def replay_parked(
    request: AnyRequest, signed_in_pages: NamedDependency[SignedInPages], database: NamedDependency[Database]
) -> Answer:
    """Publish the parked events again."""
    visitor, _ = await signed_in_pages.submit(request, page=_PATH, admin=True)
    async with database.transaction() as session:
        await reauthorize(session, visitor.principal, manages=True)
        number = await pending.replay(session, since=None)
        record(session, origin_of(request), action="events.replayed", details={"events": number})
    return done(_PATH, "events_replayed")


ROUTES = (events, replay_parked)
