"""`idp` itself: quick to answer, and plain about what it does not know."""

import re
import subprocess
import sys
import time

import pytest

from cli.support import IDP, PLAIN, ROOT, idp

COMMANDS = ("dev", "serve", "migrate", "check-db", "config", "routes", "keys")


def test_help_names_every_command_and_is_quick() -> None:
    began = time.monotonic()
    done = idp("--help")
    seconds = time.monotonic() - began
    sys.stderr.write(f"\nidp --help: {seconds:.2f} s\n")
    assert done.returncode == 0
    assert all(re.search(rf"\b{command}\b", done.stdout) for command in COMMANDS)
    assert seconds < 4  # measured: 0.2; a loaded machine, or modules that are not compiled yet, take longer


def test_help_loads_neither_the_service_nor_its_settings() -> None:
    """What makes it quick, checked without a clock."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *IDP[1:], "--help"], env=PLAIN, capture_output=True, text=True, check=True
    )
    loaded = set(re.findall(r"\| +(\S+)$", done.stderr, re.MULTILINE))
    assert loaded.isdisjoint({"idp.app", "idp.settings", "litestar", "sqlalchemy", "asyncio", "msgspec", "uvicorn"})


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
        (["frobnicate"], "No such command 'frobnicate'"),
        (["dev", "--prot", "1"], "No such option '--prot'. Did you mean '--port'?"),
        (["dev", "--port", "70000"], "70000 is not in the range 0<=x<=65535"),
        (["dev", "--processes", "0"], "0 is not in the range 1<=x<=16"),
        (["serve", "--port", "http"], "'http' is not a valid integer range"),
        (["config", "show", "-o", "yaml"], "'yaml' is not one of 'table', 'json'"),
    ],
)
def test_what_is_not_understood_is_named(arguments: list[str], sentence: str) -> None:
    done = idp(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
