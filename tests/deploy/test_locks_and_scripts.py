"""The locks and the scripts that install from them."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from deploy.deploy_support import ROOT

SCRIPTS = [*sorted((ROOT / "script").iterdir()), *sorted((ROOT / "deploy/container").iterdir())]


def locked(name: str) -> dict[str, str]:
    """Return each package's version and marker."""
    return dict(re.findall(r"^([\w.-]+)==(.+?) \\$", (ROOT / name).read_text(), re.MULTILINE))


def declared(requirement: str) -> str:
    return re.split(r"[\[<>=; ]", requirement)[0].lower().replace("_", "-")


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_names_packages_and_hashes_and_no_place(name: str) -> None:
    text = (ROOT / name).read_text()
    assert len(locked(name)) > 40
    entries = re.findall(r"^[\w.-]+==.*(?:\n    .*)*", text, re.MULTILINE)
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text


def test_the_runtime_lock_has_every_dependency_and_nothing_of_development() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    runtime = locked("requirements.lock")
    assert {declared(requirement) for requirement in project["dependencies"]} <= set(runtime)
    extra = {declared(requirement) for requirement in project["optional-dependencies"]["dev"]}
    assert not extra & set(runtime)
    assert extra <= set(locked("requirements-dev.lock"))
    assert "pytest" not in runtime


def test_development_runs_the_versions_that_production_runs() -> None:
    assert locked("requirements.lock").items() <= locked("requirements-dev.lock").items()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_executable_posix_shell(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/bin/sh\n")
    subprocess.check_call(["sh", "-n", script])


def test_ci_is_executable() -> None:
    assert os.access(ROOT / ".ci/run", os.X_OK)
    subprocess.check_call(["bash", "-n", ROOT / ".ci/run"])
