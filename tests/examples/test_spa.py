"""examples/spa in headless Chromium: sign in, call an API, renew, sign out (oidc-client-ts, by discovery alone)."""

import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect

from cli.support import running_dev
from examples.example_support import EXAMPLES, free_port, started
from factories import Service, running
from idp.dev.embedded import EmbeddedPostgres, remove_data
from provider_apps import register_app

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")
SPA_PORT = 5173  # of the client `spa` of `idp dev`
LIVING = "SELECT client_id FROM idp.user_sessions WHERE user_id = $1 AND ended_at IS NULL AND parent_id IS NOT NULL"


@pytest.fixture(scope="module")
async def service(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("spa")) as service:
        yield service


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with its libraries, in a folder of its own."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed here")
    folder = tmp_path_factory.mktemp("spa") / "spa"
    shutil.copytree(EXAMPLES / "spa", folder, ignore=shutil.ignore_patterns("node_modules"))
    install = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    if done.returncode:
        pytest.skip(f"npm could not install oidc-client-ts: {done.stderr.strip().splitlines()[-1:]}")
    return folder


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield await browser.new_page()
        await browser.close()


async def test_a_single_page_app_signs_in_calls_an_api_renews_and_signs_out(
    service: Service, folder: Path, page: Page
) -> None:
    """SEC-35 SEC-45 SEC-49 SEC-72 SEC-78: a public client with PKCE; consent; a refresh token; logout at once."""
    person, admin, port = await service.register(name="Grace Hopper"), await service.register_admin(), free_port()
    origin = f"http://127.0.0.1:{port}"
    app = await register_app(
        service,
        admin,
        client_name="Notes",
        token_endpoint_auth_method="none",
        redirect_uris=[f"{origin}/callback"],
        post_logout_redirect_uris=[f"{origin}/"],
        scope="openid profile email offline_access",
        skip_consent=False,
    )
    settings = {"AUTH_SERVICE_URL": service.base_url, "CLIENT_ID": app.client_id}
    with started(lambda _: ["node", str(folder / "server.mjs")], port=port, **settings):
        await page.goto(f"{origin}/")
        await expect(page.locator("#who")).to_have_text("Not signed in")
        await page.click("#sign-in")
        await page.fill("[name=email]", person.email)
        await page.fill("[name=password]", person.password)
        await page.click("button[type=submit]")
        await page.click("button[value=allow]")
        await expect(page.locator("#who")).to_have_text("Signed in as Grace Hopper")
        assert page.url == f"{origin}/"
        for button, shown in (("#call", f"Hello {person.id}"), ("#renew", "a new token"), ("#call", "200")):
            await page.click(button)
            await expect(page.locator("#answer")).to_contain_text(shown)
        await page.reload()
        await expect(page.locator("#who")).to_have_text("Signed in as Grace Hopper")
        assert [row["client_id"] for row in await service.sql(LIVING, person.id)] == [app.client_id]

        await page.click("#sign-out")
        await expect(page.locator("#who")).to_have_text("Not signed in")
        assert page.url.startswith(f"{origin}/")
        assert await service.sql(LIVING, person.id) == []
        await page.click("#sign-in")  # the session of the browser ended too
        await expect(page.locator("[name=password]")).to_be_visible()


async def test_it_signs_in_through_the_upstream_of_idp_dev_and_out_on_both_sides(folder: Path, page: Page) -> None:
    """S3-07 S3-37 for browsers: with the ready client `spa`, on the port for which it is registered."""
    if not is_free(SPA_PORT):
        pytest.skip(f"port {SPA_PORT} is in use here")
    origin = f"http://localhost:{SPA_PORT}"
    data = Path(tempfile.mkdtemp(prefix="idp-test-")) / "data"
    with running_dev(data) as dev:
        settings = {"AUTH_SERVICE_URL": dev.base_url, "CLIENT_ID": "spa"}
        with started(lambda _: ["node", str(folder / "server.mjs")], port=SPA_PORT, **settings):
            await page.goto(f"{origin}/")
            await page.click("#sign-in")
            await page.click("text=Continue with Example Corp")
            await page.click("text=Grace Groups")
            await expect(page.locator("#who")).to_have_text("Signed in as Grace Groups")
            await page.click("#call")
            await expect(page.locator("#answer")).to_contain_text("Hello")
            await page.click("#sign-out")
            await expect(page.locator("#who")).to_have_text("Not signed in")
            assert page.url.startswith(f"{origin}/")
            await page.goto(dev.facts["upstream_issuer"])
            await expect(page.locator("h1")).to_have_text("No one is signed in")
    remove_data(data)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
