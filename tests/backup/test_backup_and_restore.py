"""`idp backup` and `idp restore` (S3-58): what was there works again, and a damaged file restores nothing."""

import asyncio
import json
import secrets
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest

from cli.support import idp, root_secret
from factories import Person, Service, running
from idp.dev.embedded import EmbeddedPostgres

PUBLIC = {"IDP_PUBLIC_URL": "https://id.example.com"}


class BackedUp(NamedTuple):
    """A service whose database was backed up, and credentials from before."""

    url: str
    secret: str
    file: Path
    person: Person
    key: str
    rows: dict[str, int]

    @property
    def environ(self) -> dict[str, str]:
        return {"DATABASE_URL": self.url, "IDP_SECRET_KEY": self.secret}


def new_database(postgres: EmbeddedPostgres) -> str:
    return postgres.create_database(f"backup_{secrets.token_hex(4)}")


async def sql(url: str, statement: str, *values: Any) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(statement, *values))
    finally:
        await connection.close()


async def counts(url: str) -> dict[str, int]:
    names = await sql(url, "SELECT relname FROM pg_class WHERE relnamespace = 'idp'::regnamespace AND relkind = 'r'")
    return {
        name: (await sql(url, f'SELECT count(*) FROM idp."{name}"'))[0]["count"]
        for (name,) in names
        if name not in {"alembic_version", "leases", "change_log"}
    }


@pytest.fixture(scope="module")
async def backed_up(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> BackedUp:
    url, secret = new_database(postgres), root_secret()
    file = tmp_path_factory.mktemp("backup") / "idp.backup"
    async with running(url, environ=PUBLIC | {"IDP_SECRET_KEY": secret}, profile="production") as service:
        person = await service.register()
        await service.register_admin()
        body = {"name": "kept", "scopes": ["read"]}
        key = (await service.client.post("/v1/api-keys", json=body, headers=person.bearer)).json()["secret"]
        assert (await service.validate(person.token))["valid"]
        await until_chained(service)
    done = idp("backup", str(file), "-o", "json", DATABASE_URL=url, IDP_SECRET_KEY=secret)
    assert (done.returncode, done.stderr) == (0, ""), done
    return BackedUp(url, secret, file, person, key, json.loads(done.stdout)["rows"])


async def until_chained(service: Service) -> None:
    statement = "SELECT count(*) FROM idp.audit_logs WHERE id NOT IN (SELECT audit_id FROM idp.audit_chain)"
    for _ in range(100):
        if not (await service.sql(statement))[0]["count"]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("records are not linked")


async def test_a_restored_database_has_every_row_and_every_credential_works(
    postgres: EmbeddedPostgres, backed_up: BackedUp
) -> None:
    there = new_database(postgres)
    done = idp("restore", str(backed_up.file), DATABASE_URL=there, IDP_SECRET_KEY=backed_up.secret)
    assert done.returncode == 0, done.stderr
    assert "Every change after" in done.stdout
    assert await counts(there) == backed_up.rows
    async with running(
        there, environ=PUBLIC | {"IDP_SECRET_KEY": backed_up.secret}, profile="production", migrate=False
    ) as service:
        assert (await service.validate(backed_up.key))["valid"]
        assert (await service.me(backed_up.person.bearer)).status_code == 200
        person = await service.sign_in(backed_up.person)
        assert (await service.refresh(person.refresh_token)).status_code == 200
        await service.register()  # sequences go on
    verified = idp("audit", "verify", DATABASE_URL=there, IDP_SECRET_KEY=backed_up.secret)
    assert verified.returncode == 0, verified.stderr


async def test_the_schema_is_the_same_as_a_migrated_one(postgres: EmbeddedPostgres, backed_up: BackedUp) -> None:
    """References and triggers are there again."""
    objects = (
        "SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'idp'::regnamespace UNION ALL"
        " SELECT tgrelid::regclass::text, tgname::text, tgenabled::text FROM pg_trigger WHERE NOT tgisinternal"
        " ORDER BY 1, 2, 3"
    )
    there, fresh = new_database(postgres), new_database(postgres)
    assert idp("restore", str(backed_up.file), DATABASE_URL=there, IDP_SECRET_KEY=backed_up.secret).returncode == 0
    assert idp("migrate", DATABASE_URL=fresh).returncode == 0
    assert await sql(there, objects) == await sql(fresh, objects)


async def test_a_backup_is_one_moment_while_changes_go_on(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """Every session that it has is of a user that it has, however many register meanwhile."""
    url, secret, file = new_database(postgres), root_secret(), tmp_path / "b"
    async with running(url, environ={"IDP_SECRET_KEY": secret}, profile="production") as service:
        ended = asyncio.Event()

        async def register() -> None:
            while not ended.is_set():
                await service.register()

        busy = [asyncio.create_task(register()) for _ in range(3)]
        try:
            for number in range(3):
                done = await asyncio.to_thread(
                    idp, "backup", f"{file}{number}", DATABASE_URL=url, IDP_SECRET_KEY=secret
                )
                assert done.returncode == 0, done.stderr
        finally:
            ended.set()
            await asyncio.gather(*busy)
    for number in range(3):
        there = new_database(postgres)  # references are checked when they are added again
        done = idp("restore", f"{file}{number}", DATABASE_URL=there, IDP_SECRET_KEY=secret)
        assert done.returncode == 0, done.stderr


def test_a_backup_contains_no_address_and_no_digest_in_clear(backed_up: BackedUp) -> None:
    raw = backed_up.file.read_bytes()
    assert backed_up.person.email.encode() not in raw
    assert b"argon2" not in raw
    assert backed_up.file.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in backed_up.file.parent.iterdir()] == ["idp.backup"]


def test_a_backup_follows_no_link_and_keeps_no_permission_that_another_user_prepared(
    backed_up: BackedUp, tmp_path: Path
) -> None:
    """In a shared folder, such as /tmp, others can create files under the names that a backup will have."""
    victim, file, link = tmp_path / "victim", tmp_path / "b", tmp_path / "b.part"
    victim.write_text("kept")
    victim.chmod(0o666)
    link.symlink_to(victim)
    for prepared in (link, file):
        prepared.unlink(missing_ok=True)
        prepared.symlink_to(victim)
        done = idp("backup", str(file), **backed_up.environ)
        assert done.returncode == 0, done.stderr
        assert victim.read_text() == "kept"
        assert not file.is_symlink()
        assert file.stat().st_mode & 0o777 == 0o600


def damaged(raw: bytes) -> dict[str, tuple[bytes, str]]:
    middle = len(raw) // 2
    return {
        "a changed byte": (raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :], "was changed"),
        "cut": (raw[:-10], "its end is missing"),
        "more bytes": (raw + b"x", "more follows its end"),
        "another file": (b"PGDMP" + raw[5:], "no backup of `idp backup`"),
        "empty": (b"", "no backup of `idp backup`"),
        "only a head": (raw[:40], "its end is missing"),
    }


