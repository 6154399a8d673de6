"""The pages of mail links in a browser, with JavaScript and without."""

import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright

from browser.test_docs_page import FLAGS
from factories import Service
from flows.mail_support import VERIFY, ask_for_reset, log_in, mails_about, sign_up, verified

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")
NEW = "a brand new password"


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest.mark.parametrize("javascript", [True, False])
async def test_a_password_is_chosen_in_a_browser(browser: Browser, service: Service, javascript: bool) -> None:
    """C-31 SEC-5 SEC-43: the page's own policy lets its form through, and nothing breaks without scripts."""
    person = await verified(service)
    context = await browser.new_context(java_script_enabled=javascript)
    page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(f"{service.base_url}/reset-password?token={await ask_for_reset(service, person.email)}")
    await page.fill("#new_password", NEW)
    shown = page.locator(".show")
    assert await shown.is_visible() == javascript
    if javascript:
        await shown.click()
        assert await page.get_attribute("#new_password", "type") == "text"
        await shown.click()
        assert await page.get_attribute("#new_password", "type") == "password"
    await page.click("button[type=submit]")
    await page.wait_for_url("**/reset-password?step=done")
    assert await page.inner_text("h1") == "Your password is saved"
    assert complaints == []
    await context.close()
    assert await log_in(service, person.email, NEW) == 200


async def test_an_address_is_verified_in_a_browser(browser: Browser, service: Service) -> None:
    """C-31: opening the link changes nothing, the button does; loading the last page anew sends nothing again."""
    email = service.new_email()
    await sign_up(service, email)
    page = await browser.new_page()
    await page.goto((await mails_about(service, email, VERIFY))[0]["links"][0])
    assert await log_in(service, email, path="/api/auth/login") == 401
    await page.click("button[type=submit]")
    await page.wait_for_url("**/verify-email?step=done")
    await page.reload()
    assert await page.inner_text("h1") == "Your address is confirmed"
    await page.close()
    assert await log_in(service, email, path="/api/auth/login") == 200
