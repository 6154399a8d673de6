"""Credentials to ask about: people, their tokens and keys, and as many never-seen ones as a load can use up."""

import asyncio
import json
import secrets
from typing import Any

import asyncpg
import httpx2

from bench.service import ADMIN_TOKEN, Deployment
from idp.apikeys.secret import Peppers, generate
from idp.app import build_parts
from idp.settings import load, root_secret
from idp.signing.jwt import Family, TokenUser

_ADMIN = {"authorization": f"Bearer {ADMIN_TOKEN}"}
# Copies a token row with other digests, so that columns that a later version adds are copied too.
_COPY = """
INSERT INTO idp.api_keys
SELECT (jsonb_populate_record(k, jsonb_build_object('id', gen_random_uuid(), 'digest', c.digest, 'name', c.name))).*
  FROM idp.api_keys k, unnest($1::text[], $2::text[]) AS c(digest, name)
 WHERE k.id = $3
"""


class NotBuilt(Exception):
    """The service has no such route (yet)."""


class Person:
    """Somebody with an access token."""

    def __init__(self, base_url: str) -> None:
        self.email = f"bench-{secrets.token_hex(4)}@example.com"
        self.password = secrets.token_urlsafe(16)
        body = {"email": self.email, "password": self.password, "name": "Pat Person"}
        answer = _post(base_url, "/auth/register", body, {})
        self.id: str = answer["user_id"]
        self.token: str = answer["access_token"]

    @property
    def bearer(self) -> dict[str, str]:
        """The header that shows the token."""
        return {"authorization": f"Bearer {self.token}"}


def service_token(base_url: str, *scopes: str) -> dict[str, Any]:
    """Make a service token: `token` and `token_id`. Raises NotBuilt."""
    body = {"name": f"bench-{secrets.token_hex(4)}", "scopes": list(scopes), "metadata": {}}
    return dict(_post(base_url, "/auth/tokens", body, _ADMIN))


def api_key(base_url: str, person: Person) -> str:
    """Make a key of a person's. Raises NotBuilt."""
    body = {"name": "bench", "scopes": ["read"]}
    return str(_post(base_url, "/v1/api-keys", body, person.bearer)["secret"])


def many_tokens(deployment: Deployment, like: dict[str, Any], count: int) -> list[str]:
    """Make tokens like this one, straight into the database, where no process has seen them."""
    root = root_secret(load("production", environ=deployment.env).settings)
    assert root is not None
    peppers = Peppers([root])
    tokens = [generate("amp_live") for _ in range(count)]
    digests = [peppers.digest(token).hex for token in tokens]
    names = [f"bench-{secrets.token_hex(8)}" for _ in range(count)]
    asyncio.run(_execute(deployment.database_url, _COPY, digests, names, like["token_id"]))
    return tokens


def many_jwts(deployment: Deployment, person: Person, count: int) -> list[str]:
    """Sign access tokens as the service does: with its key, for a process that has not seen them."""
    return asyncio.run(_sign(deployment, person, count))


async def _sign(deployment: Deployment, person: Person, count: int) -> list[str]:
    parts = build_parts(load("production", environ=deployment.env))
    user = TokenUser(id=person.id, email=person.email, email_verified=False, roles=("user",))
    try:
        return [(await parts.tokens.issue(user, Family.AUTH)).token for _ in range(count)]
    finally:
        await parts.database.close()


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
