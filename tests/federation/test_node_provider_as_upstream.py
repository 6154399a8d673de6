"""oidc-provider, a certified OpenID provider of Node, as upstream, over sockets: in, and out on both sides."""

import asyncio
import html
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

import httpx2
import pytest

from cli.support import free_port
from factories import Service, running
from idp.dev.embedded import EmbeddedPostgres
from provider_apps import Browser, register_app, returned

SOURCE = Path(__file__).parent / "oidc_provider"
SECRET = "a-secret-of-the-tests-that-is-long-enough"
RULES = [{"claim": "groups", "teams_by_external_ref": True}]
AFTER = "https://app.example.com/bye"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("oidc-provider")
    shutil.copytree(SOURCE, folder, dirs_exist_ok=True)
    install = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.skip(f"oidc-provider cannot be installed: {done.stderr.strip()[-200:]}")
    return folder


@contextmanager
def node_provider(folder: Path, port: int, idp: str) -> Iterator[None]:
    argv = [str(shutil.which("node")), "server.mjs", str(port), SECRET, idp]
    with subprocess.Popen(argv, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            assert any(line.startswith("READY") for line in process.stdout)
            yield
        finally:
            process.kill()


@pytest.fixture(scope="module")
async def service(folder: Path, postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    port = free_port()
    provider = {
        "issuer": f"http://127.0.0.1:{port}",
        "client_id": "idp",
        "client_secret": SECRET,
        "trusted_email_domains": ["corp.example"],
        "rules": RULES,
    }
    environ = {"IDP_FEDERATION__PROVIDERS": json.dumps({"node": provider})}
    async with running(postgres.create_database("node_upstream"), environ=environ) as service:
        with node_provider(folder, port, service.base_url):
            yield service


class There:
    """A browser at the provider, which fills in its forms."""

    def __init__(self) -> None:
        self.client = httpx2.AsyncClient(timeout=20)

    async def until(self, url: str, stop: str, **answers: str) -> str:
        """Follow redirects and submit forms from a URL, until the provider sends the browser to an address of ours."""
        answer = await self.client.get(url)
        for _ in range(20):
            if answer.is_redirect:
                target = urljoin(str(answer.url), answer.headers["Location"])
                if target.startswith(stop):
                    return target
                answer = await self.client.get(target)
                continue
            assert answer.status_code == 200, answer.text[:500]
            form = re.search(r"<form[^>]*action=\"([^\"]+)\"[^>]*>(.*?)</form>", answer.text, re.DOTALL)
            assert form is not None, answer.text[:2000]
            fields = {}
            for tag in re.findall(r"<input[^>]*>", form[2]):
                name, value = re.search(r'name="([^"]*)"', tag), re.search(r'value="([^"]*)"', tag)
                if name is not None:
                    fields[name[1]] = html.unescape(value[1]) if value else ""
            action = urljoin(str(answer.url), html.unescape(form[1]))
            answer = await self.client.post(action, data={**fields, **answers})
        raise AssertionError("the provider does not come to an end")


async def test_the_whole_journey(service: Service) -> None:
    """S3-07 S3-37 for browsers: a new person, an app, teams by claims, and the logout of both sides."""
    app = await register_app(service, await service.register_admin(), post_logout_redirect_uris=[AFTER])
    async with Browser(service) as here:
        there = There()
        asked = await here.client.get("/oauth2/authorize", params={**app.parameters(), "idp_hint": "node"})
        start = (await here.client.get(asked.headers["Location"])).headers["Location"]
        began = await here.client.get(start)
        callback = await there.until(
            began.headers["Location"], f"{service.base_url}/federation/", login="grace", password="any"
        )
        back = returned(await here.follow(await here.client.get(callback)))
        tokens = (await app.exchange(back["code"])).json()
        me = (await here.client.get("/auth/me")).json()
        assert (me["email"], me["email_verified"], me["name"]) == ("grace@corp.example", True, "Person grace")
        assert {team["name"] for team in me["teams"]} == {"General", "Engineering"}

        sent = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": AFTER, "state": "s"}
        left = await here.client.get("/oauth2/logout", params=sent)
        assert (await here.client.get("/auth/me")).status_code == 401
        signed_out = await there.until(
            left.headers["Location"], f"{service.base_url}/federation/node/signed-out", logout="yes"
        )
        assert (await here.client.get(signed_out)).headers["Location"] == f"{AFTER}?state=s"
        await there.client.aclose()


async def test_its_logout_token_ends_our_session(service: Service) -> None:
    """Its own implementation makes and sends the token: the person signs out there, and their session here ends."""
    async with Browser(service) as here:
        there = There()
        began = await here.client.get("/federation/node/start")
        callback = await there.until(
            began.headers["Location"], f"{service.base_url}/federation/", login="hugo", password="any"
        )
        await here.client.get(callback)
        assert (await here.client.get("/auth/me")).status_code == 200
        issuer = began.headers["Location"].partition("/auth?")[0]
        await there.until(
            f"{issuer}/session/end?client_id=idp&post_logout_redirect_uri={service.base_url}/federation/node/signed-out",
            f"{service.base_url}/federation/node/signed-out",
            logout="yes",
        )
        async with asyncio.timeout(10):
            while (await here.client.get("/auth/me")).status_code == 200:  # noqa: ASYNC110  it posts on its own
                await asyncio.sleep(0.05)
        await there.client.aclose()
