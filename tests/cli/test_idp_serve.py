"""`idp serve`: required settings, refused settings, start, readiness and stop."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cli.support import (
    IDP,
    PLAIN,
    ROOT,
    Running,
    free_port,
    get,
    idp,
    log_in,
    post,
    refusal,
    root_secret,
    running_serve,
    wait_until,
)
from idp.dev.embedded import EmbeddedPostgres, remove_data

GOOD = {"DATABASE_URL": "postgresql://idp:hush@127.0.0.1:1/idp", "IDP_SECRET_KEY": root_secret()}

# --- what it refuses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"DATABASE_URL": ""}, "DATABASE_URL is not set: set it to the URL of a PostgreSQL 15 to 18"),
        ({"IDP_SECRET_KEY": ""}, "IDP_SECRET_KEY is not set: use at least 32 random characters"),
        ({"IDP_SECRET_KEY": "secret"}, "IDP_SECRET_KEY has 6 characters: use at least 32"),
        (
            {"AUTH_JWT_SECRET_KEY": "changeme-changeme-changeme-changeme"},
            "AUTH_JWT_SECRET_KEY looks like a placeholder",
        ),
        ({"JWT_SECRET_KEY": "your-secret-key-change-in-production"}, "JWT_SECRET_KEY looks like a placeholder"),
        ({"IDP_SECRET_KEY": "x" * 40}, "IDP_SECRET_KEY looks like a placeholder or a pattern"),
        ({"ADMIN_TOKEN": "short"}, "ADMIN_TOKEN has 5 characters: use at least 32"),
        ({"AUTH_ALLOW_DEV_HEADERS": "true"}, "AUTH_ALLOW_DEV_HEADERS is true: dev headers let anyone act as any user"),
        ({"AUTH_API_CORS_ORIGINS": "*"}, "AUTH_API_CORS_ORIGINS contains *"),
        ({"AUTH_JWT_ALGORITHM": "HS256"}, "AUTH_JWT_ALGORITHM is HS256 and no shared secret is set"),
        ({"DATABASE_URL": "mysql://idp:hush@db/idp"}, "DATABASE_URL starts with mysql://; use postgresql://"),
        ({"PORT": "eighty"}, "server.port is 'eighty' (from env PORT): use a whole number from 0 to 65535."),
    ],
)
def test_unsafe_or_missing_settings_are_one_sentence(environ: dict[str, str], sentence: str) -> None:
    """S3-47, S3-48, S3-50, SEC-11, SEC-12: the setting, what was seen, what to put there; no secret."""
    said = refusal("serve", **(GOOD | environ))
    assert said.startswith(f"idp: {sentence}"), said
    assert said.count("\n") == 1
    assert "hush" not in said


def test_all_problems_are_reported_at_once() -> None:
    said = refusal(
        "serve", DATABASE_URL="sqlite:///x", AUTH_ALLOW_DEV_HEADERS="1", ADMIN_TOKEN="a", ALLOWED_ORIGINS="*"
    )
    assert [line.split()[1] for line in said.splitlines()] == [
        "IDP_SECRET_KEY", "ADMIN_TOKEN", "AUTH_ALLOW_DEV_HEADERS", "AUTH_API_CORS_ORIGINS", "DATABASE_URL",
    ]  # fmt: skip


def complaint(output: str) -> str:
    """Return the last line, which follows the log."""
    assert "Traceback" not in output
    return output.splitlines()[-1]


def test_an_empty_database_is_migrated_by_the_start_itself(empty: str, tmp_path: Path) -> None:
    """Several at once migrate and seed it once."""
    environ = GOOD | {"DATABASE_URL": empty}
    with (
        running_serve(tmp_path / "one", **environ) as (one, url),
        running_serve(tmp_path / "two", **environ) as (two, other_url),
    ):
        for base_url in (url, other_url):
            assert get(f"{base_url}/readyz").status == 200
            body = {"email": f"p-{free_port()}@example.com", "password": "correct horse battery", "name": "P"}
            assert post(f"{base_url}/auth/register", body).status == 200
        assert (one.said() + two.said()).count("The database was migrated.") >= 1


def test_after_alembic_alone_people_can_register(empty: str, tmp_path: Path) -> None:
    """S3-39: roles come with the schema, and teams and domains with the start of `idp serve`."""
    alembic = [str(Path(sys.executable).with_name("alembic")), "upgrade", "head"]
    subprocess.run(alembic, cwd=ROOT, env={**PLAIN, "DATABASE_URL": empty}, check=True, capture_output=True, timeout=60)
    with running_serve(tmp_path / "out", **(GOOD | {"DATABASE_URL": empty})) as (_, url):
        body = {"email": "p@example.com", "password": "correct horse battery", "name": "P"}
        answer = post(f"{url}/auth/register", body)
        assert answer.status == 200
        me = get(f"{url}/auth/me", token=answer.json["access_token"]).json
        assert [team["name"] for team in me["teams"]] == ["General"]


def test_a_changed_root_secret_is_reported_at_start_and_by_check_db(empty: str, tmp_path: Path) -> None:
    """It says where the old secret belongs, and makes no new key."""
    with running_serve(tmp_path / "out", **(GOOD | {"DATABASE_URL": empty})) as (_, url):
        assert len(get(f"{url}/.well-known/jwks.json").json["keys"]) == 2
    changed = {"DATABASE_URL": empty, "IDP_SECRET_KEY": root_secret()}
    with running_serve(tmp_path / "again", **changed) as (serve, url):
        assert "cannot be decrypted with the current IDP_SECRET_KEY" in serve.said()
        ready = get(f"{url}/readyz")
        assert (ready.status, "IDP_PREVIOUS_SECRET_KEYS" in ready.json["reason"]) == (503, True)
    done = idp("check-db", **changed)
    assert (done.returncode, "IDP_PREVIOUS_SECRET_KEYS" in done.stderr) == (1, True)
    assert idp("signing-keys", "rotate", "--now", **changed).returncode == 0
    assert idp("check-db", **changed).returncode == 0


async def test_a_database_that_is_behind_is_refused_and_one_that_is_ahead_is_served(empty: str, tmp_path: Path) -> None:
    """A rolling update: the old version goes on beside the new one's database."""
    import asyncpg

    environ = GOOD | {"DATABASE_URL": empty}
    idp("migrate", DATABASE_URL=empty)
    connection = await asyncpg.connect(empty)
    try:
        await connection.execute("UPDATE idp.alembic_version SET version_num = '0000'")
        behind = idp("serve", "--port", "0", **environ)
        assert (behind.returncode, behind.stderr.count("\n")) == (1, 1)
        assert "The database is at revision 0000, this version requires" in behind.stderr
        await connection.execute("UPDATE idp.alembic_version SET version_num = '9999'")
    finally:
        await connection.close()
    with running_serve(tmp_path / "out", **environ) as (serve, base_url):
        assert get(f"{base_url}/readyz").status == 200
        assert "newer than this version" in serve.said()


