"""The example services as their users start them: a process each, beside a real idp."""

import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from client.machines import managed
from examples.example_support import EXAMPLES
from factories import Service
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey


@pytest.fixture(scope="session")
async def idp(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> AsyncIterator[Service]:
    """The service as `idp serve` runs it."""
    async with managed(postgres, "examples", valkey=valkey) as service:
        yield service


@pytest.fixture(scope="session")
def node_service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Node example with its dependency, in a folder of its own; skips where it cannot be installed."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed here")
    version = subprocess.check_output(["node", "--version"], text=True)
    if int(version.lstrip("v").split(".")[0]) < 20:
        pytest.skip(f"the example needs Node 20 or newer, this is {version.strip()}")
    folder = tmp_path_factory.mktemp("node") / "service"
    shutil.copytree(EXAMPLES / "node_service", folder, ignore=shutil.ignore_patterns("node_modules"))
    install = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    if done.returncode:
        pytest.skip(f"npm could not install jose: {done.stderr.strip().splitlines()[-1:]}")
    return folder
