"""Two roles: an owner that migrates, and the service's role, which can only add to the audit log."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from factories import PASSWORD, postgres_bin, running
from idp.cli.database import migrate_now
from idp.db.grants import role_of
from idp.dev import initdb
from idp.dev.embedded import EmbeddedPostgres
from idp.settings import load

SERVICE_PASSWORD = secrets.token_urlsafe(16)
AUDIT = ("audit_logs", "audit_chain")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL with one more role, which only a superuser can make: while the cluster is made."""
    server = EmbeddedPostgres(Path(tmp_path_factory.mktemp("two_roles")), bin_dir=postgres_bin())
    with pytest.MonkeyPatch.context() as patch:
        more = f"CREATE ROLE \"the-service\" LOGIN PASSWORD '{SERVICE_PASSWORD}'\n"
        patch.setattr(initdb, "_BOOTSTRAP", initdb._BOOTSTRAP + more)
        server.start()
    yield server
    server.stop()


def as_service(url: str) -> str:
    """Return the address of the same database for the service's role."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"the-service:{SERVICE_PASSWORD}@{parts.hostname}:{parts.port}").geturl()


@pytest.fixture
async def owners(cluster: EmbeddedPostgres) -> str:
    """The owner's address of a migrated database, where the service's role has what it needs."""
    url = cluster.create_database(f"two_roles_{secrets.token_hex(4)}")
    assert await migrate(as_service(url), url) == [
        "The database was migrated.",
        "Created 9 teams and domains from the seed.",
    ]
    return url


async def migrate(service: str, owner: str) -> list[str]:
    settings = load("production", environ={"DATABASE_URL": service, "DATABASE_MIGRATION_URL": owner}).settings
    return await asyncio.to_thread(migrate_now, settings)


@pytest.fixture
async def connection(owners: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the service's role."""
    connection = await asyncpg.connect(as_service(owners))
    yield connection
    await connection.close()


async def test_the_service_works_as_the_lesser_role(owners: str) -> None:
    """Registers, signs in, makes and ends a key, changes and deletes an account, and chains what it records."""
    async with running(as_service(owners), profile="production", migrate=False) as service:
        person = await service.register()
        login = {"email": person.email, "password": PASSWORD}
        assert (await service.client.post("/auth/login", json=login)).status_code == 200
        assert (await service.validate(person.token))["valid"] is True
        made = await service.client.post("/v1/api-keys", json={"name": "k", "scopes": ["r"]}, headers=person.bearer)
        assert made.status_code == 201, made.text
        path = f"/v1/api-keys/{made.json()['key_id']}"
        assert (await service.client.delete(path, headers=person.bearer)).status_code == 200
        renamed = await service.client.patch("/v1/me", json={"name": "Other"}, headers=person.bearer)
        assert renamed.status_code == 200
        gone = await service.client.request("DELETE", "/v1/me", json={"confirm": person.email}, headers=person.bearer)
        assert gone.status_code == 200, gone.text
        assert (await service.client.get("/readyz")).status_code == 200
        await asyncio.sleep(1)
        (row,) = await service.sql(
            "SELECT (SELECT count(*) FROM idp.audit_logs) AS records, (SELECT count(*) FROM idp.audit_chain) AS links"
        )
        assert row["records"] == row["links"] > 5


@pytest.mark.parametrize("table", AUDIT)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE idp.{} SET {} = {}", "DELETE FROM idp.{}", "TRUNCATE idp.{}", "DROP TABLE idp.{}",
        "ALTER TABLE idp.{} DISABLE TRIGGER USER", "CREATE RULE quiet AS ON INSERT TO idp.{} DO INSTEAD NOTHING",
    ],
)  # fmt: skip
async def test_the_audit_log_is_append_only(connection: asyncpg.Connection, table: str, statement: str) -> None:
    column = {"audit_logs": "actor", "audit_chain": "hash"}[table]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(statement.format(table, column, column))
    assert await connection.fetch(f"SELECT FROM idp.{table}") == []


async def test_the_service_may_not_change_tables_or_the_revision(connection: asyncpg.Connection) -> None:
    for statement in (
        "ALTER TABLE idp.users ADD COLUMN more text",
        "CREATE TABLE idp.more (id int)",
        "UPDATE idp.alembic_version SET version_num = '0000'",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)


async def test_migrating_again_takes_back_what_was_given_by_hand(owners: str, connection: asyncpg.Connection) -> None:
    """And gives the rights to what a new version brings."""
    owner = await asyncpg.connect(owners)
    await owner.execute('GRANT ALL ON idp.audit_logs TO "the-service", PUBLIC')
    await owner.execute("CREATE TABLE idp.newer (id bigint GENERATED ALWAYS AS IDENTITY, name text)")
    await owner.close()
    await connection.execute("DELETE FROM idp.audit_logs")
    assert await migrate(as_service(owners), owners) == ["The database is up to date."]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("DELETE FROM idp.audit_logs")
    await connection.execute("INSERT INTO idp.newer (name) VALUES ('x')")
    await connection.execute("DELETE FROM idp.newer")


async def test_with_one_role_nothing_changes(cluster: EmbeddedPostgres) -> None:
    url = cluster.create_database(f"one_role_{secrets.token_hex(4)}")
    assert (await migrate(url, url))[0] == "The database was migrated."
    owner = await asyncpg.connect(url)
    assert await owner.fetchval("SELECT relacl FROM pg_class WHERE oid = 'idp.audit_logs'::regclass") is None
    assert await owner.execute("DELETE FROM idp.audit_logs") == "DELETE 0"
    await owner.close()


async def test_a_role_that_owns_the_tables_is_pointed_out(cluster: EmbeddedPostgres, owners: str) -> None:
    """Tables made by the service's own role, before there was an owner."""
    name = f"was_one_{secrets.token_hex(4)}"
    url = cluster.create_database(name)
    owner = await asyncpg.connect(url)
    await owner.execute(f'GRANT CREATE ON DATABASE {name} TO "the-service"')
    await owner.close()
    await migrate(as_service(url), as_service(url))
    service = await asyncpg.connect(as_service(url))
    await service.execute("GRANT ALL ON SCHEMA idp TO idp")
    await service.execute("GRANT ALL ON ALL TABLES IN SCHEMA idp TO idp")
    await service.close()
    said = await migrate(as_service(url), url)
    assert said[-1] == (
        "The role the-service owns tables of the service, so it can also change the audit log: "
        "transfer them to the owner with REASSIGN OWNED."
    )


async def test_a_role_that_does_not_exist_is_pointed_out(cluster: EmbeddedPostgres) -> None:
    url = cluster.create_database(f"no_role_{secrets.token_hex(4)}")
    said = await migrate(as_service(url).replace("the-service", "nobody"), url)
    assert said[-1] == "The role nobody does not exist: nothing was granted."


@pytest.mark.parametrize(
    ("url", "role"),
    [
        ("postgresql://ada:x@host/idp", "ada"), ("postgres://a%40b:x@host:5432/idp", "a@b"),
        ("postgresql://host/idp?user=ada", "ada"), ("postgresql:///idp?host=/run", None), ("postgresql://host", None),
    ],
)  # fmt: skip
def test_an_address_names_its_role(url: str, role: str | None) -> None:
    assert role_of(url) == role