@pytest.mark.parametrize("how", list(damaged(b"0123456789")))
async def test_a_damaged_backup_restores_nothing(
    postgres: EmbeddedPostgres, backed_up: BackedUp, tmp_path: Path, how: str
) -> None:
    raw, says = damaged(backed_up.file.read_bytes())[how]
    file, there = tmp_path / "damaged", new_database(postgres)
    file.write_bytes(raw)
    for arguments in (("restore", str(file)), ("restore", "--check", str(file))):
        done = idp(*arguments, DATABASE_URL=there, IDP_SECRET_KEY=backed_up.secret)
        assert done.returncode == 1
        assert says in done.stderr
        assert "Traceback" not in done.stderr
    assert await sql(there, "SELECT 1 FROM pg_namespace WHERE nspname LIKE 'idp%'") == []


async def test_a_damaged_backup_leaves_present_data_as_it_was(
    postgres: EmbeddedPostgres, backed_up: BackedUp, tmp_path: Path
) -> None:
    there, file = new_database(postgres), tmp_path / "damaged"
    assert idp("migrate", DATABASE_URL=there).returncode == 0
    before = await counts(there)
    file.write_bytes(backed_up.file.read_bytes()[:-10])
    done = idp("restore", "--replace", str(file), DATABASE_URL=there, IDP_SECRET_KEY=backed_up.secret)
    assert done.returncode == 1
    assert await counts(there) == before


async def test_another_root_secret_opens_nothing_and_a_previous_one_does(
    postgres: EmbeddedPostgres, backed_up: BackedUp
) -> None:
    there, new = new_database(postgres), root_secret()
    done = idp("restore", str(backed_up.file), DATABASE_URL=there, IDP_SECRET_KEY=new)
    assert done.returncode == 1
    assert "IDP_PREVIOUS_SECRET_KEYS" in done.stderr
    environ = {"IDP_SECRET_KEY": new, "IDP_PREVIOUS_SECRET_KEYS": backed_up.secret}
    assert idp("restore", str(backed_up.file), DATABASE_URL=there, **environ).returncode == 0


