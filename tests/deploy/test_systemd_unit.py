"""deploy/systemd/idp.service, read by systemd's own tools where they are installed."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.support import IDP, root_secret
from deploy.deploy_support import ROOT, known_names, secret_names
from idp.dev.embedded import EmbeddedPostgres

UNIT = ROOT / "deploy/systemd/idp.service"
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
_PR_SET_MDWE, _REFUSE_EXEC_GAIN = 65, 1


def settings() -> list[tuple[str, str]]:
    lines = [line for line in UNIT.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return [(name, value) for name, _, value in (line.partition("=") for line in lines)]


def value(name: str) -> str:
    return [found for key, found in settings() if key == name][-1]


def environment() -> dict[str, str]:
    assigned = " ".join(found for key, found in settings() if key == "Environment")
    return dict(entry.split("=", 1) for entry in assigned.split())


@needs_systemd
def test_systemd_accepts_it_and_finds_it_confined(tmp_path: Path) -> None:
    """`security` rates from 0, confined, to 10; it rates a unit without any such line 9.6."""
    copy = tmp_path / "idp.service"
    copy.write_text(UNIT.read_text().replace("/opt/idp/bin/idp", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", copy],
        capture_output=True,
        text=True,
    )
    assert rated.returncode == 0, rated.stdout


def test_secrets_come_as_credentials_and_never_as_values() -> None:
    """S3-56: variables are readable by more than the process; files of LoadCredential are its own."""
    given = environment()
    assert not set(given) & secret_names()
    assert set(given) - {"PYTHONUNBUFFERED"} <= known_names()
    loaded = {found.split(":")[0] for key, found in settings() if key == "LoadCredential"}
    assert {name.removeprefix("%d/") for key, name in given.items() if key.endswith("_FILE")} == loaded
    assert {key.removesuffix("_FILE") for key in given if key.endswith("_FILE")} <= secret_names()


def test_only_this_host_reaches_its_ports() -> None:
    """C-28, decision 0022: the metrics port asks for no token, and nothing in front of the host filters it."""
    assert environment()["IDP_SERVER__HOST"] == "127.0.0.1"


def test_it_runs_as_no_existing_user_and_may_gain_nothing() -> None:
    assert value("DynamicUser") == "yes"
    assert value("ProtectSystem") == "strict"
    assert value("NoNewPrivileges") == "yes"
    assert value("CapabilityBoundingSet") == ""
    assert re.fullmatch(r"kill -HUP \$MAINPID", value("ExecReload"))
    assert value("KillMode") == "mixed", "SIGTERM is for the parent, which stops its workers"


def test_the_service_needs_no_memory_that_is_writable_and_executable(postgres: EmbeddedPostgres) -> None:
    """MemoryDenyWriteExecute, by the kernel's own switch (prctl PR_SET_MDWE, Linux 6.3)."""

    def refuse() -> None:
        if ctypes.CDLL(None).prctl(_PR_SET_MDWE, _REFUSE_EXEC_GAIN, 0, 0, 0) != 0:
            os._exit(77)

    environ = {
        "DATABASE_URL": postgres.create_database("mdwe"),
        "IDP_SECRET_KEY": root_secret(),
        "PATH": os.environ["PATH"],
    }
    try:
        done = subprocess.run(
            [*IDP, "migrate"], env=environ, capture_output=True, text=True, timeout=120, preexec_fn=refuse
        )
    except subprocess.SubprocessError:
        pytest.skip("not Linux")
    if done.returncode == 77:
        pytest.skip("the kernel is older than 6.3")
    assert done.returncode == 0, done.stderr
    load = "import idp.app, uvloop, cryptography.fernet, bcrypt, argon2, asyncpg, confluent_kafka; bcrypt.gensalt()"
    subprocess.run([sys.executable, "-W", "ignore", "-c", load], env=environ, check=True, timeout=60, preexec_fn=refuse)
