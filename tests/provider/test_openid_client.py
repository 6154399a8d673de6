"""openid-client, a certified client library, against a running service: from its discovery URL alone."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey

from factories import Person, Service, running
from idp.dev.embedded import EmbeddedPostgres
from provider_apps import CALLBACK, Browser, register_app

SCRIPTS = Path(__file__).resolve().parents[1] / "node_clients"
AFTER = "https://app.example.com/bye"


@pytest.fixture(scope="module")
async def service(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("openid_client")) as service:
        yield service


@pytest.fixture(scope="module")
async def admin(service: Service) -> Person:
    return await service.register_admin()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script with its library; skips where it cannot be installed."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed here")
    folder = tmp_path_factory.mktemp("node") / "clients"
    shutil.copytree(SCRIPTS, folder, ignore=shutil.ignore_patterns("node_modules"))
    install = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    if done.returncode:
        pytest.skip(f"npm could not install openid-client: {done.stderr.strip().splitlines()[-1:]}")
    return folder


async def drive(folder: Path, settings: dict[str, Any], browser: Browser) -> dict[str, Any]:
    """Run the script, and be its browser."""
    script = await asyncio.create_subprocess_exec(
        "node",
        str(folder / "openid_client.mjs"),
        json.dumps(settings),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert script.stdin is not None
    assert script.stdout is not None
    try:
        async with asyncio.timeout(60):
            url = (await script.stdout.readline()).decode().strip()
            if url:
                returned = await browser.follow(await browser.client.get(url))
                script.stdin.write(returned.headers["Location"].encode() + b"\n")
            output, errors = await script.communicate()
    finally:
        if script.returncode is None:
            script.kill()
    assert script.returncode == 0, errors.decode()
    return dict(json.loads(output))


@pytest.mark.parametrize(
    ("method", "algorithm"),
    [
        ("none", "RS256"),
        ("none", "ES256"),
        ("client_secret_basic", "RS256"),
        ("client_secret_post", "ES256"),
        ("private_key_jwt", "RS256"),
    ],
)
async def test_a_certified_client_uses_every_endpoint(
    service: Service, admin: Person, folder: Path, method: str, algorithm: str
) -> None:
    """Code with PKCE, ID token, userinfo, refresh, introspection, revocation, client_credentials, logout."""
    key = ECKey.generate_key("P-256", {"kid": "key-1", "use": "sig", "alg": "ES256"})
    grants = ["authorization_code", "refresh_token"] + ([] if method == "none" else ["client_credentials"])
    more = {"jwks": {"keys": [key.as_dict(private=False)]}} if method == "private_key_jwt" else {}
    app = await register_app(
        service,
        admin,
        token_endpoint_auth_method=method,
        grant_types=grants,
        scope="openid profile email offline_access" + ("" if method == "none" else " reports"),
        post_logout_redirect_uris=[AFTER],
        id_token_signed_response_alg=algorithm,
        **more,
    )
    person = await service.register(name="Grace Hopper")
    settings = {
        "issuer": service.base_url,
        "client_id": app.client_id,
        "secret": app.secret,
        "method": method,
        "jwk": {name: value for name, value in key.as_dict(private=True).items() if name not in {"use", "alg"}},
        "redirect_uri": CALLBACK,
        "after_logout": AFTER,
    }
    async with Browser(service) as browser:
        await browser.sign_in(person)
        seen = await drive(folder, settings, browser)
        assert seen["claims"]["sub"] == seen["userinfo"]["sub"] == person.id
        assert seen["userinfo"]["email"] == person.email
        assert seen["refreshed"] == {"type": "bearer", "rotated": True}
        assert seen["again"] == "invalid_grant"
        if method != "none":
            assert seen["active"]["active"] is True
            assert seen["active"]["client_id"] == app.client_id
            assert seen["inactive"] == {"active": False}
            assert seen["own"]["type"] == "bearer"
        left = await browser.client.get(seen["logout"])
        assert (left.status_code, left.headers["Location"]) == (303, f"{AFTER}?state=bye")
        assert (await browser.client.get("/auth/me")).status_code == 401
