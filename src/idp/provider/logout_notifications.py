"""Logout tokens that wait to be sent: rows that `sessions.apps.notify_clients` writes when sessions of apps end.

A process takes a row for some seconds, posts outside any transaction, and then deletes the row or puts it off. If it
dies in between, another takes the row when its time is over: every client is told at least once.
"""

import random
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.audit.record import SYSTEM, record
from idp.signing.signing_key import Algorithm

log = structlog.get_logger("idp.provider.backchannel")

LEASE_SECONDS = 30.0  # until another process may send it
GIVEN_UP_AFTER = timedelta(days=1)
# Seconds before each further attempt, then the last one.
_DELAYS = (2, 10, 60, 300, 900, 1800, 3600)
_JITTER = 0.2  # so that attempts that failed together do not return together

# A few of each client, so that one with thousands of waiting rows leaves room for the others.
_TAKE = text("""
UPDATE idp.logout_notifications n
   SET attempts = n.attempts + 1, next_attempt_at = :taken_until
  FROM (SELECT due.id, c.backchannel_logout_uri, c.id_token_alg
          FROM idp.oauth_clients c
         CROSS JOIN LATERAL (
               SELECT w.id FROM idp.logout_notifications w
                WHERE w.client_id = c.client_id AND w.next_attempt_at <= :now
                ORDER BY w.next_attempt_at LIMIT :of_client FOR UPDATE SKIP LOCKED) due
         WHERE c.client_id <> ALL(:busy) LIMIT :most) taken
 WHERE n.id = taken.id
RETURNING n.id, n.client_id, n.user_id, n.sid, n.created_at, n.attempts,
          taken.backchannel_logout_uri AS uri, taken.id_token_alg AS algorithm
""")
# Only as it was taken: if that took too long, it is another process's.
_DELETE = text("DELETE FROM idp.logout_notifications WHERE id = :id AND attempts = :attempts")
_PUT_OFF = text("""
UPDATE idp.logout_notifications SET next_attempt_at = :next_attempt_at, last_error = :error
 WHERE id = :id AND attempts = :attempts
""")


class LogoutNotification(Struct, frozen=True):
    """A logout token to send now.

    Attributes:
        attempts: with this one.
        uri: of the client; None if it no longer has one.
        algorithm: of the client's tokens.
    """

    id: UUID
    client_id: str
    user_id: str
    sid: UUID
    created_at: datetime
    attempts: int
    uri: str | None
    algorithm: Algorithm


async def take(session: AsyncSession, *, most: int, of_client: int, busy: list[str]) -> list[LogoutNotification]:
    """Take what is due, for `LEASE_SECONDS`.

    Args:
        session: the caller's transaction; post after its commit.
        most: how many.
        of_client: how many of one client.
        busy: clients to leave out.
    """
    now = clock.now()
    values = {
        "now": now,
        "taken_until": now + timedelta(seconds=LEASE_SECONDS),
        "most": most,
        "of_client": of_client,
        "busy": busy,
    }
    return [LogoutNotification(**row) for row in (await session.execute(_TAKE, values)).mappings()]


async def remove(session: AsyncSession, sent: LogoutNotification) -> None:
    """Delete one that was delivered."""
    await session.execute(_DELETE, {"id": sent.id, "attempts": sent.attempts})


async def note_failure(session: AsyncSession, failed: LogoutNotification, error: str, *, final: bool) -> None:
    """Put off one that was not delivered, or give up after a day or at a final refusal.

    Args:
        session: the caller's transaction.
        failed: the notification.
        error: what went wrong.
        final: whether another attempt would be refused as well.
    """
    now = clock.now()
    if not final and now - failed.created_at < GIVEN_UP_AFTER:
        delay = _DELAYS[min(failed.attempts, len(_DELAYS)) - 1] * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311
        values = {"next_attempt_at": now + timedelta(seconds=delay), "error": error}
        await session.execute(_PUT_OFF, values | {"id": failed.id, "attempts": failed.attempts})
        return
    await remove(session, failed)
    details = {"sid": str(failed.sid), "attempts": failed.attempts, "error": error}
    target = f"client:{failed.client_id}"
    record(session, SYSTEM, action="client.not_told_of_logout", user_id=failed.user_id, target=target, details=details)
    log.error("a client was not told of a logout", client_id=failed.client_id, **details)
