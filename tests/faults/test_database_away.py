"""PostgreSQL goes away and comes back: 503 with a code and Retry-After, never "invalid", and well again by itself."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from factories import OWN_LIMITS, PASSWORD, Service, postgres_bin, running, until_it_hears
from idp.dev.embedded import EmbeddedPostgres


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that may be stopped, of the same version as the others'."""
    server = EmbeddedPostgres(tmp_path / "postgres", bin_dir=postgres_bin())
    server.start()
    yield server
    server.stop()


async def answers(service: Service, token: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"}
    registration = {"email": service.new_email(), "password": PASSWORD, "name": "Pat"}
    login = {"email": "pat@example.com", "password": PASSWORD}
    return {
        "me": await service.client.get("/auth/me", headers=headers),
        "teams": await service.client.get("/teams/all", headers=headers),
        "validate": await service.client.post("/auth/validate", json={"token": token}),
        "register": await service.client.post("/auth/register", json=registration),
        "login": await service.client.post("/auth/login", json=login),
        "dev header": await service.client.get("/auth/me", headers={"X-User-Email": "pat@example.com"}),
    }


async def expect_all_unavailable(service: Service, token: str) -> None:
    for name, answer in (await answers(service, token)).items():
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable"), name
        assert int(answer.headers["retry-after"]) >= 1, name


@pytest.mark.alone
async def test_a_stopped_database_is_503_and_recovers_by_itself(own_postgres: EmbeddedPostgres) -> None:
    """SEC-77: nothing half-written; the same process serves again."""
    async with running(own_postgres.create_database("away"), environ=OWN_LIMITS) as service:
        person = await service.register("pat@example.com")
        own_postgres.stop()
        await expect_all_unavailable(service, person.token)
        assert (await service.client.get("/healthz")).status_code == 200
        health = await service.client.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "degraded")
        assert health.json()["components"]["database"].startswith("unhealthy: ")
        ready = await service.client.get("/readyz")
        assert (ready.status_code, ready.json()) == (503, {"status": "unavailable"})
        own_postgres.start()
        assert (await service.me(person.bearer)).status_code == 200
        assert {answer.status_code for answer in (await answers(service, person.token)).values()} == {200}
        rows = await service.sql("SELECT email FROM idp.users ORDER BY created_at")
        assert len(rows) == 2  # Pat, and the one whose registration succeeded


@pytest.mark.alone
async def test_the_change_listener_listens_again_after_an_outage(own_postgres: EmbeddedPostgres) -> None:
    """Rule 5: without it no verdict is ever cached again, and `/health` stays degraded."""
    async with running(own_postgres.create_database("listening"), environ=OWN_LIMITS) as service:
        listener = service.app.core.change_listener
        own_postgres.stop()
        await asyncio.sleep(2)
        assert not listener.failed
        own_postgres.start()
        await until_it_hears(service)
        assert listener.lease_is_valid
        assert (await service.client.get("/health")).json()["status"] == "healthy"


@pytest.mark.alone
async def test_a_database_that_hangs_is_503_and_not_a_hang(own_postgres: EmbeddedPostgres) -> None:
    """A paused server accepts connections and never answers: 503 within about a second, on old and new connections."""
    loop = asyncio.get_running_loop()
    async with running(own_postgres.create_database("hangs"), environ=OWN_LIMITS) as service:
        person = await service.register("pat@example.com")
        own_postgres.pause()
        try:
            for _ in range(3):
                started = loop.time()
                answer = await service.me(person.bearer)
                assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
                assert loop.time() - started < 2
        finally:
            own_postgres.resume()
        for _ in range(50):
            answer = await service.me(person.bearer)
            if answer.status_code == 200:
                break
            await asyncio.sleep(0.1)
        assert answer.status_code == 200


async def test_a_failed_commit_is_not_answered_as_success(postgres: EmbeddedPostgres) -> None:
    """Rule 4: a constraint that is checked at the commit fails it, and the client hears so."""
    async with running(postgres.create_database("commit")) as service:
        await service.sql(
            "CREATE FUNCTION idp.refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '57000'; END $$"
        )
        await service.sql(
            "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON idp.users DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION idp.refuse()"
        )
        body = {"email": "pat@example.com", "password": PASSWORD, "name": "Pat"}
        answer = await service.client.post("/auth/register", json=body)
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert await service.sql("SELECT FROM idp.users") == []
        assert await service.sql("SELECT FROM idp.audit_logs") == []


async def test_a_dead_valkey_costs_nothing_but_shared_limits(postgres: EmbeddedPostgres) -> None:
    """Valkey is a hint: logins work, limits count in the process, and health says so."""
    async with running(postgres.create_database("novalkey"), valkey_url="valkey://127.0.0.1:1/0") as service:
        person = await service.register("pat@example.com")
        login = {"email": person.email, "password": PASSWORD}
        assert (await service.client.post("/auth/login", json=login)).status_code == 200
        wrong = {**login, "password": "wrong password"}
        codes = [(await service.client.post("/auth/login", json=wrong)).status_code for _ in range(11)]
        assert codes == [401] * 10 + [429]
        health = (await service.client.get("/health")).json()
        assert health["components"]["redis"].startswith("unhealthy: ")
        assert (await service.client.get("/readyz")).status_code == 200
