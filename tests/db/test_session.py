"""The settings of a database session, regardless of ALTER ROLE and ALTER DATABASE (decision 0028)."""

import asyncio
import socket

import pytest
from msgspec import structs
from sqlalchemy import text

from db.test_pgbouncer import BAD_DEFAULTS, spoil
from factories import PASSWORD, prepare, running
from idp.db.engine import Database
from idp.db.reads import Reads
from idp.dev.embedded import EmbeddedPostgres
from idp.errors import DatabaseUnavailable
from idp.settings import load


async def test_no_default_of_the_database_changes_what_the_service_does(postgres: EmbeddedPostgres) -> None:
    """eight refreshes of one token at once were four times 500 under repeatable read."""
    url = postgres.create_database("bad_defaults")
    await prepare(load("production", environ={"DATABASE_URL": url}))
    await spoil(url)
    async with running(url, profile="production", migrate=False) as service:
        person = await service.register()
        answers = await asyncio.gather(*(service.refresh(person.refresh_token) for _ in range(8)))
        assert {answer.status_code for answer in answers} == {200}
        async with service.app.core.database.transaction() as session:
            for name in BAD_DEFAULTS:
                shown = await session.scalar(text(f"SHOW {name.removeprefix('default_')}"))
                assert shown != BAD_DEFAULTS[name], name
        backends = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        before = (await service.sql(backends))[0][0]
        await asyncio.sleep(1)
        assert (await service.sql(backends))[0][0] == before, "nothing that rests is cut"
        row = await service.app.core.database.reads.fetchrow(
            "SELECT current_setting('transaction_isolation') AS isolation, current_setting('TimeZone') AS zone"
        )
        assert (row["isolation"], row["zone"]) == ("read committed", "UTC")


async def _reads(url: str) -> tuple[Database, Reads]:
    database = Database(load("production", environ={"DATABASE_URL": url}).settings.database)
    return database, database.reads


async def test_a_deadlock_is_tried_again_within_a_bound_and_then_503(postgres: EmbeddedPostgres) -> None:
    """what PostgreSQL rolled back may succeed at the next attempt; for ever it is no use."""
    database, reads = await _reads(postgres.create_database("in_the_way"))
    await reads.fetch("CREATE SEQUENCE attempts")
    await reads.fetch(
        "CREATE FUNCTION in_the_way(state text, times bigint) RETURNS bigint LANGUAGE plpgsql AS $$ "
        "DECLARE n bigint := nextval('attempts'); BEGIN "
        "IF n % 10 <= times AND n % 10 > 0 THEN RAISE EXCEPTION 'x' USING ERRCODE = state; END IF; RETURN n; END $$"
    )
    for state in ("40001", "40P01"):
        await reads.fetch("SELECT setval('attempts', 10)")
        row = await reads.fetchrow("SELECT in_the_way($1, 2) AS n", state)
        assert row["n"] == 13, "the third attempt"
        await reads.fetch("SELECT setval('attempts', 20)")
        with pytest.raises(DatabaseUnavailable):
            await reads.fetch("SELECT in_the_way($1, 9)", state)
        with pytest.raises(DatabaseUnavailable):
            async with database.transaction() as session:
                await session.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$"))
    await database.close()


async def test_signing_in_and_out_and_up_get_past_a_deadlock(postgres: EmbeddedPostgres) -> None:
    """also where they take several statements; what never ends is 503 with Retry-After."""
    url = postgres.create_database("deadlocks")
    async with running(url, profile="production") as service:
        person = await service.register()
        await service.sql("CREATE SEQUENCE public.attempts")
        await service.sql(
            "CREATE FUNCTION public.in_the_way() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF nextval('public.attempts') % 10 <= TG_ARGV[0]::int THEN RAISE EXCEPTION 'x' USING ERRCODE = '40P01'; "
            "END IF; RETURN NEW; END $$"
        )

        async def answers(times: int) -> list[int]:
            """Sign up and in, in with a wrong password, and out, each with so many deadlocks at its last statement."""
            trigger = "CREATE OR REPLACE TRIGGER in_the_way BEFORE INSERT ON idp.audit_logs FOR EACH ROW"
            await service.sql(f"{trigger} EXECUTE FUNCTION public.in_the_way({times})")
            found = []
            for path, body in (
                ("/auth/register", {"email": service.new_email(), "password": PASSWORD, "name": "Pat"}),
                ("/auth/login", {"email": person.email, "password": PASSWORD}),
                ("/auth/login", {"email": person.email, "password": "wrong horse battery"}),
                ("/auth/logout", {"refresh_token": person.refresh_token}),
            ):
                await service.sql("SELECT setval('public.attempts', 10)")
                answer = await service.client.post(path, json=body)
                assert answer.status_code != 503 or answer.headers["Retry-After"]
                found.append(answer.status_code)
            return found

        assert await answers(9) == [503, 503, 503, 503]
        assert await answers(2) == [200, 200, 401, 200]
        assert (await service.refresh(person.refresh_token)).status_code == 401


@pytest.mark.parametrize(("parameters", "expected"), [
    ("", (1, 30, 10, 3, 30_000)),
    ("keepalives_idle=45&keepalives_interval=7&keepalives_count=5&tcp_user_timeout=9000", (1, 45, 7, 5, 9_000)),
])  # fmt: skip
async def test_tcp_detects_a_dead_peer(postgres: EmbeddedPostgres, parameters: str, expected: tuple[int, ...]) -> None:
    """on each kind of connection, as the address says, or by ourselves."""
    database, reads = await _reads(f"{postgres.create_database(f'keepalive_{len(parameters)}')}?{parameters}")
    listening = await database.connect_directly()
    await reads.fetch("SELECT 1")
    async with database.transaction() as session:
        raw = await (await session.connection()).get_raw_connection()
        for connection in (listening, raw.driver_connection):
            sock = connection._transport.get_extra_info("socket")
            options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
            found = [sock.getsockopt(socket.IPPROTO_TCP, option) for option in options]
            assert (sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), *found) == expected
    await listening.close()
    await database.close()


async def test_connections_are_replaced_when_they_are_old(postgres: EmbeddedPostgres) -> None:
    """a balancer in between forgets what is old."""
    url = postgres.create_database("old_connections")
    settings = load("production", environ={"DATABASE_URL": url}).settings.database
    database = Database(structs.replace(settings, connection_max_age_seconds=1.0))

    async def backends() -> set[int]:
        async with database.transaction() as session:
            pid = await session.scalar(text("SELECT pg_backend_pid()"))
        return {pid, (await database.reads.fetchrow("SELECT pg_backend_pid() AS pid"))["pid"]}

    first = await backends()
    assert await backends() == first
    await asyncio.sleep(2.1)  # the pool counts whole seconds
    assert first.isdisjoint(await backends())
    await database.close()
