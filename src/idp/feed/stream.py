"""Server-sent events (WHATWG HTML section 9.2): each has the cursor as its id, for `Last-Event-ID`."""

from collections.abc import AsyncIterator, Awaitable, Callable

from idp.errors import IdpError
from idp.events.envelope import encode
from idp.events.reading import Position, StoredEvent
from idp.feed.reader import Reader

CONTENT_TYPE = "text/event-stream"
_BATCH = 100
_CHECK_SECONDS = 1.0  # between two checks of the caller
_ALIVE_CHECKS = 15  # a comment after so many, so that proxies keep the connection
_RETRY = b"retry: 3000\n\n"


async def server_sent_events(
    reader: Reader, position: Position, *, types: frozenset[str], check_caller: Callable[[], Awaitable[None]]
) -> AsyncIterator[bytes]:
    """Yield events until the caller loses the authority, or the database is unavailable; the client reconnects.

    Args:
        reader: reads the events.
        position: of the last event that the client has.
        types: only events of these types; all if it is empty.
        check_caller: raises `IdpError` if the caller may not read on.
    """
    yield _RETRY
    silent, has_news = 0, True
    while True:
        try:
            page = await reader.read(position, types=types, limit=_BATCH) if has_news else None
            if page is None:
                has_news = await reader.wait_beyond(position, seconds=_CHECK_SECONDS)
            await check_caller()
        except IdpError:
            return
        if page is not None:
            for event in page.events:
                yield _message(event)
            if page.position != position and not page.events:
                yield b"id: %b\n\n" % str(page.position).encode()  # without data: only the position moves
            has_news, position = page.position != position, page.position
        silent = 0 if page is not None and page.events else silent + 1
        if silent >= _ALIVE_CHECKS:
            yield b": alive\n\n"
            silent = 0


def _message(event: StoredEvent) -> bytes:
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (str(event.position).encode(), event.type.encode(), encode(event))
