"""Clients and sessions of apps, as rows, for tests of what happens to them."""

import secrets
from typing import Any
from uuid import UUID, uuid4

from factories import Service

INSERT_APP = """
INSERT INTO idp.user_sessions (id, user_id, created_at, last_seen_at, idle_seconds, idle_expires_at, expires_at,
                               amr, acr, auth_time, parent_id, client_id, client_sid, scopes, resources, claims)
SELECT $1, p.user_id, now(), now(), p.idle_seconds, p.idle_expires_at, p.expires_at, p.amr, p.acr, p.auth_time,
       p.id, $3, $4, ARRAY['openid'], '{}', '{}'
  FROM idp.user_sessions p WHERE p.id = $2 AND p.ended_at IS NULL
RETURNING id
"""
_INSERT_CLIENT = """
INSERT INTO idp.oauth_clients (
    client_id, name, application_type, auth_method, grant_types, scopes, redirect_uris, post_logout_redirect_uris,
    resources, serves, id_token_alg, require_pkce, skip_consent, declared, backchannel_logout_uri, created_by,
    created_at, updated_at)
VALUES ($1, $2, 'web', 'none', ARRAY['authorization_code'], ARRAY['openid'], ARRAY['https://app.example/cb'],
        $4::text[], '{}', '{}', $5, true, false, false, $3, 'test', now(), now())
"""


async def create_client(
    service: Service,
    *,
    name: str = "Wiki",
    backchannel: str | None = None,
    after_logout: tuple[str, ...] = (),
    algorithm: str = "RS256",
) -> str:
    """Insert a client, and return its id."""
    client_id = f"app-{secrets.token_hex(6)}"
    await service.sql(_INSERT_CLIENT, client_id, name, backchannel, list(after_logout), algorithm)
    return client_id


async def start_app(service: Service, parent: str, client_id: str, *, sid: UUID | None = None) -> tuple[UUID, UUID]:
    """Start an app's session in a browser's session; return its id and its `sid`."""
    session_id, sid = uuid4(), sid or uuid4()
    assert await service.sql(INSERT_APP, session_id, UUID(parent), client_id, sid)
    return session_id, sid


async def reason_of(service: Service, session_id: Any) -> str | None:
    """Why a session ended; None if it goes on."""
    rows = await service.sql("SELECT ended_reason FROM idp.user_sessions WHERE id = $1::text::uuid", str(session_id))
    return rows[0]["ended_reason"]


async def notifications(service: Service, client_id: str) -> list[UUID]:
    """The `sid`s that a client shall be told of."""
    rows = await service.sql("SELECT sid FROM idp.logout_notifications WHERE client_id = $1 ORDER BY id", client_id)
    return [row["sid"] for row in rows]
