"""Shared code of tests of keys and service tokens: creates them, and lists and checks them over HTTP."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import time_machine

from factories import Person, Service

ADMIN_TOKEN = secrets.token_urlsafe(40)
# A deployment with ADMIN_TOKEN, whose passwords cost little: nearly every test here registers somebody.
ENVIRON = {
    "ADMIN_TOKEN": ADMIN_TOKEN,
    "IDP_PASSWORDS__ARGON2_TIME_COST": "1",
    "IDP_PASSWORDS__ARGON2_MEMORY_KIB": "7168",
}
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
KEYS, TOKENS = "/v1/api-keys", "/auth/tokens"
Json = dict[str, Any]


def new_name(what: str = "key") -> str:
    return f"{what}-{secrets.token_hex(6)}"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def later(**how_much: float) -> time_machine.travel:
    """Move the clock of this process, the running service included."""
    return time_machine.travel(datetime.now(UTC) + timedelta(**how_much), tick=True)


def problem(answer: httpx2.Response) -> tuple[int, str]:
    """Return status and code of a refusal, which is one document everywhere (C-16)."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    document = answer.json()
    assert document["status"] == answer.status_code
    assert isinstance(document["detail"], str)
    return answer.status_code, str(document["code"])


async def post_key(
    service: Service, person: Person, *, headers: dict[str, str] | None = None, **body: Any
) -> httpx2.Response:
    """Ask for a key; what is not said about it is chosen."""
    wanted = {"name": new_name(), "scopes": ["ingest:write"]} | body
    return await service.client.post(KEYS, json=wanted, headers=person.bearer | (headers or {}))


async def make_key(service: Service, person: Person, **body: Any) -> Json:
    answer = await post_key(service, person, **body)
    assert answer.status_code == 201, answer.text
    made: Json = answer.json()
    return made


async def post_token(service: Service, *, headers: dict[str, str] | None = None, **body: Any) -> httpx2.Response:
    """Ask for a service token with ADMIN_TOKEN; what is not said about it is chosen."""
    wanted = {"name": new_name("service"), "scopes": ["read"]} | body
    return await service.client.post(TOKENS, json=wanted, headers=ADMIN | (headers or {}))


async def make_token(service: Service, **body: Any) -> Json:
    answer = await post_token(service, **body)
    assert answer.status_code == 201, answer.text
    made: Json = answer.json()
    return made


async def get(service: Service, path: str, headers: dict[str, str]) -> Any:
    answer = await service.client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def code_of(service: Service, secret: str) -> str:
    """Return "valid", or the code of the verdict."""
    verdict = await service.validate(secret)
    return "valid" if verdict["valid"] else str(verdict["error"])


async def end(service: Service, table_id: str) -> None:
    """Let a key or token expire a second ago, behind the service's back."""
    ended = "UPDATE idp.api_keys SET expires_at = now() - interval '1 second' WHERE id = $1::text::uuid"
    await service.sql(ended, table_id.removeprefix("key_"))


async def disable(service: Service, person: Person) -> None:
    await service.sql("UPDATE idp.users SET is_active = false WHERE id = $1", person.id)