def test_a_wrong_password_is_a_mistake_and_not_waited_for(migrated: str) -> None:
    wrong = re.sub(r"//idp:[^@]+@", "//idp:hush@", migrated)
    done = idp("serve", "--port", "0", **(GOOD | {"DATABASE_URL": wrong}))
    assert done.returncode == 1
    assert "refuses the password of the user 'idp': correct it in DATABASE_URL." in done.stderr
    assert "hush" not in done.stderr + done.stdout


def test_a_taken_port_is_refused(migrated: str) -> None:
    """S3-70."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = idp("serve", "--host", "127.0.0.1", "--port", str(port), **(GOOD | {"DATABASE_URL": migrated}))
    assert done.returncode == 1
    assert done.stderr == f"idp: Port {port} is used by another program: stop it, or set another PORT.\n"


# --- how it starts ---------------------------------------------------------------------------------------------------


def test_two_variables_are_enough(empty: str, tmp_path: Path) -> None:
    """C-06c, S3-44: DATABASE_URL and AUTH_JWT_SECRET_KEY, as in the old `docker run`; tokens are HS256 then."""
    assert idp("migrate", DATABASE_URL=empty).returncode == 0
    environ = {"DATABASE_URL": empty, "AUTH_JWT_SECRET_KEY": root_secret()}
    with running_serve(tmp_path / "out", **environ) as (_, base_url):
        assert get(f"{base_url}/readyz").status == 200
        assert get(f"{base_url}/health").json["components"]["redis"] == "disabled"
        email = f"two-{free_port()}@example.com"
        body = {"email": email, "password": "correct horse battery", "name": "Two"}
        token = post(f"{base_url}/auth/register", body).json["access_token"]
        assert get(f"{base_url}/auth/me", token=token).json["email"] == email
        assert len(get(f"{base_url}/.well-known/jwks.json").json["keys"]) == 2
        assert get(f"{base_url}/auth/me", X_User_Email=email).status == 401


def test_it_migrates_first_when_asked_to(empty: str, tmp_path: Path) -> None:
    """S4's RUN_MIGRATIONS."""
    with running_serve(tmp_path / "out", **(GOOD | {"DATABASE_URL": empty, "RUN_MIGRATIONS": "true"})) as (serve, url):
        assert get(f"{url}/readyz").status == 200
        assert "The database was migrated." in serve.said()


