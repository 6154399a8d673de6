"""Output errors end a command with one sentence; messages about settings at start."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cli.conftest import Served
from cli.support import AUTH_CLI, IDP, PLAIN, idp, refusal, root_secret, running_serve

COMMANDS = [[*IDP, "config", "show"], [*IDP, "routes"], [*IDP, "--help"], [*AUTH_CLI, "list"], [*AUTH_CLI, "--help"]]


def shell(command: list[str], behind: str, **environ: str) -> subprocess.CompletedProcess[str]:
    script = f'"$@" {behind}'
    return subprocess.run(
        ["bash", "-c", script, "bash", *command],
        env=PLAIN | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[2:]))
def test_whatever_takes_its_output_there_is_no_traceback(command: list[str], served: Served) -> None:
    """closed, full, a pipe without a reader, and an ASCII terminal."""
    for behind in (">/dev/full", ">&-", ">&- 2>&-", "| true", "| head -1", "<&-"):
        done = shell(command, behind, **served.environ)
        assert "Traceback" not in done.stderr, behind
        assert "Error" not in done.stderr, behind
        if behind == ">/dev/full":
            assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
            assert "cannot be written" in done.stderr
    done = shell(command, "", PYTHONIOENCODING="ascii", **served.environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()


def test_a_name_that_the_terminal_cannot_show_is_escaped(served: Served) -> None:
    """With an ASCII terminal, creating and listing a token with such a name succeed."""
    environ = served.environ | {"PYTHONIOENCODING": "ascii"}
    made = idp("tokens", "create", "Zoë—服务", "a", **environ)
    assert made.returncode == 0, made.stderr
    listed = idp("tokens", "list", **environ)
    assert (listed.returncode, listed.stderr) == (0, "")


def test_a_read_only_dev_shm_is_one_sentence(tmp_path: Path) -> None:
    """`idp serve` names /dev/shm and the remedy, and shows no traceback."""
    unshare = shutil.which("unshare")
    command = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o ro tmpfs /dev/shm && exec "$@"', "sh"]
    if unshare is None or subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no right to mount anything here")
    environ = PLAIN | {"DATABASE_URL": "postgresql://u@127.0.0.1:1/d", "IDP_SECRET_KEY": root_secret()}
    done = subprocess.run(
        [*command, *IDP, "serve", "--port", "0"], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "which require a writable /dev/shm (Read-only file system): mount a tmpfs" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


# --- what a start says ------------------------------------------------------------------------------------------------


def test_a_near_miss_of_a_missing_variable_is_reported() -> None:
    """Found as a new user: DATABSE_URL=… idp serve."""
    said = refusal("serve", DATABSE_URL="postgresql://u@h/d", IDP_SECRET_KEY=root_secret())
    assert "DATABASE_URL is not set" in said
    assert "DATABSE_URL in the environment is not a setting: did you mean DATABASE_URL?" in said


def test_an_address_without_a_scheme_is_reported_as_one() -> None:
    """Found as a new user; no piece of it is repeated."""
    said = refusal("serve", DATABASE_URL="idp:Geheim9@db:5432/idp", IDP_SECRET_KEY=root_secret())
    assert "DATABASE_URL does not start with postgresql://" in said
    assert "Geheim9" not in said


OLD = {
    "BCRYPT_ROUNDS": "12",
    "GENERAL_RATE_LIMIT_PER_IP": "100",
    "ACCESS_TOKEN_TTL": "900",
    "REFRESH_TOKEN_TTL": "604800",
    "HOST": "127.0.0.1",
}


def test_variables_that_nothing_reads_are_named(migrated: str, tmp_path: Path) -> None:
    """`config check` says so and is content; `serve` says so at its start."""
    environ = {"DATABASE_URL": migrated, "IDP_SECRET_KEY": root_secret()} | OLD
    done = idp("config", "check", **environ)
    assert done.returncode == 0
    assert {line.split()[0] for line in done.stderr.splitlines()} == set(OLD)
    with running_serve(tmp_path / "out", **environ) as (serve, _):
        assert all(f"{name} is set but not used" in serve.said() for name in OLD)
    assert idp("config", "check", **(environ | {"HOST": "laptop"})).stderr.count("HOST is set") == 0, "a shell's own"


@pytest.mark.parametrize("name", ["AUTH_JWT_SECRET_KEY", "JWT_SECRET_KEY"])
def test_a_shared_secret_that_signs_nothing_is_reported(name: str, migrated: str) -> None:
    """RS256 with a shared secret started without a word."""
    environ = {"DATABASE_URL": migrated, "IDP_SECRET_KEY": root_secret(), "AUTH_JWT_ALGORITHM": "RS256"}
    done = idp("config", "check", **(environ | {name: root_secret()}))
    assert done.returncode == 0
    assert done.stderr.startswith(f"{name} is set and AUTH_JWT_ALGORITHM is RS256: the shared secret is not used")


def test_the_documented_environment_of_the_old_auth_service_starts(empty: str, tmp_path: Path) -> None:
    """S4: JWT_SECRET_KEY stands in for the root secret, and the login of the mail server is the sender."""
    environ = {
        "DATABASE_URL": empty, "JWT_SECRET_KEY": root_secret(), "SMTP_HOST": "smtp.example.com",
        "SMTP_USERNAME": "robot@example.com", "SMTP_PASSWORD": os.urandom(12).hex(), "RUN_MIGRATIONS": "true",
    }  # fmt: skip
    with running_serve(tmp_path / "out", **environ):
        pass
    assert "robot@example.com" in idp("config", "show", **environ).stdout
