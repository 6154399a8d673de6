"""The developer's home in a real browser: sign-in by one click, tokens to copy, with JavaScript and without."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from browser.test_docs_page import CHROMIUM
from browser.test_pages_in_chromium import THEMES, WIDTHS, axe, browser, watched
from factories import Service, running
from idp.dev import personas
from idp.dev.embedded import EmbeddedPostgres
from idp.directory import seed
from idp.settings import seed_file
from pages.visitor import new_client

__all__ = ["axe", "browser"]  # fixtures
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
async def developing(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("developing_in_chromium")) as service:
        core = service.app.core
        content = seed.read(seed_file(core.settings))
        await personas.prepare(core.database, core.passwords, core.tokens, content, {})
        await new_client(service, name="Notes")
        yield service


@pytest.mark.parametrize("javascript", [True, False])
async def test_one_click_signs_in(browser: Browser, developing: Service, javascript: bool) -> None:
    context = await browser.new_context(java_script_enabled=javascript)
    page = await context.new_page()
    complaints = watched(page)
    await page.goto(developing.base_url)
    await page.click("text=Sign in as Lin Lead")
    await page.wait_for_selector("text=Signed in as Lin Lead")
    await page.goto(f"{developing.base_url}/login?other=1")
    await page.click("summary")
    await page.click("text=Ada Admin")
    await page.wait_for_selector("text=Signed in as Ada Admin")
    await page.click("text=Sign out")
    assert await page.inner_text("h1") == "Sign out?"
    await page.click("button[type=submit]")
    await page.goto(developing.base_url)
    assert "Signed in as" not in await page.inner_text("main")
    assert [each for each in complaints if "favicon" not in each] == []
    await context.close()


async def test_a_token_is_copied(browser: Browser, developing: Service) -> None:
    context = await browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = await context.new_page()
    await page.goto(developing.base_url)
    await page.click("text=Copy token >> nth=0")
    await page.wait_for_selector("text=Copied")
    token = await page.evaluate("navigator.clipboard.readText()")
    answer = await developing.me({"Authorization": f"Bearer {token}"})
    assert answer.json()["email"] == "ada@example.com"
    await context.close()


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
async def test_it_passes_axe_and_fits(browser: Browser, developing: Service, axe: str, width: int, theme: str) -> None:
    context = await browser.new_context(viewport={"width": width, "height": 844}, color_scheme=theme)  # type: ignore[arg-type]
    page = await context.new_page()
    for path in ("/", "/login", "/dev/mailbox"):
        await page.goto(developing.base_url + path)
        if path == "/":
            await page.click("summary >> nth=0")
        await page.evaluate(axe)
        result = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        assert [(each["id"], each["nodes"][0]["html"][:200]) for each in result["violations"]] == [], path
        overflow = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, path
    await context.close()
