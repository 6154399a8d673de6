"""A legacy app behind nginx, with the configuration of examples/legacy_app (docs/integrate/nginx.md)."""

import asyncio
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import httpx2
import pytest

from examples.example_support import EXAMPLES, free_port, started
from factories import PASSWORD, Person, Service, running
from idp.dev.embedded import EmbeddedPostgres

NGINX = shutil.which("nginx") or ("/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else None)
pytestmark = pytest.mark.skipif(NGINX is None, reason="no nginx here (Debian: apt-get install nginx-light)")
AROUND = """
{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
{server}
}}
"""
FORGED = {
    "X-Auth-User": "forged", "X-Auth-Email": "root@example.com", "X-Auth-Roles": "admin", "X-Auth-Teams": "Board",
    "X-Auth-Domains": "finance", "X-Auth-Scopes": "all", "X-Auth-Service": "root", "X-Auth-Method": "forged",
    "X-Auth-Omitted": "roles", "X_Auth_User": "forged", "x-auth-roles": "admin", "X-Auth_Roles": "admin",
}  # fmt: skip


@dataclass
class Site:
    """The public address, and idp behind it."""

    public: str
    service: Service


@pytest.fixture(scope="module")
async def site(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    public = f"http://127.0.0.1:{port}"
    async with running(postgres.create_database("legacy_app"), environ={"IDP_PUBLIC_URL": public}) as service:
        with started(lambda _: ["python3", str(EXAMPLES / "legacy_app/legacy_app.py")]) as app:
            written = (EXAMPLES / "legacy_app/nginx.conf").read_text("utf-8")
            for documented, real in (
                ("127.0.0.1:8080", f"127.0.0.1:{port}"),
                ("http://127.0.0.1:8000", service.base_url),
                ("http://127.0.0.1:9000", str(app.base_url).rstrip("/")),
            ):
                assert documented in written
                written = written.replace(documented, real)
            user = "user root;" if os.getuid() == 0 else ""
            config = folder / "nginx.conf"
            config.write_text(AROUND.format(user=user, folder=folder, server=written))
            command = [str(NGINX), "-c", str(config), "-p", str(folder)]
            process = subprocess.Popen(command, stderr=subprocess.PIPE)  # noqa: ASYNC220
            try:
                await _until_open(public, process)
                yield Site(public, service)
            finally:
                process.terminate()
                process.communicate(timeout=10)


async def _until_open(public: str, process: subprocess.Popen[bytes]) -> None:
    async with httpx2.AsyncClient() as client, asyncio.timeout(10):
        while True:
            with suppress(httpx2.ConnectError):
                await client.get(f"{public}/healthz")
                return
            assert process.poll() is None, process.communicate()
            await asyncio.sleep(0.05)


@pytest.fixture
async def client(site: Site) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=site.public, timeout=20) as client:
        yield client


@pytest.fixture
async def person(site: Site) -> Person:
    person = await site.service.register(name="Grace Hopper")
    await site.service.sql("UPDATE idp.users SET email_verified = true WHERE id = $1", person.id)
    return person


def seen_by(answer: httpx2.Response) -> dict[str, str]:
    assert answer.status_code == 200, answer.text
    return dict(line.split(": ", 1) for line in answer.text.splitlines() if ": " in line)


async def test_the_app_sees_who_is_calling(client: httpx2.AsyncClient, person: Person) -> None:
    """A token or key; the app gets no credential."""
    seen = seen_by(await client.get("/legacy/reports?year=2026", headers=person.bearer))
    assert seen["path"] == "/reports?year=2026"
    assert (seen["X-Auth-User"], seen["X-Auth-Email"]) == (person.id, person.email)
    assert (seen["X-Auth-Roles"], seen["X-Auth-Teams"], seen["X-Auth-Domains"]) == ("user", "General", "engineering")
    assert "credential" not in seen


async def test_forged_headers_never_reach_the_app(client: httpx2.AsyncClient, person: Person, site: Site) -> None:
    """Neither of a user, nor of somebody without a credential, nor where fewer headers are set."""
    seen = seen_by(await client.get("/legacy/", headers=person.bearer | FORGED))
    assert not set(seen.values()) & (set(FORGED.values()) - {"roles"})
    assert "X-Auth-Omitted" not in seen
    assert "X-Auth-Service" not in seen
    assert (await client.get("/legacy/", headers=FORGED)).status_code == 303
    admin = await site.service.register_admin()
    seen = seen_by(await client.get("/legacy/admin/", headers=admin.bearer | FORGED))
    assert {name for name in seen if name.startswith("X-Auth-")} == {"X-Auth-User"}
    assert seen["X-Auth-User"] == admin.id


async def test_a_browser_signs_in_and_returns_to_the_app(client: httpx2.AsyncClient, person: Person) -> None:
    """The whole way of a person: the app's page, the login page, the app's page; then signed out."""
    answer = await client.get("/legacy/reports?year=2026")
    assert answer.status_code == 303
    page = await client.get(answer.headers["Location"])
    form = next(each for each in re.findall("<form.*?</form>", page.text, re.DOTALL) if 'name="password"' in each)
    (action,) = re.findall(r'<form method="post" action="([^"]+)"', form)
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]+)"', form))
    fields = {"email": person.email, "password": PASSWORD, **hidden}
    address = urljoin(str(page.url), action.replace("&amp;", "&"))
    done = await client.post(address, data=fields, headers={"Origin": str(client.base_url).rstrip("/")})
    assert (done.status_code, done.headers["Location"]) == (303, "/legacy/reports?year=2026"), done.text
    client.cookies.set("theme", "dark")
    seen = seen_by(await client.get(done.headers["Location"]))
    assert seen["X-Auth-User"] == person.id
    assert "theme=dark" in seen["cookie"]
    assert "idp_session" not in seen["cookie"]
    signed_out = await client.get("/oauth2/logout")
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]+)"', signed_out.text))
    await client.post("/oauth2/logout/confirm", data=hidden)
    assert (await client.get("/legacy/")).status_code == 303


async def test_only_administrators_open_the_admin_pages(client: httpx2.AsyncClient, person: Person) -> None:
    answer = await client.get("/legacy/admin/", headers=person.bearer)
    assert answer.status_code == 403
    assert (await client.get("/legacy/admin/")).status_code == 303


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": "Bearer nonsense"}, {"Authorization": "Bearer a", "X-API-Key": "b"}, {"X-API-Key": "a b"}],
)
async def test_bad_credentials_never_become_an_error_of_the_server(
    client: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    """nginx answers 500 for any status of idp but 2xx, 401 and 403."""
    assert (await client.get("/legacy/", headers=headers)).status_code == 303


async def test_posts_keep_their_body_and_paths_cannot_leave_the_app(client: httpx2.AsyncClient, person: Person) -> None:
    answer = await client.post("/legacy/save", headers=person.bearer, content=secrets.token_bytes(5000))
    assert seen_by(answer)["path"] == "/save"
    assert (await client.get("/auth/forward", headers=person.bearer)).status_code == 200
    assert (await client.get("/forward-auth", headers=person.bearer)).status_code == 404  # internal
