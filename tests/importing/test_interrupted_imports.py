"""An import that was killed continues; two at once, a changed file and a changed database do no harm."""

import asyncio
import json
import os
import secrets
import signal
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from cli.support import IDP, Running, idp, wait_until
from db.pgbouncer_support import needs_pgbouncer, pgbouncer
from factories import Service, running
from idp.dev.embedded import EmbeddedPostgres
from idp.importing.run import LOCK
from importing.import_support import codes, do_import, header, in_days, numbers, user, write

USERS = 12_000


@pytest.fixture
async def own(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database(f"import_{secrets.token_hex(4)}")) as service:
        yield service


def people(tag: str, number: int = USERS) -> list[dict[str, Any]]:
    return [user(f"{tag}-{each}", email=f"{tag}-{each}@example.com", name=f"Nº {each}") for each in range(number)]


async def count(service: Service, tag: str) -> int:
    ((number,),) = await service.sql("SELECT count(*) FROM idp.users WHERE id LIKE $1", f"{tag}-%")
    return int(number)


async def test_a_killed_import_continues_where_it_was(own: Service, tmp_path: Path) -> None:
    """kill -9 between two transactions; the second command does the rest, and its report has all numbers."""
    file = write(tmp_path / "big.ndjson", *people("kill"))
    command = Running([*IDP, "import", str(file)], tmp_path / "out", {"DATABASE_URL": own.database_url})
    connection = await asyncpg.connect(own.database_url)
    deadline = time.monotonic() + 60
    while await connection.fetchval("SELECT count(*) FROM idp.users WHERE id LIKE 'kill-%'") < 2000:
        assert time.monotonic() < deadline
    command.process.send_signal(signal.SIGKILL)
    command.process.wait(30)
    await connection.close()
    done = await count(own, "kill")
    assert done % 1000 == 0
    assert 2000 <= done < USERS
    wait_until(lambda: idp("import", str(file), "--dry-run", DATABASE_URL=own.database_url).returncode == 0)
    again = idp("import", str(file), "-o", "json", DATABASE_URL=own.database_url)
    assert again.returncode == 0, again
    assert f"Continued an interrupted import at line {done + 2}" in again.stderr
    assert numbers(json.loads(again.stdout)) == (USERS, 0, 0, 0)
    assert await count(own, "kill") == USERS
    assert numbers(do_import(own, file)) == (0, 0, USERS, 0)
    records = await own.sql("SELECT details FROM idp.audit_logs WHERE action = 'import.finished' ORDER BY timestamp")
    assert len(records) == 2
    details = json.loads(records[0]["details"])
    assert (details["source"], details["created"], len(details["sha256"])) == ("tests", USERS, 64)


async def test_another_file_of_the_source_begins_at_its_beginning(own: Service, tmp_path: Path) -> None:
    """The digest tells that the file was changed after an interrupted run."""
    records = people("changed", 1500)
    records[1200]["email"] = records[3]["email"]
    file = write(tmp_path / "f.ndjson", *records)
    assert codes(do_import(own, file, code=1)) == [(1202, "email_taken")]
    assert await count(own, "changed") == 1000
    records[1200]["email"] = None
    write(file, *records)
    done = idp("import", str(file), "-o", "json", DATABASE_URL=own.database_url)
    assert "interrupted with another file" in done.stderr
    assert numbers(json.loads(done.stdout)) == (500, 0, 1000, 0)


async def test_a_second_import_at_once_is_refused(own: Service, tmp_path: Path) -> None:
    file = write(tmp_path / "f.ndjson", user("one"))
    connection = await asyncpg.connect(own.database_url)
    await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
    for options in ((), ("--dry-run",)):
        done = idp("import", str(file), *options, DATABASE_URL=own.database_url)
        assert (done.returncode, done.stdout) == (1, "")
        assert "Another import is running" in done.stderr
    await connection.close()
    assert numbers(do_import(own, file)) == (1, 0, 0, 0)


async def test_a_dry_run_reports_the_same_and_writes_nothing(own: Service, tmp_path: Path) -> None:
    team = str(uuid.uuid4())
    records = [*people("dry", 1100), {"kind": "team", "id": team, "name": "Dry"},
               *({"kind": "team_membership", "user_id": f"dry-{each}", "team_id": team} for each in range(1100)),
               user("dry-twin", email="DRY-7@example.com"),
               {"kind": "identity", "user_id": "dry-9", "provider": "clerk", "subject": "c"}]  # fmt: skip
    file = write(tmp_path / "f.ndjson", *records)
    await own.sql("DELETE FROM idp.outbox")  # of the seed
    before = await own.sql("SELECT count(*) FROM idp.users")
    dry = do_import(own, file, "--dry-run", "--on-conflict", "skip", "--emit-events")
    for table in ("import_runs", "outbox", "identities", "team_memberships"):
        assert await own.sql(f"SELECT FROM idp.{table}") == [], table
    assert await own.sql("SELECT count(*) FROM idp.users") == before
    real = do_import(own, file, "--on-conflict", "skip")
    assert dry | {"dry_run": False} == real
    assert numbers(real) == (2202, 0, 0, 1)