def test_it_cannot_migrate_an_unreachable_database() -> None:
    done = idp("serve", "--port", "0", **(GOOD | {"RUN_MIGRATIONS": "true"}))
    assert done.returncode == 1
    assert done.stderr.startswith("idp: Nothing answers at 127.0.0.1:1 (Connection refused)")


def test_the_log_is_one_json_object_a_line_without_secrets(migrated: str, tmp_path: Path) -> None:
    """S3-45, S3-64, SEC-74."""
    environ = GOOD | {"DATABASE_URL": migrated, "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092", "IDP_SERVER__PROT": "1"}
    with running_serve(tmp_path / "out", **environ) as (serve, base_url):
        log_in(base_url, "nobody@example.com", "hush-hush-hush")
        wait_until(lambda: "/auth/login" in serve.said())
        assert serve.end(signal.SIGTERM) == 0
    events = [json.loads(line) for line in serve.said().splitlines()]
    assert all({"event", "level", "timestamp"} <= set(event) for event in events)
    said = [event["event"] for event in events]
    assert "IDP_SERVER__PROT in the environment is not a setting: did you mean IDP_SERVER__PORT?" in said
    assert any("IDP_PUBLIC_URL is not set" in event for event in said)
    assert not re.search("hush|" + re.escape(GOOD["IDP_SECRET_KEY"]), serve.said())


def test_without_a_database_it_starts_and_becomes_well_by_itself(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """S4-41: /readyz says 503 until PostgreSQL is there."""
    with EmbeddedPostgres(tmp_path / "own") as own:
        environ = GOOD | {"DATABASE_URL": own.url}
        idp("migrate", **environ)
        own.kill()
        with running_serve(tmp_path / "out", **environ) as (serve, base_url):
            assert get(f"{base_url}/healthz").status == 200
            assert get(f"{base_url}/readyz").status == 503
            assert get(f"{base_url}/health").json["status"] == "degraded"
            assert log_in(base_url, "a@example.com", "correct horse battery").status == 503
            assert "/readyz returns 503 until it answers" in serve.said()
            own.start()
            wait_until(lambda: get(f"{base_url}/readyz").status == 200, 20)
            assert log_in(base_url, "a@example.com", "correct horse battery").status == 401
    remove_data(tmp_path / "own")


# --- how it ends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_exit_code_0(number: signal.Signals, migrated: str, tmp_path: Path) -> None:
    with running_serve(tmp_path / "out", **(GOOD | {"DATABASE_URL": migrated})) as (serve, _):
        assert serve.end(number) == 0
        assert serve.leaves_nothing()
    assert "Traceback" not in serve.said()
    assert "Finished server process" in complaint(serve.said())


def test_a_signal_during_the_start_is_a_quiet_end_too(migrated: str, tmp_path: Path) -> None:
    serve = Running([*IDP, "serve", "--port", "0"], tmp_path / "out", GOOD | {"DATABASE_URL": migrated})
    try:
        time.sleep(0.8)
        assert serve.end(signal.SIGTERM) == 0
        assert "Traceback" not in serve.said()
    finally:
        serve.clean_up()


def test_a_request_under_way_is_finished_before_it_ends(migrated: str, tmp_path: Path) -> None:
    answers: list[bytes] = []
    with running_serve(tmp_path / "out", **(GOOD | {"DATABASE_URL": migrated})) as (serve, base_url):
        port = int(base_url.rpartition(":")[2])
        body = json.dumps({"email": "nobody@example.com", "password": "correct horse battery"}).encode()
        head = f"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body[:10])
            time.sleep(0.3)  # the request is under way
            os.kill(serve.process.pid, signal.SIGTERM)  # to it alone, as containers do
            finish = threading.Timer(0.5, connection.sendall, [body[10:]])
            finish.start()
            answers.append(connection.recv(65536))
            finish.join()
        assert serve.process.wait(20) == 0
    assert answers[0].startswith(b"HTTP/1.1 401 ")
