"""API keys and service tokens, made by the real service."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from factories import Person, Service, running
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey

ADMIN_TOKEN = secrets.token_urlsafe(32)


@asynccontextmanager
async def managed(postgres: EmbeddedPostgres, name: str, *, valkey: EmbeddedValkey) -> AsyncIterator[Service]:
    """Run a production service of one's own, with a token to make service tokens with.

    Args:
        postgres: where its database goes.
        name: what to call that.
        valkey: where it counts.
    """
    url, environ = postgres.create_database(name), {"ADMIN_TOKEN": ADMIN_TOKEN}
    async with running(url, valkey_url=valkey.url, profile="production", environ=environ) as service:
        yield service


async def service_token(service: Service, *scopes: str, **more: Any) -> dict[str, Any]:
    """Make a service token: `token`, `token_id`, `name` and so on (S2-20)."""
    body = {"name": f"service-{secrets.token_hex(4)}", "scopes": list(scopes), **more}
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    answer = await service.client.post("/auth/tokens", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def revoke(service: Service, token_id: str) -> None:
    """Revoke a service token (S2-23)."""
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    answer = await service.client.post(f"/auth/tokens/{token_id}/revoke", json={}, headers=headers)
    assert answer.status_code == 200, answer.text


async def api_key(service: Service, person: Person, *scopes: str) -> dict[str, Any]:
    """Make a key of a person's own: `key_id`, `secret` and so on (S0-16)."""
    body = {"name": "laptop", "scopes": list(scopes)}
    answer = await service.client.post("/v1/api-keys", json=body, headers=person.bearer)
    assert answer.status_code == 201, answer.text
    return answer.json()
