"""`auth-cli`: the old service's command, word for word, against the real service (S2-05 to S2-14)."""

import re
import secrets
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from cli.conftest import Served
from cli.support import AUTH_CLI, PLAIN, ROOT, auth_cli, free_port, get, root_secret, running_serve

ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"


def new_name() -> str:
    return f"service-{secrets.token_hex(4)}"


def run(served: Served, *arguments: str) -> subprocess.CompletedProcess[str]:
    return auth_cli("--auth-url", served.url, *arguments, ADMIN_TOKEN=served.admin_token)


def create(served: Served, name: str, *more: str) -> dict[str, str]:
    """Make a token and return what was printed of it, by label."""
    done = run(served, "create", name, *(more or ("--scopes", "read", "write")))
    assert (done.returncode, done.stderr) == (0, ""), done
    return dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)


def token(served: Served, token_id: str) -> Any:
    return get(f"{served.url}/auth/tokens/{token_id}", token=served.admin_token).json


# --- what it prints --------------------------------------------------------------------------------------------------


def test_create_prints_the_promised_lines(served: Served) -> None:
    """S2-05 S2-11: scripts grep `^Token: `; the body has name, scopes, ttl_days and an empty metadata."""
    name = new_name()
    done = run(served, "create", name, "--scopes", "read", "write,all", "--ttl", "30")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        rf"\nToken created successfully!\nToken: amp_live_\w+\nToken ID: [0-9a-f-]{{36}}\nName: {name}\n"
        rf"Scopes: read, write,all\nCreated: {ISO}\nExpires: {ISO}\n"
        r"IMPORTANT: Save this token now! It will not be shown again\.\n",
        done.stdout,
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("Token: ")]
    verdict = get(f"{served.url}/auth/tokens", token=line.removeprefix("Token: "))
    assert verdict.status == 403, "the token is good, and does not manage"


def test_a_token_without_an_end_never_expires(served: Served) -> None:
    """S2-05 S2-11: Never."""
    made = create(served, new_name())
    assert made["Expires"] == "Never"
    assert token(served, made["Token ID"])["metadata"] == {}


def test_list_has_the_promised_columns(served: Served) -> None:
    """S2-06 S2-12: ID 40, Name 20 (cut at 18), Scopes 30 (28), Expires 20 (19), Revoked 10; 130 dashes."""
    long = f"a-service-with-a-long-name-{secrets.token_hex(4)}"
    made = create(served, long, "--scopes", "first:scope", "second:scope", "third:scope", "--ttl", "7")
    done = run(served, "list")
    assert (done.returncode, done.stderr) == (0, "")
    total, header, dashes, *rows = done.stdout.splitlines()
    assert total == f"Total tokens: {len(rows)}"
    assert header == f"{'ID':<40} {'Name':<20} {'Scopes':<30} {'Expires':<20} {'Revoked':<10}"
    assert dashes == "-" * 130
    (row,) = [row for row in rows if row.startswith(made["Token ID"])]
    assert [row[:40], row[41:61], row[62:92], row[93:113], row[114:124]] == [
        f"{made['Token ID']:<40}",
        f"{long[:18]:<20}",
        f"{'first:scope, second:scope, third:scope'[:28]:<30}",
        f"{made['Expires'][:19]:<20}",
        f"{'No':<10}",
    ]


def test_list_leaves_revoked_ones_out_unless_asked(served: Served) -> None:
    """S2-06: `--all` is include_revoked=true."""
    made = create(served, new_name())
    assert run(served, "revoke", made["Token ID"]).returncode == 0
    assert made["Token ID"] not in run(served, "list").stdout
    (row,) = [row for row in run(served, "list", "--all").stdout.splitlines() if row.startswith(made["Token ID"])]
    assert row[114:].rstrip() == "Yes"


def test_an_empty_list_says_so(empty: str, tmp_path: Path) -> None:
    """S2-12."""
    admin_token = secrets.token_urlsafe(40)
    environ = {"DATABASE_URL": empty, "IDP_SECRET_KEY": root_secret(), "ADMIN_TOKEN": admin_token}
    with running_serve(tmp_path / "out", **environ, RUN_MIGRATIONS="true") as (_, url):
        done = auth_cli("--auth-url", url, "list", ADMIN_TOKEN=admin_token)
    assert (done.returncode, done.stdout, done.stderr) == (0, "No tokens found.\n", "")


