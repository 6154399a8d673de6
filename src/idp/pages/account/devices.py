"""Sessions in words: the device of each, as people call it."""

import asyncio
from collections.abc import Sequence

from msgspec import Struct

from idp.mail.user_text import device_name, device_parts
from idp.sessions.listing import SessionRecord


class ShownSession(Struct, frozen=True):
    """A session, its browser and operating system, or what else is known of its device."""

    record: SessionRecord
    browser: str | None
    system: str | None
    other: str | None


async def in_words(records: Sequence[SessionRecord]) -> list[ShownSession]:
    """Return sessions with their devices in words. The first call loads tables for 0.3 s, in a thread."""
    return await asyncio.to_thread(lambda: [_shown(record) for record in records])


def _shown(record: SessionRecord) -> ShownSession:
    browser, system = device_parts(record.user_agent)
    other = None if browser or system else device_name(None, record.device_info)
    return ShownSession(record, browser, system, other)
