"""The account and the administration in Chromium."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright

from browser.looks import THEMES, WIDTHS, look, open_browser, sign_in
from browser.test_docs_page import CHROMIUM, FLAGS
from factories import Service

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
async def test_an_administrator_goes_from_the_account_to_the_administration(
    browser: Browser, service: Service, width: str, theme: str
) -> None:
    admin = await service.register_admin()
    context = await open_browser(browser, width=width, theme=theme)
    page = await context.new_page()
    await sign_in(page, service, admin)
    wrong = await look(page, "account", width=width, theme=theme)
    await page.click("text=Administration")
    await page.wait_for_url("**/admin")
    wrong += await look(page, "admin", width=width, theme=theme)
    assert wrong == []
    await context.close()
