"""GET /v1/events: pages, long polling and server-sent events, in an order that skips nothing."""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from factories import Person, Service, running
from idp.dev.embedded import EmbeddedPostgres

ADMIN_TOKEN = secrets.token_urlsafe(40)
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
ENVIRON = {"ADMIN_TOKEN": ADMIN_TOKEN, "IDP_FEED__MAX_READERS": "3"}
INSERT = """
INSERT INTO idp.outbox (id, type, subject, data, created_at)
VALUES (gen_random_uuid(), 'idp.session.revoked', $1, '{"user_id": "u", "sessions": [], "reason": "test"}', now())
"""


@pytest.fixture(scope="module")
async def world(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("feed"), environ=ENVIRON) as service:
        yield service


async def read(world: Service, headers: dict[str, str] = ADMIN, **query: Any) -> Any:
    answer = await world.client.get("/v1/events", params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def newest(world: Service) -> str:
    return str((await read(world, after="newest"))["next"])


async def refusal(world: Service, headers: dict[str, str] = ADMIN, **query: Any) -> tuple[int, str]:
    answer = await world.client.get("/v1/events", params=query, headers=headers)
    return answer.status_code, answer.json()["code"]


async def token(world: Service, *scopes: str) -> dict[str, str]:
    body = {"name": secrets.token_hex(6), "scopes": list(scopes)}
    made = await world.client.post("/auth/tokens", json=body, headers=ADMIN)
    return {"Authorization": f"Bearer {made.json()['token']}", "id": made.json()["token_id"]}


# --- pages -----------------------------------------------------------------------------------------------------------


async def test_pages_follow_each_other_until_there_is_no_more(world: Service) -> None:
    """Every change once, oldest first, as CloudEvents; the cursor goes on."""
    start = await newest(world)
    people = [await world.register() for _ in range(5)]
    found, cursor, pages = [], start, 0
    while True:
        page = await read(world, after=cursor, limit=2)
        found += page["events"]
        cursor, pages = page["next"], pages + 1
        if not page["has_more"]:
            break
    created = [event for event in found if event["type"] == "idp.user.created"]
    assert [event["subject"] for event in created] == [person.id for person in people]
    assert {"specversion", "id", "source", "time", "dataschema", "data"} <= created[0].keys()
    assert pages > 2
    assert await read(world, after=cursor) == {"events": [], "next": cursor, "has_more": False}
    assert len({event["id"] for event in found}) == len(found)


async def test_types_select_and_the_cursor_moves_beyond_the_others(world: Service) -> None:
    """A consumer of one type does not read the others again."""
    start = await newest(world)
    await world.register()
    page = await read(world, after=start, types="idp.team.created,idp.user.deleted")
    assert page["events"] == []
    assert page["next"] == await newest(world) != start


async def test_a_transaction_that_commits_later_is_not_skipped(world: Service) -> None:
    """Two interleaved transactions: the later number is committed first, and is not read before the earlier one."""
    start = await newest(world)
    first, second = [await asyncpg.connect(world.database_url) for _ in range(2)]
    try:
        open_transaction = first.transaction()
        await open_transaction.start()
        await first.execute(INSERT, "first")
        await second.execute(INSERT, "second")  # committed, with a greater `seq`
        held_back = await read(world, after=start)
        assert held_back == {"events": [], "next": start, "has_more": False}
        await open_transaction.commit()
        page = await read(world, after=held_back["next"])
        assert [event["subject"] for event in page["events"]] == ["first", "second"]
    finally:
        await first.close()
        await second.close()


async def test_concurrent_writers_lose_no_event_of_a_polling_reader(world: Service) -> None:
    """400 transactions of eight writers that end in any order: the reader sees each once."""
    cursor, seen = await newest(world), []
    names = [[f"w{writer}-{number}" for number in range(50)] for writer in range(8)]

    async def write(mine: list[str]) -> None:
        connection = await asyncpg.connect(world.database_url)
        for name in mine:
            async with connection.transaction():
                await connection.execute(INSERT, name)
                await asyncio.sleep(secrets.randbelow(5) / 1000)
        await connection.close()

    writing = asyncio.gather(*(write(mine) for mine in names))
    expected = {name for mine in names for name in mine}
    until = time.monotonic() + 30
    while len(seen) < len(expected) and time.monotonic() < until:
        page = await read(world, after=cursor, limit=7)
        seen += [event["subject"] for event in page["events"]]
        cursor = page["next"]
    await writing
    assert sorted(seen) == sorted(expected)


# --- waiting ---------------------------------------------------------------------------------------------------------


async def test_a_long_poll_returns_as_soon_as_there_is_an_event(world: Service) -> None:
    """Empty after the time; with the event well before it."""
    cursor = await newest(world)
    began = time.monotonic()
    assert (await read(world, after=cursor, wait=1))["events"] == []
    assert 0.9 < time.monotonic() - began < 5
    waiting = asyncio.create_task(read(world, after=cursor, wait=20, types="idp.user.created"))
    await asyncio.sleep(0.3)
    person = await world.register()
    began = time.monotonic()
    page = await waiting
    assert [event["subject"] for event in page["events"]] == [person.id]
    assert time.monotonic() - began < 5


async def messages(
    world: Service, headers: dict[str, str], count: int, **query: Any
) -> list[tuple[str, str, dict[str, Any]]]:
    """Return so many server-sent events: id, type and data."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    sent = headers | {"Accept": "text/event-stream"}
    async with world.client.stream("GET", "/v1/events", params=query, headers=sent) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if line:
                fields[name] = value
                continue
            if "data" in fields:
                found.append((fields["id"], fields["event"], json.loads(fields["data"])))
                if len(found) == count:
                    return found
            fields = {}
    return found


async def test_server_sent_events_continue_after_the_last_id(world: Service) -> None:
    """The client reconnects with `Last-Event-ID` and misses nothing, also what came meanwhile."""
    cursor = await newest(world)
    first = await world.register()
    (one,) = await messages(world, ADMIN, 1, after=cursor, types="idp.user.created")
    assert (one[1], one[2]["subject"]) == ("idp.user.created", first.id)
    meanwhile = await world.register()
    following = asyncio.create_task(messages(world, ADMIN | {"Last-Event-ID": one[0]}, 2, types="idp.user.created"))
    await asyncio.sleep(0.5)
    later = await world.register()
    assert [message[2]["subject"] for message in await following] == [meanwhile.id, later.id]


async def test_a_stream_ends_when_its_token_is_revoked(world: Service) -> None:
    """Within seconds, with a stream that is open; the next request is 401."""
    headers = await token(world, "idp:events")
    token_id = headers.pop("id")
    reading = asyncio.create_task(messages(world, headers, 1000, after="newest"))
    await asyncio.sleep(0.5)
    assert not reading.done()
    await world.client.post(f"/auth/tokens/{token_id}/revoke", headers=ADMIN)
    began = time.monotonic()
    await asyncio.wait_for(reading, timeout=10)
    assert time.monotonic() - began < 8
    assert await refusal(world, headers) == (401, "token_revoked")


async def test_a_long_poll_returns_nothing_to_a_token_that_was_revoked_meanwhile(world: Service) -> None:
    """SEC-19, SEC-59: the event came after the revocation."""
    headers = await token(world, "idp:events")
    token_id, cursor = headers.pop("id"), await newest(world)
    waiting = asyncio.create_task(refusal(world, headers, after=cursor, wait=20, types="idp.user.created"))
    await asyncio.sleep(0.5)
    await world.client.post(f"/auth/tokens/{token_id}/revoke", headers=ADMIN)
    await asyncio.sleep(0.5)
    assert not waiting.done()
    await world.register()
    assert await waiting == (401, "token_revoked")


async def test_only_so_many_requests_wait(world: Service) -> None:
    """The limit of a process is 503 with Retry-After; requests that do not wait are served."""
    cursor = await newest(world)
    waiting = [asyncio.create_task(read(world, after=cursor, wait=10)) for _ in range(3)]
    await asyncio.sleep(0.5)
    answer = await world.client.get("/v1/events", params={"after": cursor, "wait": 5}, headers=ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (503, "too_many_readers")
    assert answer.headers["Retry-After"]
    await read(world, after=cursor)
    await world.register()
    await asyncio.gather(*waiting)
    assert (await read(world, after="newest", wait=1))["events"] == []


# --- who, and bad input ----------------------------------------------------------------------------------------------


async def test_only_administrators_and_tokens_with_the_scope_read_events(world: Service) -> None:
    """`idp:events` reads and does not manage; a user's key, a user and another scope do not read."""
    person, admin = await world.register(), await world.register_admin()
    consumer, other = await token(world, "idp:events"), await token(world, "read", "idp:introspect")
    for headers in (admin.bearer, consumer, ADMIN):
        await read(world, headers, after="newest")
    for headers in (person.bearer, other):
        assert await refusal(world, headers) == (403, "events_scope_required")
    assert await refusal(world, {}) == (401, "unauthenticated")
    team = await world.client.post("/teams", json={"name": "x"}, headers=consumer)
    assert (team.status_code, team.json()["code"]) == (403, "admin_required")
    assert await refusal(world, await _key(world, person)) == (403, "credential_not_accepted")


async def _key(world: Service, person: Person) -> dict[str, str]:
    made = await world.client.post("/v1/api-keys", json={"name": "k", "scopes": ["read"]}, headers=person.bearer)
    return {"X-API-Key": made.json()["secret"]}


@pytest.mark.parametrize(
    "query",
    [
        {"after": "x"},
        {"after": ""},
        {"after": "1-"},
        {"after": "-1"},
        {"after": f"{2**63}-1"},
        {"after": "1-1\n"},
        {"after": "٣-٣"},
        {"limit": 0},
        {"limit": 1001},
        {"wait": 31},
        {"wait": -1},
        {"types": "idp.nothing"},
        {"types": ""},
        {"types": "a" * 1001},
    ],
)
async def test_bad_parameters_are_422(world: Service, query: dict[str, Any]) -> None:
    """Each names the parameter."""
    assert await refusal(world, **query) == (422, "validation_failed")


async def test_a_deleted_cursor_is_410_and_says_how_to_go_on(world: Service) -> None:
    """What came after it may be deleted, too: the consumer must know."""
    await world.register()
    cursor = await newest(world)
    transaction, _, seq = cursor.partition("-")
    await world.sql("DELETE FROM idp.outbox WHERE transaction = $1 AND seq = $2", int(transaction), int(seq))
    answer = await world.client.get("/v1/events", params={"after": cursor}, headers=ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (410, "cursor_expired")
    assert "after=newest" in answer.json()["remedy"]
    with contextlib.suppress(AssertionError):
        await messages(world, ADMIN | {"Last-Event-ID": cursor}, 1)
    assert (await world.client.get("/v1/events", headers=ADMIN | {"Last-Event-ID": "x"})).status_code == 422
