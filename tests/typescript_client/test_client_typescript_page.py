"""Checks the statements of docs/client-typescript.md and the package's README; their code is compiled, too."""

import re
from pathlib import Path

import pytest

from examples.example_support import started
from idp_client.testing import Issuer
from typescript_client.conftest import PACKAGE, ROOT

PAGE = (ROOT / "docs/client-typescript.md").read_text()
SOURCE = "".join(source.read_text() for source in (PACKAGE / "src").glob("*.ts"))


@pytest.mark.parametrize("name", ["page-0", "page-1", "page-2", "readme"])
def test_the_service_on_the_page_runs(package: Path, issuer: Issuer, name: str) -> None:
    """Express, Fastify, plain Node, and the README's."""
    user = issuer.user(roles=["admin"])
    bearer = {"Authorization": f"Bearer {issuer.token(user, 'read')}"}
    command = ["node", str(package / f"dist-test/{name}.js")]
    with started(lambda _port: command, AUTH_SERVICE_URL=issuer.url) as client:
        if name == "page-2":
            assert client.get("/", headers=bearer).text == f"hello {user.email}"
            assert client.get("/").json()["code"] == "unauthenticated"
            return
        path = "/echo" if name == "readme" else "/me"
        assert client.get(path, headers=bearer).json()["kind"] == "user"
        assert client.get(path).json()["code"] == "unauthenticated"
        if name == "page-1":
            assert client.get("/report", headers=bearer).status_code == 200


def test_the_page_names_the_defaults_and_the_files() -> None:
    assert "2, 300, 3600 and 5 seconds" in PAGE
    for default in ("timeout ?? 2;", "refreshAfter ?? 300;", "keysLive ?? 3600;", "coolDown ?? 5;", "leeway = 10,"):
        assert default in SOURCE, default
    assert "MAX_LENGTH = 8192" in SOURCE
    assert "MAX_LEEWAY = 60" in SOURCE
    for name in re.findall(r"`(requires\w*|callerOf|optionalCaller|answerProblem|sendProblem)\b", PAGE):
        assert f"function {name}(" in SOURCE, name


def test_the_page_stays_short() -> None:
    assert len(PAGE.splitlines()) <= 140
