"""The API documentation in a real browser: the Authorize button works, and nothing is loaded from elsewhere."""

import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, async_playwright

from factories import Service

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
async def page(browser: Browser, service: Service) -> AsyncIterator[Page]:
    """The documentation page; whatever goes wrong in it, or is asked of another host, fails the test."""
    page = await browser.new_page()
    elsewhere: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: elsewhere.append(request.url) if service.base_url not in request.url else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    await page.goto(f"{service.base_url}/docs")
    await page.wait_for_selector(".opblock")
    yield page
    await page.close()
    assert errors == []
    assert [url for url in elsewhere if not url.startswith("data:")] == []


async def call_me(page: Page) -> tuple[str, str]:
    """Press "Execute" on GET /auth/me and return the status and the body that the page shows."""
    await page.click("#operations-Authentication-getMe .opblock-summary-control")
    await page.click("#operations-Authentication-getMe .execute")
    status = await page.wait_for_selector(
        "#operations-Authentication-getMe .live-responses-table tbody .response-col_status"
    )
    body = await page.wait_for_selector(
        "#operations-Authentication-getMe .live-responses-table tbody .response-col_description"
    )
    return (await status.inner_text()).strip(), await body.inner_text()


@pytest.mark.parametrize("scheme", ["bearer", "devEmail"])
async def test_the_authorize_button_works(page: Page, service: Service, scheme: str) -> None:
    """C-17 S2-25: with a token, and in development with an address alone."""
    person = await service.register(name="Browser Person")
    value = person.token if scheme == "bearer" else person.email
    await page.click(".auth-wrapper .authorize")
    box = page.locator(".auth-container", has_text=f"{scheme} (")
    await box.locator("input").fill(value)
    await box.locator("button.authorize").click()
    await page.click(".modal-ux .btn-done")
    status, body = await call_me(page)
    assert status.startswith("200")
    assert person.email in body


async def test_without_a_credential_the_page_shows_the_refusal(page: Page) -> None:
    status, body = await call_me(page)
    assert status.startswith("401")
    assert "unauthenticated" in body


@pytest.mark.parametrize("width", [390, 1280])
async def test_the_page_fits_phone_and_desktop(page: Page, width: int) -> None:
    await page.set_viewport_size({"width": width, "height": 900})
    overflow = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0


async def test_the_errors_of_an_operation_are_folded_until_they_are_wanted(page: Page) -> None:
    """What goes wrong fills screens; what goes right, and the request, fit on one."""
    operation = page.locator("#operations-Accounts-login")
    await operation.locator(".opblock-summary-control").click()
    await operation.locator(".errors-toggle").wait_for()
    rows = operation.locator(".responses-table:not(.live-responses-table) .response:visible")
    assert [await row.get_attribute("data-code") for row in await rows.all()] == ["200"]
    await operation.locator(".errors-toggle").click()
    codes = [await row.get_attribute("data-code") for row in await rows.all()]
    assert {"200", "401", "422", "429"} <= set(codes)
    assert await operation.locator(".errors-toggle").get_attribute("aria-expanded") == "true"
