"""Behind PgBouncer in transaction mode with its default settings (decision 0028)."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

import event_triggers
from db.pgbouncer_support import needs_pgbouncer, pgbouncer
from factories import Service, prepare, root_secret, running
from idp.dev.embedded import EmbeddedPostgres
from idp.settings import load

pytestmark = needs_pgbouncer


async def journeys(service: Service) -> None:
    """Register, sign in, refresh, read and change things, many at once."""
    people = await asyncio.gather(*(service.register() for _ in range(8)))
    for _ in range(3):
        refreshed = await asyncio.gather(*(service.refresh(each.refresh_token) for each in people))
        assert {answer.status_code for answer in refreshed} == {200}
        for person, answer in zip(people, refreshed, strict=True):
            person.refresh_token = answer.json()["refresh_token"]
        answers = await asyncio.gather(*(service.me(each.bearer) for each in people for _ in range(4)))
        assert {answer.status_code for answer in answers} == {200}
    admin = await service.register_admin()
    made = await service.client.post("/teams", json={"name": service.new_email()}, headers=admin.bearer)
    assert made.status_code == 201, made.text


@pytest.mark.parametrize("settings", [{}, {"default_pool_size": "8"}])
async def test_everything_works_with_its_default_settings(
    postgres: EmbeddedPostgres, tmp_path: Path, settings: dict[str, str]
) -> None:
    """no startup parameter that it refuses, no statement that it loses; LISTEN goes past it."""
    direct = postgres.create_database(f"bouncer_{len(settings)}")
    await prepare(load("production", environ={"DATABASE_URL": direct}))
    await event_triggers.remove(direct)  # connections of the tests, too, are the service's behind the pooler
    with pgbouncer(direct, tmp_path / "bouncer", **settings) as url:
        environ = {"DATABASE_DIRECT_URL": direct}
        async with running(url, environ=environ, profile="production", migrate=False) as service:
            assert service.app.core.change_listener.lease_is_valid
            await journeys(service)
            person = await service.register()
            await service.sql("UPDATE idp.users SET is_active = false WHERE id = $1", person.id)
            assert (await service.me(person.bearer)).status_code in {401, 403}, "a change is heard past the pooler"


async def test_two_processes_share_its_connections_without_meeting_each_others_statements(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    """PgBouncer hands one server connection to both in turn."""
    direct = postgres.create_database("bouncer_two")
    await prepare(load("production", environ={"DATABASE_URL": direct}))
    await event_triggers.remove(direct)  # connections of the tests, too, are the service's behind the pooler
    with pgbouncer(direct, tmp_path / "bouncer", default_pool_size="10") as url:
        environ = {"DATABASE_DIRECT_URL": direct, "IDP_SECRET_KEY": root_secret()}
        async with (
            running(url, environ=environ, profile="production", migrate=False) as one,
            running(url, environ=environ, profile="production", migrate=False) as two,
        ):
            await asyncio.gather(journeys(one), journeys(two))


BAD_DEFAULTS = {
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "statement_timeout": "20",
    "search_path": "pg_catalog",
    "timezone": "Asia/Tokyo",
    "lock_timeout": "1",
    "row_security": "off",
    "idle_session_timeout": "500",
}


async def spoil(url: str, *, only: tuple[str, ...] = tuple(BAD_DEFAULTS)) -> None:
    """Set defaults of this database that would break the service."""
    connection = await asyncpg.connect(url, server_settings={"default_transaction_read_only": "off"})
    name = await connection.fetchval("SELECT quote_ident(current_database())")
    for setting in only:
        await connection.execute(f"ALTER DATABASE {name} SET {setting} = '{BAD_DEFAULTS[setting]}'")
    await connection.close()


async def test_the_role_and_the_database_may_have_any_defaults_behind_it(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    """each transaction begins with what it needs."""
    direct = postgres.create_database("bouncer_defaults")
    await prepare(load("production", environ={"DATABASE_URL": direct}))
    await event_triggers.remove(direct)  # connections of the tests, too, are the service's behind the pooler
    await spoil(direct, only=tuple(name for name in BAD_DEFAULTS if name not in {"statement_timeout", "lock_timeout"}))
    with pgbouncer(direct, tmp_path / "bouncer") as url:
        environ = {"DATABASE_DIRECT_URL": direct}
        async with running(url, environ=environ, profile="production", migrate=False) as service:
            person = await service.register()
            answers = await asyncio.gather(*(service.refresh(person.refresh_token) for _ in range(8)))
            assert {answer.status_code for answer in answers} == {200}
