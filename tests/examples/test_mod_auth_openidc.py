"""A legacy app behind Apache and mod_auth_openidc, with the configuration of examples/legacy_app."""

import asyncio
import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx2
import pytest

from examples.example_support import EXAMPLES, free_port, started
from factories import PASSWORD, Person, Service, running
from idp.dev.embedded import EmbeddedPostgres
from provider_apps import register_app

APACHE = shutil.which("apache2") or shutil.which("/usr/sbin/apache2")
MODULES = Path("/usr/lib/apache2/modules")
pytestmark = pytest.mark.skipif(
    APACHE is None or not (MODULES / "mod_auth_openidc.so").exists(),
    reason="no mod_auth_openidc here (Debian: apt-get install apache2 libapache2-mod-auth-openidc)",
)
NEEDED = ("mpm_event", "authn_core", "authz_core", "authz_user", "headers", "proxy", "proxy_http", "auth_openidc")
AROUND = """
ServerRoot {folder}
ServerName 127.0.0.1
DefaultRuntimeDir {folder}
PidFile {folder}/apache.pid
Mutex file:{folder} default
ErrorLog {folder}/error.log
LogLevel warn
{modules}
{user}
Listen 127.0.0.1:{port}
{written}
"""


@dataclass
class Site:
    """The public address, and idp."""

    public: str
    service: Service
    client_id: str


@pytest.fixture(scope="module")
async def site(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder, port = tmp_path_factory.mktemp("apache"), free_port()
    public = f"http://127.0.0.1:{port}"
    async with running(postgres.create_database("mod_auth_openidc")) as service:
        callback = f"{public}/legacy/signed-in"
        app = await register_app(
            service,
            await service.register_admin(),
            client_name="Legacy",
            redirect_uris=[callback],
            post_logout_redirect_uris=[f"{public}/bye"],
            backchannel_logout_uri=f"{callback}?logout=backchannel",
        )
        with started(lambda _: ["python3", str(EXAMPLES / "legacy_app/legacy_app.py")]) as legacy:
            written = (EXAMPLES / "legacy_app/apache.conf").read_text("utf-8")
            for documented, real in (
                ("http://127.0.0.1:8081", public),
                ("http://127.0.0.1:8000", service.base_url),
                ("http://127.0.0.1:9000", str(legacy.base_url).rstrip("/")),
            ):
                assert documented in written
                written = written.replace(documented, real)
            config = folder / "apache.conf"
            modules = "\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in NEEDED)
            user = "User www-data\nGroup www-data" if os.getuid() == 0 else ""
            config.write_text(AROUND.format(folder=folder, modules=modules, user=user, port=port, written=written))
            environ = {
                "PATH": os.environ["PATH"],
                "LEGACY_CLIENT_ID": app.client_id,
                "LEGACY_CLIENT_SECRET": app.secret or "",
                "LEGACY_PASSPHRASE": secrets.token_hex(16),
            }
            folder.chmod(0o777)
            command = [str(APACHE), "-f", str(config), "-DFOREGROUND"]
            process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE)  # noqa: ASYNC220
            try:
                async with httpx2.AsyncClient() as client, asyncio.timeout(10):
                    while True:
                        with suppress(httpx2.ConnectError):
                            await client.get(public)
                            break
                        assert process.poll() is None, process.communicate()
                        await asyncio.sleep(0.05)
                yield Site(public, service, app.client_id)
            finally:
                process.terminate()
                process.communicate(timeout=20)


@pytest.fixture
async def client(site: Site) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=site.public, timeout=20) as client:
        yield client


async def follow(client: httpx2.AsyncClient, answer: httpx2.Response) -> httpx2.Response:
    for _ in range(12):
        if "Location" not in answer.headers:
            return answer
        answer = await client.get(urljoin(str(answer.url), answer.headers["Location"]))
    raise AssertionError("redirects without end")


async def sign_in(client: httpx2.AsyncClient, person: Person, path: str = "/legacy/reports") -> httpx2.Response:
    page = await follow(client, await client.get(path, headers={"Accept": "text/html"}))
    form = next(each for each in re.findall("<form.*?</form>", page.text, re.DOTALL) if 'name="password"' in each)
    (action,) = re.findall(r'<form method="post" action="([^"]+)"', form)
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]+)"', form))
    address = urljoin(str(page.url), action.replace("&amp;", "&"))
    parts = urlsplit(address)
    headers = {"Origin": f"{parts.scheme}://{parts.netloc}", "Accept": "text/html"}
    fields = {"email": person.email, "password": PASSWORD, **hidden}
    return await follow(client, await client.post(address, data=fields, headers=headers))


def seen_by(answer: httpx2.Response) -> dict[str, str]:
    assert answer.status_code == 200, answer.text
    return dict(line.split(": ", 1) for line in answer.text.splitlines() if ": " in line)


async def test_apache_signs_people_in_and_out(site: Site, client: httpx2.AsyncClient) -> None:
    """mod_auth_openidc by discovery: code with PKCE, RS256, nonce; then RP-initiated logout (SEC-72)."""
    person = await site.service.register(name="Grace Hopper")
    seen = seen_by(await sign_in(client, person))
    assert (seen["path"], seen["X-Auth-User"]) == ("/reports", person.id)
    assert (seen["X-Auth-Email"], seen["X-Auth-Roles"]) == (person.email, "user")
    forged = {"X-Auth-User": "forged", "X-Auth-Email": "root@example.com", "X-Auth-Roles": "admin"}
    seen = seen_by(await client.get("/legacy/reports", headers=forged))
    assert (seen["X-Auth-User"], seen["X-Auth-Roles"]) == (person.id, "user")
    assert (await client.get("/legacy/admin/")).status_code in {401, 403}
    left = await client.get("/legacy/signed-in", params={"logout": f"{site.public}/bye"})
    assert left.headers["Location"].startswith(f"{site.service.base_url}/oauth2/logout?")
    last = await client.get(left.headers["Location"])
    assert (last.status_code, last.headers["Location"]) == (303, f"{site.public}/bye")
    again = await client.get("/legacy/reports", headers={"Accept": "text/html"})
    assert "/oauth2/authorize?" in again.headers["Location"]


async def test_apache_is_told_by_back_channel(site: Site, client: httpx2.AsyncClient) -> None:
    """SEC-73: mod_auth_openidc accepts the logout token, and its session ends."""
    person = await site.service.register(name="Grace Hopper")
    seen_by(await sign_in(client, person))
    await site.service.client.post("/auth/logout-all", headers=person.bearer)
    deadline = time.monotonic() + 10
    while (await client.get("/legacy/reports", headers={"Accept": "text/html"})).status_code == 200:
        assert time.monotonic() < deadline, "it was not told"
        await asyncio.sleep(0.05)
    rows = await site.service.sql("SELECT 1 FROM idp.logout_notifications WHERE client_id = $1", site.client_id)
    assert rows == []