def test_info_prints_the_promised_lines(served: Served) -> None:
    """S2-07 S2-13: the last two only where there is something to say."""
    name = new_name()
    made = create(served, name)
    done = run(served, "info", made["Token ID"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "Token Information:",
        f"  ID: {made['Token ID']}",
        f"  Name: {name}",
        "  Scopes: read, write",
        f"  Created: {made['Created']}",
        "  Expires: Never",
        "  Revoked: No",
    ]
    run(served, "revoke", made["Token ID"])
    *_, revoked, since = run(served, "info", made["Token ID"]).stdout.splitlines()
    assert revoked == "  Revoked: Yes"
    assert re.fullmatch(rf"  Revoked At: {ISO}", since)


def test_info_shows_metadata_that_others_put_there(served: Served) -> None:
    """S2-13."""
    body = {"name": new_name(), "scopes": [], "metadata": {"team": "billing"}}
    made = create_over_http(served, body)
    assert run(served, "info", made["token_id"]).stdout.endswith('  Metadata: {"team": "billing"}\n')


def create_over_http(served: Served, body: dict[str, Any]) -> Any:
    import httpx2

    answer = httpx2.post(
        f"{served.url}/auth/tokens", json=body, headers={"Authorization": f"Bearer {served.admin_token}"}
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_revoke_is_immediate_and_may_be_repeated(served: Served) -> None:
    """S2-08 S2-13 S2-23: the token is refused from the next request on."""
    made = create(served, new_name(), "--scopes", "idp:manage")
    assert get(f"{served.url}/auth/tokens", token=made["Token"]).status == 200
    for _ in range(2):
        done = run(served, "revoke", made["Token ID"])
        assert (done.returncode, done.stderr) == (0, "")
        assert re.fullmatch(
            rf"Token revoked successfully!\n  Token ID: {made['Token ID']}\n  Revoked At: {ISO}\n", done.stdout
        )
        assert get(f"{served.url}/auth/tokens", token=made["Token"]).status == 401


def test_extend_moves_the_end(served: Served) -> None:
    """S2-24: by days, from the end it has."""
    made = create(served, new_name(), "--scopes", "read", "--ttl", "1")
    done = run(served, "extend", made["Token ID"], "--days", "30")
    assert (done.returncode, done.stderr) == (0, "")
    expires = token(served, made["Token ID"])["expires_at"]
    assert done.stdout == f"Token extended successfully!\n  Token ID: {made['Token ID']}\n  Expires: {expires}\n"
    assert expires > made["Expires"]


# --- where it goes ---------------------------------------------------------------------------------------------------


def test_the_address_stands_before_the_command(served: Served) -> None:
    """S2-09: `auth-cli --auth-url URL create …`, and nowhere else."""
    done = auth_cli("list", "--auth-url", served.url, ADMIN_TOKEN=served.admin_token)
    assert (done.returncode, done.stdout) == (2, "")
    assert "unrecognized arguments: --auth-url" in done.stderr


def test_the_default_address_follows_port(served: Served) -> None:
    """S2-09: http://localhost:${PORT:-8000}."""
    done = auth_cli("list", ADMIN_TOKEN=served.admin_token, PORT=served.url.rpartition(":")[2])
    assert done.returncode == 0, done
    port = free_port()
    assert auth_cli("list", ADMIN_TOKEN="x", PORT=str(port)).stderr == (
        f"Connection error: http://localhost:{port} does not answer (Connection refused)\n"
    )
    assert "${PORT:-8000}" in auth_cli("--help").stdout


def test_the_admin_token_is_found_as_the_service_finds_it(served: Served, tmp_path: Path) -> None:
    """S2-04 C-09: in its container `auth-cli` needs no argument: ADMIN_TOKEN_FILE and PORT are there already."""
    file = tmp_path / "admin-token"
    file.write_text(f"{served.admin_token}\n")
    done = auth_cli("list", ADMIN_TOKEN_FILE=str(file), PORT=served.url.rpartition(":")[2])
    assert (done.returncode, done.stderr) == (0, "")


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["info"], ["revoke"], ["extend", "--days", "3"]])
def test_a_token_that_does_not_exist_is_named(served: Served, command: list[str]) -> None:
    """S2-14."""
    for unknown in (str(uuid4()), "../tokens"):
        done = run(served, *command, unknown)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"Token not found: {unknown}\n")


