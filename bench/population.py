"""Creates users and credentials, and large numbers of uncached ones directly in the database."""

import asyncio
import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2

from bench.service import ADMIN_TOKEN, Deployment
from idp.apikeys.secret import Peppers, generate
from idp.core import build_core
from idp.sessions.refresh_tokens import PREFIX
from idp.settings import load, root_secret
from idp.signing.jwt import Family, TokenSession, TokenUser
from idp.signing.peppers import Peppers as Digests
from idp.signing.pkce import challenge_of

CALLBACK = "https://app.example.com/callback"
VERIFIER = "bench-verifier-of-43-characters-or-even-more-"
_ADMIN = {"authorization": f"Bearer {ADMIN_TOKEN}"}
# Copies a row with another digest, so that columns of later versions are copied, too.
_COPY = """
INSERT INTO idp.api_keys
SELECT (jsonb_populate_record(k, jsonb_build_object('id', gen_random_uuid(), 'digest', c.digest, 'name', c.name))).*
  FROM idp.api_keys k, unnest($1::text[], $2::text[]) AS c(digest, name)
 WHERE k.id = $3
"""

_SESSIONS = """
INSERT INTO idp.user_sessions
SELECT (jsonb_populate_record(s, jsonb_build_object('id', c.id))).*
  FROM idp.user_sessions s, unnest($1::uuid[]) AS c(id)
 WHERE s.id = $2
"""
_CODES = """
INSERT INTO idp.authorization_codes (digest, client_id, session_id, redirect_uri, code_challenge, nonce, scopes,
                                     resources, claims, created_at, expires_at)
SELECT digest, $2, $3, $4, $5, 'bench', '{openid,email,profile}', '{}', '{}', now(), now() + interval '1 day'
  FROM unnest($1::text[]) AS c(digest)
"""
_REFRESH_TOKENS = """
INSERT INTO idp.refresh_tokens (id, session_id, generation, digest, client_id, created_at, expires_at)
SELECT gen_random_uuid(), c.id, 0, c.digest, 'idp', now(), now() + interval '1 day'
  FROM unnest($1::uuid[], $2::text[]) AS c(id, digest)
"""


class NotBuilt(Exception):
    """The service does not have this route yet."""


class Person:
    """A user with an access token."""

    def __init__(self, base_url: str) -> None:
        self.email = f"bench-{secrets.token_hex(4)}@example.com"
        self.password = secrets.token_urlsafe(16)
        body = {"email": self.email, "password": self.password, "name": "Pat Person"}
        answer = _post(base_url, "/auth/register", body, {})
        self.id: str = answer["user_id"]
        self.token: str = answer["access_token"]
        self.session_id = UUID(answer["session_id"])

    @property
    def bearer(self) -> dict[str, str]:
        """The header with the token."""
        return {"authorization": f"Bearer {self.token}"}


def service_token(base_url: str, *scopes: str) -> dict[str, Any]:
    """Create a service token, and return `token` and `token_id`. Raises NotBuilt."""
    body = {"name": f"bench-{secrets.token_hex(4)}", "scopes": list(scopes), "metadata": {}}
    return dict(_post(base_url, "/auth/tokens", body, _ADMIN))


def oauth_client(base_url: str) -> dict[str, Any]:
    """Create an OAuth client, and return `client_id` and `client_secret`. Raises NotBuilt."""
    return dict(_post(base_url, "/api/auth/admin/clients", {"client_name": "bench", "scope": "read write"}, _ADMIN))


def app(base_url: str) -> dict[str, Any]:
    """Create a client that signs users in, and return `client_id` and `client_secret`. Raises NotBuilt."""
    body = {
        "client_name": "bench",
        "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", "refresh_token"],
        "scope": "openid email profile offline_access",
        "id_token_signed_response_alg": "ES256",
    }
    return dict(_post(base_url, "/api/auth/admin/clients", body, _ADMIN))


def api_key(base_url: str, person: Person) -> str:
    """Create an API key of a user. Raises NotBuilt."""
    body = {"name": "bench", "scopes": ["read"]}
    return str(_post(base_url, "/v1/api-keys", body, person.bearer)["secret"])


def many_tokens(deployment: Deployment, like: dict[str, Any], count: int) -> list[str]:
    """Create copies of a token directly in the database, so that no process has cached them."""
    root = root_secret(load("production", environ=deployment.env).settings)
    assert root is not None
    peppers = Peppers([root])
    tokens = [generate("amp_live") for _ in range(count)]
    digests = [peppers.digest(token).hex for token in tokens]
    names = [f"bench-{secrets.token_hex(8)}" for _ in range(count)]
    asyncio.run(_execute(deployment.database_url, _COPY, digests, names, like["token_id"]))
    return tokens


def many_refresh_tokens(deployment: Deployment, person: Person, count: int) -> list[str]:
    """Create refresh tokens directly in the database, each with its own session."""
    root = root_secret(load("production", environ=deployment.env).settings)
    assert root is not None
    digests = Digests([root], "refresh-token")
    tokens = [PREFIX + secrets.token_urlsafe(32) for _ in range(count)]
    sessions = [uuid4() for _ in range(count)]
    stored = [digests.digest(token).hex for token in tokens]
    asyncio.run(_execute(deployment.database_url, _SESSIONS, sessions, person.session_id))
    asyncio.run(_execute(deployment.database_url, _REFRESH_TOKENS, sessions, stored))
    asyncio.run(
        _execute(deployment.database_url, "ANALYZE idp.refresh_tokens, idp.user_sessions")
    )  # as autovacuum does
    return tokens


def many_codes(deployment: Deployment, person: Person, client_id: str, count: int) -> list[str]:
    """Create authorization codes of one browser session directly in the database."""
    root = root_secret(load("production", environ=deployment.env).settings)
    assert root is not None
    digests = Digests([root], "authorization-code")
    codes = [secrets.token_urlsafe(32) for _ in range(count)]
    stored = [digests.digest(code).hex for code in codes]
    values = (stored, client_id, person.session_id, CALLBACK, challenge_of(VERIFIER))
    asyncio.run(_execute(deployment.database_url, _CODES, *values))
    return codes


def many_jwts(deployment: Deployment, person: Person, count: int) -> list[str]:
    """Sign access tokens of one session with the service's key, so that no process has cached them."""
    return asyncio.run(_sign(deployment, person, count))


async def _sign(deployment: Deployment, person: Person, count: int) -> list[str]:
    core = build_core(load("production", environ=deployment.env))
    user = TokenUser(id=person.id, email=person.email, email_verified=False, roles=("user",))
    now = datetime.now(UTC)
    session = TokenSession(person.session_id, now, ("pwd",), "1", now + timedelta(days=1))
    try:
        return [(await core.tokens.issue(user, Family.AUTH, session=session)).token for _ in range(count)]
    finally:
        await core.database.close()


async def _execute(url: str, statement: str, *values: Any) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement, *values)
    finally:
        await connection.close()


def _post(base_url: str, path: str, body: dict[str, Any], headers: dict[str, str]) -> Any:
    answer = httpx2.post(base_url + path, json=body, headers=headers, timeout=20)
    if answer.status_code in {404, 405}:
        raise NotBuilt(path)
    answer.raise_for_status()
    return json.loads(answer.content)
