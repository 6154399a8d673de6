"""`idp --help`: fast, and a suggestion for an unknown command."""

import re
import subprocess
import sys
import time

import pytest

from cli.support import IDP, PLAIN, ROOT, idp

COMMANDS = (
    "dev", "serve", "relay", "migrate", "check-db", "clear-development-mark", "config", "routes", "tokens", "keys",
    "users", "audit", "events", "signing-keys",
)  # fmt: skip
HEAVY = {"idp.app", "idp.settings", "litestar", "sqlalchemy", "asyncio", "msgspec", "uvicorn", "urllib.request", "ssl"}


def test_help_names_every_command_and_is_quick() -> None:
    began = time.monotonic()
    done = subprocess.run([*IDP, "--help"], env=PLAIN, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    sys.stderr.write(f"\nidp --help: {seconds:.2f} s\n")
    assert done.returncode == 0
    assert all(re.search(rf"\b{command}\b", done.stdout) for command in COMMANDS)
    assert seconds < 4  # measured: 0.2; a loaded machine, or modules that are not compiled yet, take longer


REPORTING = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
sys.argv[0] = "idp"
from idp.cli.main import main
main()
"""


def loaded_by(*arguments: str) -> set[str]:
    command = [sys.executable, "-c", REPORTING, *arguments]
    done = subprocess.run(command, env=PLAIN, capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("group", ["", "tokens", "keys", "users", "tokens create", "users create-admin"])
def test_help_loads_neither_the_service_nor_its_settings(group: str) -> None:
    """What makes it quick, checked without a clock."""
    loaded = loaded_by(*group.split(), "--help")
    assert "idp.cli.commands" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_a_command_loads_the_others_not_at_all() -> None:
    loaded = loaded_by("tokens", "--help")
    ours = {module for module in loaded if module.startswith("idp.cli.")}
    expected = ("main", "commands", "groups", "tokens", "credentials", "service_options", "find_by_name", "streams")
    assert ours == {f"idp.cli.{name}" for name in expected}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    done = idp(command, "--help")
    assert done.returncode == 0
    assert "Usage: idp " in done.stdout


def test_the_installed_command_is_the_same() -> None:
    done = subprocess.run([ROOT / ".venv/bin/idp", "--version"], env=PLAIN, capture_output=True, text=True, check=True)
    assert done.stdout == "idp, version 1.0.0\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["frobnicate"], "has no command 'frobnicate'"),
        (["dev", "--prot", "1"], "No such option '--prot'. Did you mean '--port'?"),
        (["dev", "--port", "70000"], "70000 is not in the range 0<=x<=65535"),
        (["dev", "--processes", "0"], "0 is not in the range 1<=x<=16"),
        (["serve", "--port", "http"], "'http' is not a valid integer range"),
        (["config", "show", "-o", "yaml"], "'yaml' is not one of 'table', 'json'"),
    ],
)
def test_unknown_arguments_are_named(arguments: list[str], sentence: str) -> None:
    done = idp(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        (["user", "list"], "Did you mean `idp users`?"),
        (["user"], "Did you mean `idp users`?"),
        (["Migrate"], "Did you mean `idp migrate`?"),
        (["start"], "Did you mean `idp serve` or `idp dev`?"),
        (["users", "lst"], "Did you mean `idp users list`?"),
        (["keys", "ls"], "Did you mean `idp keys list`?"),
        (["signing-keys", "rotat"], "Did you mean `idp signing-keys rotate`?"),
        (["config", "xyz"], "It has check, show."),
    ],
)
def test_an_unknown_command_suggests_the_right_one(arguments: list[str], suggestion: str) -> None:
    done = idp(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert suggestion in " ".join(done.stderr.replace("│", " ").split())
