"""`idp migrate`: once, again, concurrently, and with errors."""

import asyncio
import re
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from cli.support import IDP, PLAIN, free_port, idp, refusal


async def sql(url: str, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(statement)
    finally:
        await connection.close()


async def test_an_empty_database_is_migrated_and_seeded_once(empty: str) -> None:
    """S3-39, S3-40, S3-42."""
    first = idp("migrate", DATABASE_URL=empty)
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == "The database was migrated.\nCreated 9 teams and domains from the seed.\n"
    again = idp("migrate", DATABASE_URL=empty)
    assert (again.returncode, again.stdout) == (0, "The database is up to date.\n")
    names = {row["name"] for row in await sql(empty, "SELECT name FROM idp.teams UNION SELECT name FROM idp.domains")}
    assert {"General", "Engineering", "Product", "Design", "Product Management", "Marketing", "Sales"} == names


async def test_rows_changed_by_hand_stay_and_missing_ones_are_restored(empty: str) -> None:
    """S3-39: the seed never overwrites."""
    idp("migrate", DATABASE_URL=empty)
    await sql(empty, "UPDATE idp.teams SET is_active = false WHERE name = 'Product'")
    await sql(empty, "DELETE FROM idp.teams WHERE name = 'Design'")
    assert "Created 1 teams and domains from the seed." in idp("migrate", DATABASE_URL=empty).stdout
    rows = await sql(empty, "SELECT name, is_active FROM idp.teams WHERE name IN ('Product', 'Design') ORDER BY name")
    assert [tuple(row) for row in rows] == [("Design", True), ("Product", False)]


async def test_three_at_once_migrate_once(empty: str) -> None:
    """S4-42: each replica's init container runs it."""
    running = [
        await asyncio.create_subprocess_exec(*IDP, "migrate", env=PLAIN | {"DATABASE_URL": empty}, stdout=-1, stderr=-1)
        for _ in range(3)
    ]
    ended = [(await process.communicate(), process.returncode) for process in running]
    assert [code for _, code in ended] == [0, 0, 0], ended
    said = "".join(out.decode() for (out, _), _ in ended)
    assert (said.count("was migrated"), said.count("is up to date")) == (1, 2)
    assert (await sql(empty, "SELECT count(*) FROM idp.teams"))[0][0] == 4


async def test_check_changes_nothing(empty: str, migrated: str) -> None:
    said = refusal("migrate", "--check", DATABASE_URL=empty)
    assert said == "idp: The database was never migrated: run `idp migrate`.\n"
    assert await sql(empty, "SELECT 1 FROM pg_namespace WHERE nspname = 'idp'") == []
    done = idp("migrate", "--check", DATABASE_URL=migrated)
    assert done.returncode == 0
    assert re.fullmatch(r"The database is at revision \d{4}, as required\.\n", done.stdout)


async def test_a_database_that_is_behind_is_distinguished_from_one_that_is_ahead(empty: str) -> None:
    idp("migrate", DATABASE_URL=empty)
    await sql(empty, "UPDATE idp.alembic_version SET version_num = '0000'")
    assert re.fullmatch(
        r"idp: The database is at revision 0000, this version requires \d{4}: run `idp migrate`\.\n",
        refusal("migrate", "--check", DATABASE_URL=empty),
    )
    await sql(empty, "UPDATE idp.alembic_version SET version_num = '9999'")
    ahead = idp("migrate", DATABASE_URL=empty)
    assert (ahead.returncode, ahead.stdout) == (0, "The schema is newer than this version: nothing was changed.\n")


async def test_a_role_that_cannot_create_tables_is_referred_to_the_owner(empty: str) -> None:
    name = urlsplit(empty).path[1:]
    await sql(empty, f"REVOKE CREATE ON DATABASE {name} FROM idp")
    assert refusal("migrate", DATABASE_URL=empty) == (
        f"idp: The user 'idp' may not do this in the database '{name}' (permission denied for database {name}): "
        "grant it, or set DATABASE_MIGRATION_URL to an owner role for `idp migrate`.\n"
    )


def test_the_owners_address_is_used_where_there_is_one(empty: str) -> None:
    """DATABASE_MIGRATION_URL: the service's own role needs no right to change tables."""
    services = f"postgresql://service:x@127.0.0.1:{free_port()}/idp"
    done = idp("migrate", DATABASE_URL=services, DATABASE_MIGRATION_URL=empty)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("The database was migrated.\n")


@pytest.mark.parametrize("command", [["migrate"], ["migrate", "--check"], ["check-db"]])
def test_without_an_address_each_says_so(command: list[str]) -> None:
    assert refusal(*command) == (
        "idp: DATABASE_URL is not set: set it to postgresql://user:password@host:5432/database.\n"
    )


def test_a_seed_file_that_does_not_exist_is_named(empty: str) -> None:
    """S3-41."""
    said = refusal("migrate", DATABASE_URL=empty, IDP_SEED_FILE="/nowhere/seed.toml")
    assert said.startswith("idp: The seed file /nowhere/seed.toml cannot be used")


@pytest.mark.parametrize("text", ["A\u202eB", " A", "\u2028"])
def test_a_name_of_the_seed_is_plain_text_and_the_sentence_says_so(empty: str, tmp_path: Path, text: str) -> None:
    """Wherever a name comes from; and no pattern is quoted."""
    (tmp_path / "seed.toml").write_text(f'[[teams]]\nname = "{text}"\n', "utf-8")
    said = refusal("migrate", DATABASE_URL=empty, IDP_SEED_FILE=str(tmp_path / "seed.toml"))
    assert "one line of visible text" in said
    assert "$.teams[0].name" in said
    assert "regex" not in said
