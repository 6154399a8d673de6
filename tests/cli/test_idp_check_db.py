"""`idp check-db`: the state of the database, and errors in its URL (S3-63, S3-70)."""

import re
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from cli.support import free_port, idp, refusal


def test_a_good_database_is_described(migrated: str) -> None:
    done = idp("check-db", DATABASE_URL=migrated)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        r"PostgreSQL [\d.]+, database cli_migrated_\w+, without TLS\.\n"
        r"The database is at revision \d{4}, as required\.\n",
        done.stdout,
    )


def test_the_old_services_address_is_understood(migrated: str) -> None:
    """S3-17: AUTH_DATABASE_URL, with what Prisma and SQLAlchemy put into addresses (S1-09)."""
    address = migrated.replace("postgresql://", "postgresql+asyncpg://") + "?schema=public&connection_limit=5"
    assert idp("check-db", AUTH_DATABASE_URL=address).returncode == 0


def test_a_database_without_tables_is_distinguished_from_a_broken_one(empty: str) -> None:
    done = idp("check-db", DATABASE_URL=empty)
    assert done.returncode == 1
    assert done.stdout.startswith("PostgreSQL ")
    assert done.stderr == "idp: The database was never migrated: run `idp migrate`.\n"


def changed(url: str, *, password: str = "", database: str = "", port: int = 0, host: str = "", query: str = "") -> str:
    parts = urlsplit(url)
    name = database or parts.path[1:]
    where = f"{host or parts.hostname}:{port or parts.port}"
    return f"postgresql://{parts.username}:{password or parts.password}@{where}/{name}{query}"


Trouble = Callable[[str, int], str]
TROUBLES: dict[str, tuple[Trouble, str]] = {
    "nothing listens": (
        lambda url, port: changed(url, port=port),
        r"Nothing answers at 127\.0\.0\.1:\d+ \(Connection refused\): is PostgreSQL running there, and is DATABASE_URL",
    ),
    "wrong password": (
        lambda url, _: changed(url, password="hush-hush"),
        r"PostgreSQL at 127\.0\.0\.1:\d+ refuses the password of the user 'idp': correct it in DATABASE_URL\.",
    ),
    "wrong database": (
        lambda url, _: changed(url, database="nope"),
        r"PostgreSQL at 127\.0\.0\.1:\d+ has no database 'nope': create it, or correct DATABASE_URL\.",
    ),
    "no such host": (
        lambda url, _: changed(url, host="no-such-host.invalid"),
        r"The host name no-such-host\.invalid:\d+ cannot be resolved: correct DATABASE_URL, or check DNS\.",
    ),
    "no TLS there": (
        lambda url, _: changed(url, query="?sslmode=require"),
        r"TLS with 127\.0\.0\.1:\d+ failed \(.*\): check the sslmode in DATABASE_URL\.",
    ),
    "another database": (
        lambda url, _: url.replace("postgresql://", "mysql://"),
        r"DATABASE_URL starts with mysql://; use postgresql://user:password@host:5432/database\.",
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_problem_is_one_sentence_without_the_password(trouble: str, migrated: str) -> None:
    spoil, sentence = TROUBLES[trouble]
    url = spoil(migrated, free_port())
    said = refusal("check-db", DATABASE_URL=url)
    assert re.match(rf"idp: {sentence}", said), said
    assert said.count("\n") == 1
    assert str(urlsplit(url).password) not in said


@pytest.mark.parametrize("command", [["migrate"], ["migrate", "--check"]])
def test_migrating_says_the_same(command: list[str], migrated: str) -> None:
    spoil, sentence = TROUBLES["wrong password"]
    assert re.match(rf"idp: {sentence}", refusal(*command, DATABASE_URL=spoil(migrated, 0)))


def test_a_server_that_accepts_and_says_nothing_is_not_waited_for(migrated: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = changed(migrated, port=silent.getsockname()[1])
        said = refusal("check-db", DATABASE_URL=url, IDP_DATABASE__CONNECT_TIMEOUT_SECONDS="1")
    assert re.match(r"idp: 127\.0\.0\.1:\d+ does not answer in time: is PostgreSQL running there", said)
