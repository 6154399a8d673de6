"""GET /api/auth/admin/audit: filters, and a cursor that stays valid when records are added (S3-55, C-19)."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
import pytest
from uuid_utils.compat import uuid7

from factories import Person, Service, running
from idp.dev.embedded import EmbeddedPostgres

AUDIT = "/api/auth/admin/audit"
NAMED = UUID(int=1)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
async def audited(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("admin_audit")) as service:
        yield service


@pytest.fixture(scope="module")
async def admin(audited: Service) -> Person:
    return await audited.register_admin()


async def add(service: Service, number: int, *, at: datetime = NOON, **columns: Any) -> None:
    """Add records, a second after each other."""
    values = {"action": "test.done", "actor": "system", "user_id": None, "target": None} | columns
    for place in range(number):
        await service.sql(
            "INSERT INTO idp.audit_logs (id, timestamp, action, actor, user_id, target, details)"
            " VALUES ($1, $2, $3, $4, $5, $6, '{}')",
            uuid7(),
            at + timedelta(seconds=place),
            *values.values(),
        )


async def listed(service: Service, admin: Person, **query: Any) -> httpx2.Response:
    answer = await service.client.get(AUDIT, params=query, headers=admin.bearer)
    assert answer.status_code == 200, answer.text
    return answer


async def test_each_filter_narrows_the_list(audited: Service, admin: Person) -> None:
    await add(audited, 2, user_id="u-1", actor="user:a", target="team:t", action="team.left")
    await add(audited, 1, user_id="u-1", actor="user:b", target="team:t", action="team.joined")
    for query, number in (
        ({"user_id": "u-1"}, 3),
        ({"user_id": "u-1", "actor": "user:b"}, 1),
        ({"user_id": "u-1", "action": "team.left"}, 2),
        ({"target": "team:t"}, 3),
        ({"target": "team:t", "since": "2026-01-01T12:00:01Z"}, 1),
        ({"target": "team:t", "until": "2026-01-01T12:00:01Z"}, 2),
        ({"target": "team:t", "since": "2026-01-01T13:00:01+01:00", "until": "2026-01-01T12:00:01.1Z"}, 1),
        ({"target": "team:nobody"}, 0),
    ):
        answer = await listed(audited, admin, **query)
        assert len(answer.json()) == number, query
        assert int(answer.headers["x-total-count"]) == number


async def test_a_cursor_walks_through_all_while_records_are_added(audited: Service, admin: Person) -> None:
    """None twice and none left out of those that were there; also where several bear the same time."""
    await add(audited, 20, actor="user:walked")
    for _ in range(10):
        await add(audited, 1, actor="user:walked", at=NOON + timedelta(seconds=5))
    wanted = (await listed(audited, admin, actor="user:walked")).json()
    assert len(wanted) == 30
    answer = await listed(audited, admin, actor="user:walked", limit=7)
    seen = answer.json()
    while cursor := answer.headers.get("x-next-cursor"):
        await add(audited, 3, actor="user:walked", at=NOON + timedelta(hours=1))
        answer = await listed(audited, admin, actor="user:walked", limit=7, cursor=cursor)
        seen += answer.json()
    assert seen == wanted
    assert "link" not in answer.headers


async def test_links_keep_the_filters(audited: Service, admin: Person) -> None:
    """C-19: `Link` leads on, from a page by offset and from one by cursor."""
    await add(audited, 9, actor="user:linked")
    everything = (await listed(audited, admin, actor="user:linked")).json()
    answer = await listed(audited, admin, actor="user:linked", limit=4)
    assert answer.headers["link"] == f'<{AUDIT}?actor=user%3Alinked&limit=4&offset=4>; rel="next"'
    second = await audited.client.get(answer.headers["link"][1:].partition(">")[0], headers=admin.bearer)
    assert second.json() == everything[4:8]
    by_cursor = await listed(audited, admin, actor="user:linked", limit=4, cursor=answer.headers["x-next-cursor"])
    assert by_cursor.json() == everything[4:8]
    third = await audited.client.get(by_cursor.headers["link"][1:].partition(">")[0], headers=admin.bearer)
    assert third.json() == everything[8:]


def cursor(microseconds: bytes, identifier: UUID = NAMED) -> str:
    return base64.urlsafe_b64encode(microseconds + identifier.bytes).decode()


@pytest.mark.parametrize(
    "query",
    [
        {"cursor": "x"}, {"cursor": "a" * 32 + "b"}, {"cursor": ""}, {"cursor": "=" * 32}, {"cursor": "\x00"},
        {"cursor": "é"}, {"cursor": "a" * 500}, {"cursor": cursor(b"\xff" * 8)},
        {"cursor": cursor(b"\x7f" + b"\xff" * 7)},
        {"cursor": cursor(b"\0" * 8), "offset": 1}, {"since": "yesterday"}, {"since": "0"},
        {"since": "2026-01-01"}, {"since": "2026-01-01T00:00:00"}, {"until": ""},
        {"since": "0001-01-01T00:00:00+14:00"},
        {"until": "9999-12-31T23:59:59-14:00"}, {"actor": "\x00"}, {"target": "x" * 601},
    ],
)  # fmt: skip
async def test_invalid_input_is_refused(audited: Service, admin: Person, query: dict[str, Any]) -> None:
    answer = await audited.client.get(AUDIT, params=query, headers=admin.bearer)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed"), answer.text


@pytest.mark.parametrize(
    "query",
    [
        {"cursor": cursor(b"\0" * 8)}, {"cursor": cursor(b"\0" * 8, UUID(int=2**128 - 1))},
        {"cursor": cursor((250_000_000_000_000_000).to_bytes(8))}, {"since": "0001-01-01T00:00:00Z"},
        {"until": "9999-12-31T23:59:59Z"},
    ],
)  # fmt: skip
async def test_the_ends_of_time_are_no_error(audited: Service, admin: Person, query: dict[str, Any]) -> None:
    await listed(audited, admin, **query)


async def test_a_new_record_is_chained_within_a_second(audited: Service, admin: Person) -> None:
    """The running service links what it records."""
    person = await audited.register()
    await asyncio.sleep(1)
    loose = await audited.sql(
        "SELECT FROM idp.audit_logs a LEFT JOIN idp.audit_chain c ON c.audit_id = a.id"
        " WHERE a.user_id = $1 AND c.seq IS NULL",
        person.id,
    )
    assert loose == []
    assert (await listed(audited, admin, user_id=person.id)).json() != []
