"""The pytest plugin of `idp_client.testing`, in a pytest of its own."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from textwrap import dedent

import pytest

from idp_client.testing import BAD_TOKENS

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "clients/python"

SERVICE = """
import os

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route

from idp_client import Gate
from idp_client.starlette import AuthMiddleware, caller


async def me(request):
    known = await caller(request)
    return JSONResponse({"kind": known.kind, "email": known.user.email if known.user else None})


async def write(request):
    return JSONResponse({"name": (await caller(request, "write")).name})


gate = Gate.at(os.environ["AUTH_SERVICE_URL"])
app = Starlette(routes=[Route("/me", me), Route("/write", write)], middleware=[Middleware(AuthMiddleware, gate=gate)])
"""

TESTS = """
import os

import pytest
from starlette.testclient import TestClient


@pytest.fixture(scope="session")
def client(idp_issuer):
    os.environ["AUTH_SERVICE_URL"] = idp_issuer.url
    from service import app

    with TestClient(app) as client:
        yield client


def bearer(credential):
    return {"Authorization": f"Bearer {credential}"}


def test_good(client, idp_issuer, idp_user, idp_token):
    assert client.get("/me", headers=bearer(idp_token)).json() == {"kind": "user", "email": idp_user.email}
    assert client.get("/write", headers=bearer(idp_token)).status_code == 403
    robot = idp_issuer.service_token("write", name="robot")
    assert client.get("/write", headers=bearer(robot)).json() == {"name": "robot"}


def test_bad(client, idp_bad_token):
    assert client.get("/me", headers=bearer(idp_bad_token)).status_code == 401


def test_revoked(client, idp_issuer, idp_user):
    key = idp_issuer.api_key(idp_user, ["write"])
    assert client.get("/write", headers=bearer(key)).status_code == 200
    idp_issuer.revoke(key)
    assert client.get("/write", headers=bearer(key)).json()["code"] == "token_revoked"


def test_outage(client, idp_issuer, idp_user, idp_token):
    key = idp_issuer.api_key(idp_user, ["write"])
    with idp_issuer.outage():
        assert client.get("/write", headers=bearer(key)).status_code == 503
        assert client.get("/me", headers=bearer(idp_token)).status_code == 200, "its key is cached"
"""


def run_pytest(folder: Path, *paths: Path) -> str:
    """Run a pytest of its own in a folder, with these folders on its path, and return its output."""
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers -p no:cacheprovider\n")
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(map(str, (CLIENT / "src", folder, *paths)))}
    command = [sys.executable, "-m", "pytest", "-q", "-rA", str(folder)]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def installed(folder: Path) -> Path:
    """Return a folder as pip leaves it: with the entry points that pyproject.toml declares."""
    points = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]["entry-points"]
    info = folder / "idp_client-1.0.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: idp-client\nVersion: 1.0.0\n")
    lines = [f"[{group}]\n{name} = {to}\n" for group, names in points.items() for name, to in names.items()]
    (info / "entry_points.txt").write_text("".join(lines))
    return folder


@pytest.mark.parametrize("loaded_by", ["entry point", "pytest_plugins", "both"])
def test_a_service_is_tested_without_idp(tmp_path: Path, loaded_by: str) -> None:
    """Good tokens pass, each bad kind is 401, a revoked key is 401, an outage is 503."""
    folder = tmp_path / "service"
    folder.mkdir()
    (folder / "service.py").write_text(SERVICE)
    (folder / "test_service.py").write_text(TESTS)
    if loaded_by != "entry point":
        (folder / "conftest.py").write_text('pytest_plugins = ["idp_client.testing.plugin"]\n')
    paths = [] if loaded_by == "pytest_plugins" else [installed(tmp_path / "site")]
    output = run_pytest(folder, *paths)
    assert f"{3 + len(BAD_TOKENS)} passed" in output
    for name in BAD_TOKENS:
        assert f"PASSED test_service.py::test_bad[{name}]" in output


def test_the_tests_on_the_page_run(tmp_path: Path) -> None:
    """docs/client.md: the code as it stands."""
    section = (ROOT / "docs/client.md").read_text().partition("## Testing your service")[2]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (tmp_path / "test_page.py").write_text(dedent(code))
    output = run_pytest(tmp_path, ROOT / "examples/fastapi_service", installed(tmp_path / "site"))
    assert f"{2 + len(BAD_TOKENS)} passed" in output
