"""IDP_PUBLIC_URL with a path, behind nginx that strips or keeps it."""

import asyncio
import os
import re
import secrets
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx2
import pytest

from factories import PASSWORD, Service, running
from flows.mail_support import Mail, mails_about, token_in
from idp.dev.embedded import EmbeddedPostgres
from idp.ops.public_prefix import PublicPrefix

NGINX = shutil.which("nginx") or ("/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else None)
PASS = {"stripped": "http://127.0.0.1:{port}/", "kept": "http://127.0.0.1:{port}"}
CONFIG = """
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
  server {{
    listen 127.0.0.1:{public_port};
    location /idp/ {{ proxy_pass {target}; proxy_set_header Host $http_host; }}
    location = /idp {{ proxy_pass {target}; }}
  }}
}}
"""


@dataclass
class Proxied:
    """A service and the address that the world knows."""

    service: Service
    public: str
    client: httpx2.AsyncClient


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(params=["stripped", "kept"])
async def proxied(request: pytest.FixtureRequest, postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[Proxied]:
    if NGINX is None:
        pytest.skip("nginx is not installed here")
    public_port = free_port()
    public = f"http://127.0.0.1:{public_port}/idp"
    url = postgres.create_database(f"prefix_{secrets.token_hex(4)}")
    async with running(url, environ={"IDP_PUBLIC_URL": public}) as service:
        target = PASS[request.param].format(port=urlsplit(service.base_url).port)
        user = "user root;" if os.getuid() == 0 else ""
        config = tmp_path / "nginx.conf"
        config.write_text(CONFIG.format(user=user, folder=tmp_path, public_port=public_port, target=target))
        command = [NGINX, "-c", str(config), "-p", str(tmp_path)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE)  # noqa: ASYNC220
        try:
            async with httpx2.AsyncClient(timeout=10) as client:
                async with asyncio.timeout(10):
                    while True:
                        try:
                            await client.get(f"{public}/healthz")
                            break
                        except httpx2.ConnectError:
                            assert process.poll() is None, process.communicate()
                            await asyncio.sleep(0.05)
                yield Proxied(service, public, client)
        finally:
            process.terminate()
            process.communicate(timeout=10)


async def check_links(proxied: Proxied, page: httpx2.Response) -> None:
    """Every path of a page begins with the prefix, and is served."""
    found = re.findall(r'(?:href|src|action|data-schema)="([^"]+)"', page.text)
    assert len(found) >= 4
    for link in found:
        if link.startswith(("data:", "#")):
            continue
        address = urljoin(str(page.url), link)
        assert address.startswith(f"{proxied.public}/"), link
        assert (await proxied.client.get(address)).status_code == 200, link


async def submit(proxied: Proxied, page: httpx2.Response, **fields: str) -> httpx2.Response:
    """Send a page's form, as a browser does, and return the page after it."""
    (action,) = re.findall(r'<form method="post" action="([^"]+)"', page.text)
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]+)"', page.text))
    address = urljoin(str(page.url), action)
    headers = {"Origin": "null", "Sec-Fetch-Site": "same-origin"}
    answer = await proxied.client.post(address, data=hidden | fields, headers=headers)
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"].startswith(("/idp/", f"{proxied.public}/"))
    return await proxied.client.get(urljoin(address, answer.headers["location"]))


def link_in(mail: Mail) -> str:
    link: str = mail["links"][0]
    return link