def test_any_other_refusal_shows_status_and_body(served: Served) -> None:
    """S2-14: `Error: <code> - <body>`."""
    name = new_name()
    create(served, name)
    for arguments, status, code in (
        (("create", name, "--scopes", "read"), 400, "name_taken"),
        (("info", "not-a-uuid"), 400, "invalid_token_id"),
        (("create", "x", "--scopes", "a b"), 422, "validation_failed"),
        (("create", new_name(), "--scopes", "read", "--ttl", "0"), 422, "validation_failed"),
    ):
        done = run(served, *arguments)
        assert (done.returncode, done.stdout) == (1, ""), arguments
        assert re.match(rf"Error: {status} - \{{.*\"code\":\"{code}\".*\}}\n\Z", done.stderr), done.stderr


@pytest.mark.parametrize("environ", [{}, {"ADMIN_TOKEN": "wrong"}])
def test_a_missing_admin_token_is_named(served: Served, environ: dict[str, str]) -> None:
    """S2-14 S2-39."""
    done = auth_cli("--auth-url", served.url, "list", **environ)
    assert (done.returncode, done.stdout) == (1, "")
    (error,) = done.stderr.splitlines()
    assert re.fullmatch(r"Error: 40[13] - [^{}]+\.", error), error
    assert error.endswith(". Set ADMIN_TOKEN in the environment of this command.")


def test_an_unreachable_service_is_a_connection_error() -> None:
    """S2-14: refused, a name that does not exist, and something that does not speak HTTP."""
    port = free_port()
    for url, reason in (
        (f"http://127.0.0.1:{port}", "Connection refused"),
        ("http://no-such-host.invalid", "Name or service not known|nodename nor servname|name resolution|No address"),
    ):
        done = auth_cli("--auth-url", url, "list", ADMIN_TOKEN="x")
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(rf"Connection error: {url} does not answer \(.*({reason}).*\)\n", done.stderr), done.stderr


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://localhost", "http://", "http://a b", "http://u:p@h", ""])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    done = auth_cli("--auth-url", url, "list", ADMIN_TOKEN="x", PORT=str(free_port()))
    assert (done.returncode, done.stdout) == (1, "")
    assert re.match("Error: .* is not a service URL|Connection error: ", done.stderr), done.stderr


def test_a_file_that_cannot_be_read_is_named() -> None:
    done = auth_cli("list", ADMIN_TOKEN_FILE="/nowhere/admin-token")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: The file /nowhere/admin-token in ADMIN_TOKEN_FILE cannot be read")


def test_a_port_that_is_none_is_named() -> None:
    """S3-70's sentence for a misspelt variable of S2-09."""
    done = auth_cli("list", PORT="http")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: server.port is 'http' (from env PORT): use a whole number from 0 to 65535.\n"


def test_without_a_command_it_explains_itself() -> None:
    """S2-14: help, exit 1."""
    done = auth_cli()
    assert (done.returncode, done.stderr) == (1, "")
    assert all(command in done.stdout for command in ("create", "list", "info", "revoke", "extend", "--auth-url"))


def test_scopes_are_required() -> None:
    """S2-05."""
    done = auth_cli("create", "a-service")
    assert (done.returncode, done.stdout) == (2, "")
    assert "the following arguments are required: --scopes" in done.stderr


# --- how it starts ---------------------------------------------------------------------------------------------------


def test_both_names_are_installed(served: Served) -> None:
    """S2-10: the console scripts `auth-cli` and `amplify-auth-cli`, in the package, the checkout and the image."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts["auth-cli"] == scripts["amplify-auth-cli"] == "idp.cli.auth_cli:main"
    link_source = (ROOT / "deploy/container/link-source").read_text()
    for name in ("auth-cli", "amplify-auth-cli"):
        assert f'link "$1" {name} idp.cli.auth_cli' in link_source
        done = subprocess.run(
            [ROOT / ".venv/bin" / name, "--auth-url", served.url, "list"],
            env=PLAIN | {"ADMIN_TOKEN": served.admin_token},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def test_it_loads_neither_the_service_nor_a_framework() -> None:
    """Fast start, checked without a clock: it imports little."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *AUTH_CLI[1:], "list"],
        env=PLAIN | {"PORT": str(free_port())}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    loaded = set(re.findall(r"\| +(\S+)$", done.stderr, re.MULTILINE))
    assert "idp.cli.http" in loaded
    assert loaded.isdisjoint({"idp.app", "litestar", "sqlalchemy", "asyncio", "click", "rich", "httpx2", "httpx"})
