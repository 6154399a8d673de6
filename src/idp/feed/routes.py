"""GET /v1/events: the events after a cursor, at once, with long polling, or as server-sent events."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Annotated, Any

import msgspec
from litestar import MediaType, Response, get
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import Stream
from msgspec import Struct

from idp import errors
from idp.authn.credential import from_headers
from idp.authn.introspection import Introspector
from idp.events.catalogue import EventType
from idp.events.envelope import cloud_event
from idp.events.reading import START, Position
from idp.feed.reader import Reader
from idp.feed.stream import CONTENT_TYPE, server_sent_events
from idp.ops.openapi import documents, responses
from idp.ops.problems import invalid
from idp.principal.guards import accepts, check_reads_events, requires_events_scope
from idp.principal.model import AuthMethod
from idp.principal.requests import AnyRequest

_MAX_WAIT_SECONDS = 30
_NEWEST = "newest"
After = Annotated[
    str | None,
    QueryParameter(
        max_length=40,
        description="`next` of the page before, or `newest`: only later events. Absent: all that are kept.",
    ),
]
Limit = Annotated[int, QueryParameter(ge=1, le=1000, description="How many to return, 1 to 1000.")]
Wait = Annotated[
    int,
    QueryParameter(
        ge=0, le=_MAX_WAIT_SECONDS, description="Seconds to wait for an event if there is none (long poll)."
    ),
]
Types = Annotated[
    str | None,
    QueryParameter(max_length=1000, description="Only these types, separated by commas, such as `idp.user.created`."),
]
LastEventId = Annotated[
    str | None,
    HeaderParameter(name="Last-Event-ID", description="Instead of `after`, by clients of server-sent events."),
]


class EventPage(Struct, frozen=True):
    """Events in their order, each a CloudEvent, and the cursor of the next page.

    Attributes:
        next: pass it as `after`; it also moves beyond events of other types.
        has_more: whether more can be read at once.
    """

    events: list[dict[str, Any]]
    next: str
    has_more: bool


class Readers:
    """Counts requests that wait for events in this process.

    Args:
        limit: how many may.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit

    def check(self) -> None:
        """Refuse one more.

        Raises:
            TooManyReaders: the limit is reached.
        """
        if self._free <= 0:
            raise errors.TooManyReaders

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count one for the length of the block."""
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


@get(
    "/v1/events",
    guards=[requires_events_scope],
    opt=accepts(AuthMethod.ADMIN_TOKEN, AuthMethod.SERVICE_TOKEN),
    tags=["Events"],
    summary="List events",
    responses=documents(EventPage)
    | responses(
        errors.EventsScopeRequired,
        errors.CursorExpired,
        errors.ValidationFailed,
        errors.TooManyReaders,
        errors.DatabaseUnavailable,
    ),
)
async def list_events(
    request: AnyRequest,
    introspector: NamedDependency[Introspector],
    event_reader: NamedDependency[Reader],
    feed_readers: NamedDependency[Readers],
    after: After = None,
    limit: Limit = 100,
    wait: Wait = 0,
    types: Types = None,
    last_event_id: LastEventId = None,
) -> Response[Any] | Stream:
    """Return events after a cursor, oldest first, each committed change once and none skipped.

    With `Accept: text/event-stream` they are sent as server-sent events until the client disconnects or the credential
    loses its authority; a client reconnects with `Last-Event-ID`.
    """
    wanted, position = _types(types), await _position(event_reader, after, last_event_id)
    if CONTENT_TYPE in request.headers.get("accept", ""):
        return _stream(request, introspector, event_reader, feed_readers, position, wanted)
    if wait:
        feed_readers.check()
    with feed_readers.one() if wait else nullcontext():
        page = await event_reader.read_or_wait(position, types=wanted, limit=limit, seconds=wait)
    if wait:
        await _check_caller(request, introspector)  # who may have lost the authority meanwhile
    found = EventPage([cloud_event(event) for event in page.events], str(page.position), page.is_full)
    return Response(msgspec.json.encode(found), media_type=MediaType.JSON, headers={"Cache-Control": "no-store"})


def _stream(
    request: AnyRequest,
    introspector: Introspector,
    reader: Reader,
    readers: Readers,
    position: Position,
    types: frozenset[str],
) -> Stream:
    check_caller = partial(_check_caller, request, introspector)

    async def counted() -> Any:
        with readers.one():
            async for message in server_sent_events(reader, position, types=types, check_caller=check_caller):
                yield message

    readers.check()
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx passes each message on at once
    return Stream(counted(), media_type=CONTENT_TYPE, headers=headers)


async def _check_caller(request: AnyRequest, introspector: Introspector) -> None:
    """Refuse a caller who may not read events any more.

    Raises:
        IdpError: says why.
    """
    verdict = await introspector.introspect(from_headers(request.scope["headers"]), confirm=True)
    if verdict.principal is None:
        raise verdict.error or errors.Unauthenticated
    check_reads_events(verdict.principal)


def _types(given: str | None) -> frozenset[str]:
    wanted = frozenset(given.split(",")) if given is not None else frozenset()
    if unknown := sorted(wanted - set(EventType)):
        raise invalid(["query", "types"], f"Not a type of event: {unknown[0][:100]!r}. docs/events lists them.")
    return wanted


async def _position(reader: Reader, after: str | None, last_event_id: str | None) -> Position:
    """Return the position of a request.

    Raises:
        ValidationFailed: it is not a cursor.
        CursorExpired: its event is deleted.
    """
    place, given = (
        (["query", "after"], after) if last_event_id is None else (["header", "Last-Event-ID"], last_event_id)
    )
    if given is None:
        return START
    if given == _NEWEST:
        return await reader.newest()
    try:
        position = Position.parse(given)
    except ValueError:
        raise invalid(list(place), "Send `next` of the page before, unchanged, or `newest`.") from None
    await reader.check(position)
    return position


ROUTES = (list_events,)
