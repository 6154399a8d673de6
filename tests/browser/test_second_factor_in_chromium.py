"""A second factor in Chromium: set up, asked for at sign-in, replaced by a recovery code, and asked for by an app."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from browser.looks import THEMES, WIDTHS, look, open_browser
from browser.test_docs_page import CHROMIUM, FLAGS
from factories import PASSWORD, Person, Service, running
from factors.phone import Phone, set_up
from flows.mail_support import verified
from idp.dev.embedded import EmbeddedPostgres
from pages.visitor import CALLBACK, authorization, new_client

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


async def enter_password(page: Page, service: Service, person: Person, path: str) -> None:
    await page.goto(f"{service.base_url}/login?return_to={path}&other=1")
    await page.fill("[name=email]", person.email)
    await page.fill("[name=password]", PASSWORD)
    await page.click("form[action*=login] button[type=submit] >> nth=0")


async def phone_of(page: Page, service: Service, person: Person) -> Phone:
    """Read the key that the page shows into an authenticator app."""
    await page.click("details.details summary")
    key = await page.inner_text("code.totp-key")
    return Phone(service, person, key.replace(" ", ""))


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
async def test_a_person_sets_up_a_second_factor_and_signs_in_with_it(
    browser: Browser, service: Service, width: str, theme: str
) -> None:
    person, wrong = await verified(service), []
    context = await open_browser(browser, width=width, theme=theme)
    page = await context.new_page()
    await enter_password(page, service, person, "/account/security")
    await page.wait_for_url("**/account/security")
    wrong += await look(page, "security", width=width, theme=theme)
    await page.click("a[href$='/account/security/authenticator']")
    wrong += await look(page, "authenticator", width=width, theme=theme)
    phone = await phone_of(page, service, person)
    await page.fill("[name=code]", "000000")
    await page.click("button:has-text('Confirm')")
    await page.wait_for_selector("#problem")
    wrong += await look(page, "authenticator-wrong", width=width, theme=theme)
    await page.fill("[name=code]", phone.code())
    await page.click("button:has-text('Confirm')")
    await page.wait_for_selector(".codes")
    wrong += await look(page, "recovery-codes-new", width=width, theme=theme)
    codes = await page.locator(".codes code").all_inner_texts()
    await page.click("text=I have kept them")
    wrong += await look(page, "security-with-app", width=width, theme=theme)
    await page.click("a[href$='/account/security/recovery-codes']")
    wrong += await look(page, "recovery-codes", width=width, theme=theme)
    await page.goto(f"{service.base_url}/account/security/authenticator")
    wrong += await look(page, "authenticator-on", width=width, theme=theme)
    await context.clear_cookies()
    await phone.wait()
    wrong += await _sign_in_again(page, service, phone, codes, width=width, theme=theme)
    assert wrong == []
    await context.close()


async def _sign_in_again(
    page: Page, service: Service, phone: Phone, codes: list[str], *, width: str, theme: str
) -> list[str]:
    await enter_password(page, service, phone.person, "/account")
    await page.wait_for_url("**/second-factor*")
    wrong = await look(page, "second-factor", width=width, theme=theme)
    await page.fill("[name=code]", phone.wrong_code())
    await page.click("button:has-text('Continue')")
    await page.wait_for_selector("#problem")
    wrong += await look(page, "second-factor-wrong", width=width, theme=theme)
    await page.click("text=Use a recovery code")
    wrong += await look(page, "second-factor-recovery", width=width, theme=theme)
    await page.fill("[name=code]", codes[0])
    await page.click("button:has-text('Continue')")
    await page.wait_for_url("**/account")
    await page.go_back()
    await page.goto(f"{service.base_url}/second-factor?return_to=/account")
    assert page.url.endswith("/account")
    await page.context.clear_cookies()
    await page.goto(f"{service.base_url}/second-factor")
    wrong += await look(page, "second-factor-over", width=width, theme=theme)
    return wrong


@pytest.mark.parametrize("width", WIDTHS)
async def test_an_app_asks_for_a_second_factor(browser: Browser, service: Service, width: str) -> None:
    person = await verified(service)
    client_id = await new_client(service, skip_consent=True)
    context = await open_browser(browser, width=width)
    page = await context.new_page()
    await enter_password(page, service, person, "/account")
    await page.wait_for_url("**/account")
    phone = await set_up(service, person)
    arrived = await catch_callback(context)
    query = "&".join(f"{name}={value}" for name, value in authorization(client_id, acr_values="2").items())
    await page.goto(f"{service.base_url}/oauth2/authorize?{query}")
    await page.wait_for_selector("text=Confirm that it is you")
    await page.fill("[name=code]", phone.code())
    await page.click("button:has-text('Continue')")
    await page.wait_for_url(f"{CALLBACK}*")
    assert "code=" in arrived[0]
    await context.close()


async def catch_callback(context: BrowserContext) -> list[str]:
    """Answer at the redirect URI in place of the app; return the URLs that arrive."""
    arrived: list[str] = []

    async def answer(route: object) -> None:
        arrived.append(route.request.url)  # type: ignore[attr-defined]
        await route.fulfill(status=200, content_type="text/html", body="<title>App</title>")  # type: ignore[attr-defined]

    await context.route(f"{CALLBACK}*", answer)
    return arrived


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
async def test_a_person_who_must_have_one_sets_it_up_while_signing_in(
    browser: Browser, strict: Service, width: str, theme: str
) -> None:
    person, wrong = await verified(strict), []
    await strict.sql("INSERT INTO idp.user_roles (user_id, role) VALUES ($1, 'admin')", person.id)
    context = await open_browser(browser, width=width, theme=theme, javascript=False)
    page = await context.new_page()
    await enter_password(page, strict, person, "/account")
    await page.wait_for_url("**/second-factor/set-up*")
    if width == "desktop":  # axe needs JavaScript, which this browser does without
        await context.close()
        context = await open_browser(browser, width=width, theme=theme)
        page = await context.new_page()
        await enter_password(page, strict, person, "/account")
        wrong += await look(page, "set-up-factor", width=width, theme=theme)
    phone = await phone_of(page, strict, person)
    await page.fill("[name=code]", phone.code())
    await page.click("button:has-text('Confirm')")
    await page.click("text=I have kept them")
    await page.wait_for_url("**/account")
    assert wrong == []
    await context.close()


@pytest.fixture(scope="module")
async def strict(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    """A service that requires a second factor of administrators."""
    environ = {"IDP_SECOND_FACTOR__REQUIRED_ROLES": "admin"}
    async with running(postgres.create_database("strict_in_chromium"), environ=environ) as service:
        yield service
