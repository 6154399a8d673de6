"""Passkeys in Chromium with its virtual authenticator: add, sign in by the button and the list of the field, remove."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, CDPSession, Page, async_playwright

from browser.looks import THEMES, WIDTHS, look, open_browser, sign_in
from browser.test_docs_page import CHROMIUM, FLAGS
from factories import Service, running
from idp.dev.embedded import EmbeddedPostgres

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")
LIST = "/account/security/passkeys"


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture(scope="module")
async def at_localhost(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    """A service that the browser opens at localhost: passkeys need a domain."""
    async with running(postgres.create_database("passkeys")) as service:
        service.base_url = service.base_url.replace("127.0.0.1", "localhost")
        yield service


async def with_authenticator(page: Page) -> tuple[CDPSession, str]:
    """Give the page a virtual authenticator that keeps passkeys and verifies its user."""
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    made = await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return devtools, made["authenticatorId"]


async def kept(devtools: CDPSession, authenticator: str) -> list[dict[str, Any]]:
    found = await devtools.send("WebAuthn.getCredentials", {"authenticatorId": authenticator})
    credentials: list[dict[str, Any]] = found["credentials"]
    return credentials


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
async def test_a_passkey_is_added_signs_in_and_is_removed(
    browser: Browser, at_localhost: Service, width: str, theme: str
) -> None:
    service, person = at_localhost, await at_localhost.register(name="Ada Lovelace")
    context = await open_browser(browser, width=width, theme=theme)
    page = await context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    devtools, authenticator = await with_authenticator(page)
    await sign_in(page, service, person, LIST)
    wrong = await look(page, "account-passkeys-none", width=width, theme=theme)
    await page.click("text=Add a passkey")
    await page.fill("[name=name]", "<b>Laptop</b>")
    wrong += await look(page, "account-passkey-add", width=width, theme=theme)
    await page.click("button[type=submit]")
    await page.wait_for_selector("text=recovery codes")  # with the first factor
    await page.goto(f"{service.base_url}{LIST}")
    assert "<b>Laptop</b>" in await page.inner_text(".rows")
    wrong += await look(page, "account-passkeys", width=width, theme=theme)
    assert len(await kept(devtools, authenticator)) == 1

    await context.clear_cookies()
    await devtools.send("WebAuthn.setUserVerified", {"authenticatorId": authenticator, "isUserVerified": True})
    await page.goto(f"{service.base_url}/login?return_to={LIST}")  # the list of the field answers at once here
    await page.wait_for_url(f"{service.base_url}{LIST}")
    newest = "SELECT amr, acr FROM idp.user_sessions WHERE user_id = $1 ORDER BY created_at DESC LIMIT 1"
    (used,) = await service.sql(newest, person.id)
    assert used["amr"] == ["hwk", "user", "mfa"]

    await page.click("li summary")
    await page.click("button:has-text('Remove')")
    await page.wait_for_url(f"**{LIST}?done=passkey_removed")
    assert wrong == []
    assert complaints == []
    await context.close()


async def test_the_button_signs_in_and_a_removed_passkey_is_explained(browser: Browser, at_localhost: Service) -> None:
    service, person = at_localhost, await at_localhost.register()
    context = await open_browser(browser)
    page = await context.new_page()
    devtools, authenticator = await with_authenticator(page)
    await sign_in(page, service, person, LIST)
    await page.click("text=Add a passkey")
    await page.click("button[type=submit]")
    await page.wait_for_selector("text=recovery codes")
    await context.clear_cookies()
    await page.add_init_script("PublicKeyCredential.isConditionalMediationAvailable = async () => false")
    await page.goto(f"{service.base_url}/login?return_to=/account")
    await page.click("text=Sign in with a passkey")
    await page.wait_for_url(f"{service.base_url}/account")
    await context.clear_cookies()
    await service.sql("DELETE FROM idp.passkeys WHERE user_id = $1", person.id)
    await page.goto(f"{service.base_url}/login?return_to=/account")
    await page.click("text=Sign in with a passkey")
    await page.wait_for_selector("#problem")
    assert "not registered here any more" in await page.inner_text("#problem")
    assert len(await kept(devtools, authenticator)) in {0, 1}  # a browser with the Signal API has forgotten it
    await context.close()


async def test_without_javascript_the_pages_say_what_passkeys_need(browser: Browser, at_localhost: Service) -> None:
    context = await open_browser(browser, javascript=False)
    page = await context.new_page()
    await sign_in(page, at_localhost, await at_localhost.register(), "/account/security/passkeys/add")
    assert "Passkeys need JavaScript" in await page.inner_text(".content")
    await page.goto(f"{at_localhost.base_url}/login?fresh=1")
    assert not await page.is_visible("text=Sign in with a passkey")
    await context.close()