async def test_present_data_is_refused_and_with_replace_kept(postgres: EmbeddedPostgres, backed_up: BackedUp) -> None:
    there = new_database(postgres)
    environ = {"DATABASE_URL": there, "IDP_SECRET_KEY": backed_up.secret}
    assert idp("restore", str(backed_up.file), **environ).returncode == 0
    refused = idp("restore", str(backed_up.file), **environ)
    assert refused.returncode == 1
    assert "--replace" in refused.stderr
    done = idp("restore", "--replace", "--end-sessions", str(backed_up.file), **environ)
    assert done.returncode == 0, done.stderr
    assert await sql(there, "SELECT 1 FROM idp.user_sessions WHERE ended_at IS NULL") == []
    assert await sql(there, "SELECT 1 FROM idp_before_restore.user_sessions WHERE ended_at IS NULL")
    assert "An earlier restore kept" in idp("restore", "--replace", str(backed_up.file), **environ).stderr


async def test_a_backup_of_an_older_schema_is_migrated(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """The rows are loaded into the schema of their revision, and then migrated like any other."""
    from idp.db import migrate
    from idp.db.engine import Database
    from idp.settings import load

    url, secret, file = new_database(postgres), root_secret(), tmp_path / "old"
    database = Database(load("production", environ={"DATABASE_URL": url}).settings.database)
    await migrate.upgrade(database, to="0010")
    await database.close()
    await sql(
        url,
        "INSERT INTO idp.users (id, email, email_key, email_verified, is_active, created_at, updated_at, login_type,"
        " plan, version, password_version)"
        " VALUES ('old', 'old@example.com', 'old@example.com', true, true, now(), now(), 'password', 'FREE', 1, 1)",
    )
    environ = {"IDP_SECRET_KEY": secret}
    assert idp("backup", str(file), DATABASE_URL=url, **environ).returncode == 0
    there = new_database(postgres)
    done = idp("restore", str(file), DATABASE_URL=there, **environ)
    assert done.returncode == 0, done.stderr
    assert "schema 0010" in done.stdout
    assert await sql(there, "SELECT 1 FROM idp.users WHERE id = 'old'")
    assert idp("migrate", "--check", DATABASE_URL=there).returncode == 0


async def test_a_backup_is_verified_by_restoring_it(
    postgres: EmbeddedPostgres, backed_up: BackedUp, tmp_path: Path
) -> None:
    """Only a verified backup is remembered, and the other database is empty again."""
    scratch = new_database(postgres)
    await sql(backed_up.url, "DELETE FROM idp.installation WHERE name = 'last_backup'")
    done = idp("backup", str(tmp_path / "verified"), "--verify-in", scratch, **backed_up.environ)
    assert done.returncode == 0, done.stderr
    assert await sql(scratch, "SELECT 1 FROM pg_namespace WHERE nspname LIKE 'idp%'") == []
    assert await sql(backed_up.url, "SELECT 1 FROM idp.installation WHERE name = 'last_backup'")


def test_files_that_cannot_be_written_or_read_are_errors(backed_up: BackedUp, tmp_path: Path) -> None:
    written = idp("backup", str(tmp_path / "none/b"), **backed_up.environ)
    read = idp("restore", str(tmp_path / "none/b"), **backed_up.environ)
    assert (written.returncode, read.returncode) == (2, 2)
    assert "Cannot write" in written.stderr
    assert "Cannot read" in read.stderr


async def test_a_database_in_use_is_not_replaced(postgres: EmbeddedPostgres, backed_up: BackedUp) -> None:
    """The service would go on with the renamed tables' connections, and log errors meanwhile."""
    there = new_database(postgres)
    environ = PUBLIC | {"IDP_SECRET_KEY": backed_up.secret}
    async with running(there, environ=environ, profile="production") as service:
        await service.register()
        for _ in range(100):
            if await sql(there, "SELECT 1 FROM idp.leases WHERE expires_at > clock_timestamp()"):
                break
            await asyncio.sleep(0.05)
        done = await asyncio.to_thread(
            idp, "restore", "--replace", str(backed_up.file), DATABASE_URL=there, IDP_SECRET_KEY=backed_up.secret
        )
        assert done.returncode == 1
        assert "The service runs on this database" in done.stderr
        await service.register()
