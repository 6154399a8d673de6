"""Tokens of oidc-provider, a certified OpenID provider of Node, over sockets (S3-07, S3-37)."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.support import free_port
from factories import running
from idp.dev.embedded import EmbeddedPostgres

SOURCE = Path(__file__).parent / "oidc_provider"


@dataclass(frozen=True)
class Provider:
    """The running provider, and an access token and an ID token of its person."""

    issuer: str
    access: str
    id: str


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("oidc-provider")
    shutil.copytree(SOURCE, folder, dirs_exist_ok=True)
    install = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.skip(f"oidc-provider cannot be installed: {done.stderr.strip()[-200:]}")
    port = free_port()
    argv = [node, "server.mjs", str(port)]
    with subprocess.Popen(argv, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            ready = next(line for line in process.stdout if line.startswith("READY "))
            tokens = json.loads(ready.removeprefix("READY "))
            yield Provider(f"http://127.0.0.1:{port}", tokens["access"], tokens["id"])
        finally:
            process.kill()


async def test_access_and_id_tokens_of_a_real_provider_are_one_user(
    provider: Provider, postgres: EmbeddedPostgres
) -> None:
    """By its discovery document alone; the rules read the ID token's groups, and the access token has none."""
    rules = [{"claim": "groups", "teams_by_external_ref": True}]
    settings = {
        "issuer": provider.issuer,
        "audience": ["https://api.example.com", "spa"],
        "trusted_email_domains": ["corp.example"],
        "rules": rules,
    }
    environ = {"IDP_OIDC__PROVIDERS": json.dumps({"node": settings})}
    async with running(postgres.create_database("real_provider"), environ=environ) as service:

        async def me(token: str) -> dict[str, object]:
            answer = await service.client.get("/auth/me", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 200, answer.text
            return dict(answer.json())

        first = await me(provider.id)
        assert (first["email"], first["email_verified"], first["name"]) == ("pat@corp.example", True, "Pat Person")
        second = await me(provider.access)
        assert second["id"] == first["id"]
        for each in (first, second):
            assert {team["name"] for team in each["teams"]} == {"General", "Engineering"}  # type: ignore[attr-defined]
        verdict = await service.validate(provider.access)
        assert (verdict["valid"], verdict["kind"], verdict["scopes"]) == (True, "user", [])


async def test_its_tokens_for_another_audience_are_refused(provider: Provider, postgres: EmbeddedPostgres) -> None:
    environ = {"AUTH_OIDC_ISSUER": provider.issuer, "AUTH_OIDC_AUDIENCE": "https://other.example.com"}
    async with running(postgres.create_database("other_audience"), environ=environ) as service:
        for token in (provider.id, provider.access):
            answer = await service.client.get("/auth/me", headers={"Authorization": f"Bearer {token}"})
            assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
