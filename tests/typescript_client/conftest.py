"""The TypeScript client, installed and built once in a folder of its own; skips where it cannot be."""

import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from client.machines import managed
from factories import Service
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey
from idp_client.testing import Issuer

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "clients/typescript"
INSTALL = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]


def code_of_pages() -> dict[str, str]:
    """Return the TypeScript on the pages, by names such as `page-0`."""
    page, readme = (ROOT / "docs/client-typescript.md").read_text(), (PACKAGE / "README.md").read_text()
    blocks = re.findall(r"```ts\n(.*?)```", page, re.DOTALL)
    return {f"page-{n}": block for n, block in enumerate(blocks)} | {
        "readme": "".join(re.findall(r"```ts\n(.*?)```", readme, re.DOTALL))
    }


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built package, with its compiled tests and the code of its pages in `dist-test`."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed here")
    version = subprocess.check_output(["node", "--version"], text=True)
    if int(version.lstrip("v").split(".")[0]) < 20:
        pytest.skip(f"the client needs Node 20 or newer, this is {version.strip()}")
    folder = tmp_path_factory.mktemp("typescript") / "idp-client"
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("node_modules", "dist", "dist-test"))
    done = subprocess.run(INSTALL, cwd=folder, capture_output=True, text=True, timeout=150, check=False)
    if done.returncode:
        pytest.skip(f"npm could not install the packages: {done.stderr.strip().splitlines()[-1:]}")
    for name, code in code_of_pages().items():
        (folder / f"test/{name}.ts").write_text(code)
    for script in ("build", "build:test"):
        built = subprocess.run(["npm", "run", "-s", script], cwd=folder, capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.fixture(scope="session")
async def idp(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> AsyncIterator[Service]:
    """The service as `idp serve` runs it."""
    async with managed(postgres, "typescript", valkey=valkey) as service:
        yield service


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """The issuer of `idp_client.testing`."""
    with Issuer() as issuer:
        yield issuer
