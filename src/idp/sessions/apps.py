"""Sessions of apps: each belongs to a browser's session (`parent_id`), and ends with it.

Their clients are told of the end by a logout token (OpenID Connect Back-Channel Logout 1.0); `idp.provider` sends it.
The statements read `oauth_clients` by name, because the provider stands above.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import Uuid
from uuid_utils.compat import uuid7

from idp import clock

# A client may have several sessions in one browser session, with the same `sid`: people see one app.
_FIND = text("""
SELECT a.parent_id, a.client_sid AS sid, a.client_id, c.name AS client_name, min(a.created_at) AS signed_in_at,
       max(a.last_seen_at) AS last_activity, array_agg(a.id) AS session_ids,
       bool_or(a.expires_at > :now AND a.idle_expires_at > :now) AS is_live
  FROM idp.user_sessions a LEFT JOIN idp.oauth_clients c ON c.client_id = a.client_id
 WHERE a.user_id = :user_id AND a.parent_id IS NOT NULL AND (a.ended_at IS NULL OR :also_ended)
 GROUP BY a.parent_id, a.client_sid, a.client_id, c.name
 ORDER BY signed_in_at DESC, a.client_id
""")
_MOVE = text("""
UPDATE idp.user_sessions SET parent_id = :to WHERE id IN (
    SELECT id FROM idp.user_sessions WHERE parent_id = :of AND ended_at IS NULL ORDER BY id FOR UPDATE)
""")
# Once per `sid`, when none of its sessions is left: a client with another session goes on.
_NOTIFY = text("""
INSERT INTO idp.logout_notifications (id, client_id, user_id, sid, created_at, next_attempt_at, attempts)
SELECT ended.new_id, ended.client_id, ended.user_id, ended.client_sid, :now, :now, 0
  FROM (SELECT DISTINCT ON (s.client_id, s.client_sid) n.new_id, s.client_id, s.user_id, s.client_sid
          FROM unnest(:ids, :new_ids) AS n(id, new_id) JOIN idp.user_sessions s ON s.id = n.id
         WHERE s.client_sid IS NOT NULL ORDER BY s.client_id, s.client_sid) ended
  JOIN idp.oauth_clients c ON c.client_id = ended.client_id AND c.backchannel_logout_uri IS NOT NULL
 WHERE NOT EXISTS (SELECT FROM idp.user_sessions o
                    WHERE o.user_id = ended.user_id AND o.client_id = ended.client_id
                      AND o.client_sid = ended.client_sid AND o.ended_at IS NULL AND o.expires_at > :now)
""").bindparams(bindparam("ids", type_=ARRAY(Uuid())), bindparam("new_ids", type_=ARRAY(Uuid())))


class AppRecord(Struct, frozen=True):
    """An app that a browser's session signed in to.

    Attributes:
        parent_id: the browser's session.
        sid: of its ID tokens.
        client_name: None if the client was deleted.
        session_ids: its sessions.
        is_live: whether one of its sessions has not expired. If none has, the app itself may still keep the user
            signed in, until a logout token ends that.
    """

    parent_id: UUID
    sid: UUID
    client_id: str
    client_name: str | None
    signed_in_at: datetime
    last_activity: datetime
    session_ids: Sequence[UUID]
    is_live: bool


async def find(session: AsyncSession, user_id: str, *, also_ended: bool = False) -> list[AppRecord]:
    """Return the apps that a user signed in to, newest first.

    Args:
        session: the caller's transaction.
        user_id: the user.
        also_ended: whether to return also apps whose sessions were ended.
    """
    values = {"user_id": user_id, "now": clock.now(), "also_ended": also_ended}
    return [AppRecord(**row) for row in (await session.execute(_FIND, values)).mappings()]


async def move(session: AsyncSession, *, of: UUID, to: UUID) -> None:
    """Give the apps of a browser's session to another one of the same user.

    Args:
        session: the caller's transaction, which holds the lock of `of`.
        of: the session that they belong to.
        to: the session that they then belong to.
    """
    await session.execute(_MOVE, {"of": of, "to": to})


async def notify_clients(session: AsyncSession, ended: Sequence[UUID]) -> None:
    """Record a logout token to send for each app whose last session just ended.

    Args:
        session: the transaction that ended them.
        ended: sessions of apps.
    """
    new_ids = [uuid7() for _ in ended]
    await session.execute(_NOTIFY, {"ids": list(ended), "new_ids": new_ids, "now": clock.now()})