async def test_the_mail_journey_runs_through_the_proxy(proxied: Proxied) -> None:
    """Register, verify by the mailed link, ask for another password on the page, and choose it."""
    email = proxied.service.new_email()
    body = {"email": email, "password": PASSWORD, "name": "Pat Person"}
    answer = await proxied.client.post(f"{proxied.public}/api/auth/email/register", json=body)
    assert answer.status_code < 300, answer.text
    (mail,) = await mails_about(proxied.service, email, "Confirm")
    assert link_in(mail).startswith(f"{proxied.public}/verify-email?token=")
    page = await proxied.client.get(link_in(mail))
    await check_links(proxied, page)
    after = await submit(proxied, page)
    assert after.status_code == 200
    asking = await proxied.client.get(f"{proxied.public}/reset-password")
    await check_links(proxied, asking)
    await submit(proxied, asking, email=email)
    (mail,) = await mails_about(proxied.service, email, "Choose a new password")
    choosing = await proxied.client.get(link_in(mail))
    assert token_in(mail)
    await check_links(proxied, choosing)
    await submit(proxied, choosing, new_password="another horse battery")
    body = {"email": email, "password": "another horse battery"}
    signed_in = await proxied.client.post(f"{proxied.public}/auth/login?mode=cookie", json=body)
    assert signed_in.status_code == 200
    cookies = signed_in.headers.get_list("set-cookie")
    assert len(cookies) >= 3
    assert all("path=/idp" in cookie.lower() for cookie in cookies)


async def test_documentation_links_and_problems_carry_the_prefix(proxied: Proxied) -> None:
    for path in ("/docs", "/api/auth/docs", "/errors", "/errors/token_expired"):
        await check_links(proxied, await proxied.client.get(proxied.public + path))
    document = (await proxied.client.get(f"{proxied.public}/openapi.json")).json()
    assert document["servers"][0]["url"] == "/idp"
    assert "](/idp/errors)" in document["info"]["description"]
    problem = (await proxied.client.get(f"{proxied.public}/auth/me")).json()
    assert problem["type"] == "/idp/errors/unauthenticated"
    admin = await proxied.service.register_admin()
    for name in ("One", "Two"):
        team = await proxied.client.post(f"{proxied.public}/teams", json={"name": name}, headers=admin.bearer)
        assert team.status_code < 300, team.text
    teams = await proxied.client.get(f"{proxied.public}/teams/all?limit=1", headers=admin.bearer)
    assert teams.headers["link"].startswith("</idp/teams/all?")
    following = re.findall(r"<([^>]+)>", teams.headers["link"])[0]
    again = await proxied.client.get(urljoin(proxied.public, following), headers=admin.bearer)
    assert again.status_code == 200


@pytest.mark.parametrize(
    ("prefix", "path", "served"),
    [
        ("/idp", "/idp/auth/me", "/auth/me"),
        ("/idp", "/auth/me", "/auth/me"),
        ("/idp", "/idp", "/"),
        ("/idp", "/idp/", "/"),
        ("/idp", "/idpx/auth/me", "/idpx/auth/me"),
        ("/auth", "/auth/me", "/auth/me"),
        ("/auth", "/auth/auth/me", "/auth/me"),
        ("/auth", "/auth/docs", "/docs"),
        ("/idp", "/idp/metrics", "/idp/metrics"),
        ("/idp", "/idp/internal/validate-key", "/idp/internal/validate-key"),
    ],
)
def test_a_path_with_and_without_the_prefix_is_the_same(prefix: str, path: str, served: str) -> None:
    """Also where the prefix is a name of ours; what proxies keep in is not served below a second prefix."""
    scope = {"path": path, "raw_path": path.encode()}
    names = {"auth", "docs", "internal", "metrics", ""}
    with PublicPrefix(prefix, names).applied(scope):  # type: ignore[arg-type]
        assert scope == {"path": served, "raw_path": served.encode()}


async def test_cookies_below_a_prefix_over_https(postgres: EmbeddedPostgres) -> None:
    """RFC 6265bis section 4.1.3: __Host- wants the path /, so it is __Secure- there."""
    environ = {"IDP_PUBLIC_URL": "https://id.example.com/idp"}
    async with running(postgres.create_database("prefix_https"), environ=environ) as service:
        person = await service.register()
        body = {"email": person.email, "password": PASSWORD}
        answer = await service.client.post("/idp/auth/login?mode=cookie", json=body)
        lines = answer.headers.get_list("set-cookie")
        assert all(line.startswith("__Secure-idp_") and "Path=/idp;" in line and "Secure" in line for line in lines)
        cookie = "; ".join(line.split(";")[0] for line in lines)
        assert (await service.client.get("/auth/me", headers={"Cookie": cookie})).status_code == 200
