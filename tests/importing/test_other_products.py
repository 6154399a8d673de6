"""Exports of Keycloak, Auth0, Clerk and Supabase are converted and imported, and their users sign in (C-04)."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from cli.support import idp
from factories import Service, running
from idp.dev.embedded import EmbeddedPostgres
from idp.users.password_worker import Cost, check_password, unverifiable_reason
from importing.import_support import EXPORTS, do_import, numbers


@pytest.fixture(scope="module")
async def moved(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("other_products"), profile="production") as service:
        yield service


def convert(product: str, *files: str, output: Path) -> tuple[list[dict[str, Any]], str]:
    """Convert an export with the command; return its records, and what it warned of."""
    paths = [str(EXPORTS / each) for each in files]
    done = idp("convert", product, *paths, "--output", str(output))
    assert done.returncode == 0, done
    assert output.stat().st_mode & 0o077 == 0, "hashes are for the owner only"
    return [json.loads(line) for line in output.read_text().splitlines()], done.stderr


async def signs_in(service: Service, email: str, password: str) -> str:
    """Sign in twice; return the id. The stored hash is Argon2id after the first time."""
    for wrong in (password + "x", password[:-1]):
        answer = await service.client.post("/api/auth/login", json={"email": email, "password": wrong})
        assert answer.status_code == 401
    for _ in range(2):
        answer = await service.client.post("/api/auth/login", json={"email": email, "password": password})
        assert answer.status_code == 200, answer.text
        rows = await service.sql("SELECT id, password_hash FROM idp.users WHERE email = $1", email)
        assert rows[0]["password_hash"].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    return str(rows[0]["id"])


async def test_keycloak(moved: Service, tmp_path: Path) -> None:
    """PBKDF2 with both digests, Argon2id, roles of the realm; a service account is no user."""
    file = tmp_path / "keycloak.ndjson"
    records, warnings = convert("keycloak", "keycloak-realm.json", output=file)
    assert [each["kind"] for each in records] == ["header", *["user"] * 5, "identity"]
    assert "the algorithm pbkdf2 is not supported" in warnings
    assert "corp-saml is left out" in warnings
    assert numbers(do_import(moved, file)) == (6, 0, 0, 0)
    for number, name in enumerate(("pia", "quentin", "rosa"), start=1):
        user_id = await signs_in(moved, f"{name}@keycloak.example", f"keycloak password {number}")
        assert user_id == f"6f1c0a00-0000-4000-8000-{number:012d}"
    rows = await moved.sql(
        "SELECT name, is_active, email_verified, array(SELECT role FROM idp.user_roles WHERE user_id = u.id) AS roles"
        " FROM idp.users u WHERE email LIKE '%@keycloak.example' ORDER BY id"
    )
    assert rows[0]["roles"] == ["analyst"]
    assert rows[1]["roles"] == ["user"]
    assert [(row["is_active"], row["email_verified"]) for row in rows] == [(True, True)] * 3 + [
        (False, False),
        (True, True),
    ]
    assert numbers(do_import(moved, file)) == (0, 0, 6, 0)


async def test_auth0(moved: Service, tmp_path: Path) -> None:
    """The password export is joined by id; identities at Google keep working."""
    file = tmp_path / "auth0.ndjson"
    records, warnings = convert("auth0", "auth0-users.ndjson", "auth0-passwords.ndjson", output=file)
    assert [each["kind"] for each in records].count("identity") == 2
    assert "samlp is left out" in warnings
    assert numbers(do_import(moved, file)) == (5, 0, 0, 0)
    assert await signs_in(moved, "uma@auth0.example", "auth0 password") == "auth0|60425dc43519d90068f82973"
    rows = await moved.sql("SELECT provider, subject FROM idp.identities WHERE user_id LIKE '%|%' ORDER BY subject")
    assert [tuple(row) for row in rows] == [
        ("https://accounts.google.com", "2201"),
        ("https://accounts.google.com", "2202"),
    ]
    ((is_active,),) = await moved.sql("SELECT is_active FROM idp.users WHERE email = 'walt@auth0.example'")
    assert not is_active


async def test_clerk(moved: Service, tmp_path: Path) -> None:
    file = tmp_path / "clerk.ndjson"
    _, warnings = convert("clerk", "clerk-users.csv", output=file)
    assert "user_2yves: the password is left out: md5_salted is not supported" in warnings
    assert numbers(do_import(moved, file)) == (6, 0, 0, 0)
    assert await signs_in(moved, "xena@clerk.example", "clerk password") == "user_2xena"
    rows = await moved.sql("SELECT id, name, email_verified FROM idp.users WHERE login_type = 'clerk' ORDER BY id")
    assert [tuple(row) for row in rows] == [
        ("user_2xena", "Xena Clerk, Jr.", True),
        ("user_2yves", "Yves", False),
        ("user_2zoe", "zoe", False),
    ]


async def test_supabase(moved: Service, postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """As CSV and from the database: the same records. A role in the metadata that users edit gives nothing."""
    file, second = tmp_path / "supabase.ndjson", tmp_path / "dsn.ndjson"
    records, warnings = convert("supabase", "supabase-users.csv", output=file)
    assert "an anonymous user is left out" in warnings
    report = do_import(moved, file)
    assert numbers(report) == (3, 0, 0, 0)
    assert report["administrators"] == []
    user_id = await signs_in(moved, "abel@supabase.example", "supabase password")
    roles = await moved.sql("SELECT role FROM idp.user_roles WHERE user_id = $1", user_id)
    assert [each["role"] for each in roles] == ["user"]

    url = postgres.create_database("supabase")
    connection = await asyncpg.connect(url)
    times = {"email_confirmed_at", "confirmed_at", "created_at", "updated_at", "banned_until", "deleted_at"}
    header, *rows = (EXPORTS / "supabase-users.csv").read_text().splitlines()
    types = {"raw_user_meta_data": "jsonb", "is_anonymous": "boolean"} | dict.fromkeys(times, "timestamptz")
    columns = ", ".join(f"{name} {types.get(name, 'text')}" for name in header.split(","))
    await connection.execute(f"CREATE SCHEMA auth; CREATE TABLE auth.users ({columns})")
    csv = tmp_path / "rows.csv"
    csv.write_text("\n".join(rows) + "\n")
    await connection.copy_to_table("users", schema_name="auth", source=csv, format="csv")
    await connection.close()
    done = idp("convert", "supabase", "--dsn", url, "--output", str(second))
    assert done.returncode == 0, done
    from_database = [json.loads(line) for line in second.read_text().splitlines()]
    assert [(each.get("id"), each.get("name"), each.get("email_verified")) for each in from_database[1:]] == [
        (each.get("id"), each.get("name"), each.get("email_verified")) for each in records[1:]
    ]
    assert numbers(do_import(moved, second)) == (0, 0, 3, 0)


@pytest.mark.parametrize(
    ("product", "content"),
    [
        ("keycloak", "{"),
        ("keycloak", "[]"),
        ("keycloak", '{"users": [{}]}'),
        ("keycloak", '{"users": [1]}'),
        ("keycloak", '{"users": {}}'),
        ("auth0", "[]"),
        ("auth0", "{}"),
        ("auth0", "\x00"),
        ("clerk", "id,email\n1,2"),
        ("clerk", 'id,primary_email_address,password_digest\n1,"a'),
        ("clerk", "id,primary_email_address,password_digest\n1,2"),
        ("supabase", ""),
        ("supabase", "id,email,encrypted_password,raw_user_meta_data\n1,a@example.com,,{"),
    ],
)
def test_a_file_that_is_no_such_export_is_explained(tmp_path: Path, product: str, content: str) -> None:
    file = tmp_path / "file"
    file.write_text(content)
    done = idp("convert", product, str(file))
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("idp: ")


def test_an_old_database_that_is_none_is_explained(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    url = postgres.create_database("empty_old")
    for source in ("amplify", "promptstack", "anomalyze", "fastapi-auth"):
        done = idp("export-legacy", source, "--dsn", url)
        assert (done.returncode, "no table" in done.stderr) == (2, True), done
    done = idp("export-legacy", "amplify", "--dsn", "postgresql://idp:secret@127.0.0.1:1/x")
    assert (done.returncode, "secret" in done.stderr) == (1, False), done
    done = idp("convert", "supabase", "--dsn", url)
    assert (done.returncode, "auth.users" in done.stderr) == (2, True), done
    assert idp("convert", "clerk", "--dsn", url).returncode == 2
    assert idp("convert", "clerk").returncode == 2


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        ("$pbkdf2-sha256$i=0$c2FsdHNhbHQ$" + "a" * 43, "malformed"),
        ("$pbkdf2-sha256$i=1$$", "malformed"),
        ("$pbkdf2-sha256$i=1$c2Fsd$" + "a" * 43, "malformed"),
        ("$pbkdf2-md5$i=1$c2FsdHNhbHQ$" + "a" * 43, "malformed"),
        ("$pbkdf2-sha256$i=2000001$c2FsdHNhbHQ$" + "a" * 86, "2000001 iterations"),
        ("$pbkdf2-sha512$i=9999999999$c2FsdHNhbHQ$" + "a" * 86, "9999999999 iterations"),
    ],
)
def test_a_pbkdf2_hash_outside_the_limits_matches_nothing(stored: str, why: str) -> None:
    """SEC-7: two CPU seconds at most."""
    cost = Cost(1, 64, 1)
    assert why in (unverifiable_reason(stored, cost) or "")
    assert check_password(stored, "password", cost).matches is False


def test_hashes_are_written_to_no_file_that_others_may_read(tmp_path: Path) -> None:
    """An output that was there before keeps neither its permissions nor a foreign owner."""
    output = tmp_path / "out"
    output.write_text("before")
    output.chmod(0o666)
    records, _ = convert("clerk", "clerk-users.csv", output=output)
    assert records[0]["kind"] == "header"
    if os.geteuid() == 0:
        os.chown(output, 12345, -1)
        done = idp("convert", "clerk", str(EXPORTS / "clerk-users.csv"), "--output", str(output))
        assert done.returncode == 2
        assert "belongs to another user" in done.stderr


def test_an_export_controls_no_terminal(tmp_path: Path) -> None:
    file = tmp_path / "realm.json"
    foreign = [{"identityProvider": "x\x1b]0;title\x07", "userId": "1"}]
    file.write_text(json.dumps({"users": [{"id": "a\x1b[2J\x9b", "federatedIdentities": foreign}]}))
    done = idp("convert", "keycloak", str(file), "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done
    assert "is left out" in done.stderr
    assert done.stderr.replace("\n", "").isprintable()