async def test_events_are_published_only_when_asked(own: Service, tmp_path: Path) -> None:
    """Each with the origin `import`; without the option the outbox stays empty."""
    await own.sql("DELETE FROM idp.outbox")  # of the seed
    silent = write(tmp_path / "a.ndjson", *people("silent", 3))
    do_import(own, silent)
    assert await own.sql("SELECT FROM idp.outbox") == []
    team, domain = str(uuid.uuid4()), str(uuid.uuid4())
    loud = write(
        tmp_path / "b.ndjson",
        *people("loud", 2),
        {"kind": "identity", "user_id": "loud-0", "provider": "clerk", "subject": "c"},
        {"kind": "team", "id": team, "name": "Loud"},
        {"kind": "domain", "id": domain, "key": "loud", "name": "Loud"},
        {"kind": "team_membership", "user_id": "loud-0", "team_id": team},
        {"kind": "user_domain", "user_id": "loud-0", "domain_id": domain},
        {"kind": "token", "token_id": str(uuid.uuid4()), "token_hash": "b" * 64, "name": "loud"},
    )
    do_import(own, loud, "--emit-events")
    rows = await own.sql("SELECT type, subject, data::text AS data FROM idp.outbox ORDER BY seq")
    assert [row["type"] for row in rows] == [
        "idp.user.created", "idp.user.created", "idp.identity.linked", "idp.team.created", "idp.domain.created",
        "idp.team.member_added", "idp.domain.user_added", "idp.service_token.created",
    ]  # fmt: skip
    assert json.loads(rows[0]["data"])["origin"] == "import"
    assert "b" * 64 not in str([row["data"] for row in rows])


async def test_times_in_the_future_and_huge_numbers_of_roles_are_bounded(own: Service, tmp_path: Path) -> None:
    """A clock that was wrong at the source makes no user newer than every later change."""
    future = in_days(400).isoformat()
    record = user("future", created_at=future, updated_at=future, roles=["user"] * 50)
    do_import(own, write(tmp_path / "f.ndjson", record, exported_at=future))
    ((is_past,),) = await own.sql(
        "SELECT updated_at <= now() AND created_at <= now() FROM idp.users WHERE id = 'future'"
    )
    assert is_past


async def test_a_running_service_sees_imported_rights_at_once(own: Service, tmp_path: Path) -> None:
    """Cached verdicts end when an import gives their user another role."""
    person = await own.register()
    assert (await own.me(person.bearer)).json()["roles"] == ["user"]
    await own.sql("UPDATE idp.users SET email_verified = true WHERE id = $1", person.id)
    assert (await own.me(person.bearer)).json()["roles"] == ["user"]
    file = write(tmp_path / "f.ndjson", user("zzz", email=person.email, email_verified=True, roles=["analyst"]))
    do_import(own, file, "--on-conflict", "link")
    await own.app.core.change_listener.catch_up()
    assert (await own.me(person.bearer)).json()["roles"] == ["analyst", "user"]


def test_a_file_that_changes_while_it_is_read_is_noticed(own: Service, tmp_path: Path) -> None:
    from idp.importing.import_file import BadFile, ImportFile

    file = write(tmp_path / "f.ndjson", user("a"))
    with file.open("rb") as stream:
        read = ImportFile(stream)
        facts = read.check()
        with file.open("a") as other:
            other.write(json.dumps(header()))
        os.utime(file, (1, 1))
        with pytest.raises(BadFile, match="changed"):
            next(read.records("user", position=0, line=1, end=facts.ranges["user"].end))


def test_a_bar_is_shown_on_a_terminal(own: Service, tmp_path: Path) -> None:
    from cli.support import in_a_terminal, without_colours

    file = write(tmp_path / "f.ndjson", *people("bar", 3000))
    code, shown = in_a_terminal("import", str(file), columns=90, DATABASE_URL=own.database_url)
    assert code == 0, shown
    assert "Importing" in without_colours(shown)
    assert "Traceback" not in shown


async def test_a_user_who_registers_during_the_import_keeps_the_address(own: Service, tmp_path: Path) -> None:
    """The import waits for the registration, and reports a conflict instead of failing or taking the account."""
    email = own.new_email()
    file = write(tmp_path / "f.ndjson", user("late", email=email, role="admin"), user("other"))
    connection = await asyncpg.connect(own.database_url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(
        "INSERT INTO idp.users (id, email, email_key, email_verified, login_type, password_version, plan, is_active,"
        " version, created_at, updated_at) VALUES ('early', $1, $1, false, 'email', 1, 'FREE', true, 1, now(), now())",
        email,
    )
    importing = asyncio.create_task(asyncio.to_thread(do_import, own, file, "--on-conflict", "skip"))
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'idp import' AND wait_event_type = 'Lock'"
    while not (await own.sql(waiting))[0]["count"]:
        assert not importing.done()
        await asyncio.sleep(0.02)
    await transaction.commit()
    await connection.close()
    report = await importing
    assert codes(report) == [(2, "registered_meanwhile")]
    assert report["created"] == 1
    assert await own.sql("SELECT FROM idp.user_roles WHERE user_id IN ('early', 'late')") == []


async def test_what_is_kept_of_a_finished_import_has_no_addresses(own: Service, tmp_path: Path) -> None:
    """Conflicts and administrators are printed, not stored."""
    records = [user("kept-1", email="kept@example.com", role="admin"), user("kept-2", email="KEPT@example.com")]
    do_import(own, write(tmp_path / "f.ndjson", *records), "--on-conflict", "skip")
    ((text,),) = await own.sql("SELECT report::text FROM idp.import_runs")
    assert "kept" not in text.lower()
    assert json.loads(text)["by_kind"]["user"]["conflicting"] == 1


@needs_pgbouncer
async def test_a_statement_pooler_is_refused(own: Service, tmp_path: Path) -> None:
    """The lock belongs to a connection of the server; the message names the setting."""
    file = write(tmp_path / "f.ndjson", user("pooled"))
    with pgbouncer(own.database_url, tmp_path / "bouncer") as pooled:
        done = idp("import", str(file), DATABASE_URL=pooled)
        assert (done.returncode, "DATABASE_DIRECT_URL" in done.stderr) == (1, True), done
        done = idp("import", str(file), DATABASE_URL=pooled, DATABASE_DIRECT_URL=own.database_url)
        assert done.returncode == 0, done
