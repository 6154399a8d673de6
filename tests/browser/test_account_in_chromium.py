"""The own account and acting as a user in Chromium, at both widths, looked at in both themes."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, async_playwright

from browser.looks import THEMES, WIDTHS, look, open_browser, sign_in
from browser.test_docs_page import CHROMIUM, FLAGS
from factories import PASSWORD, Person, Service
from idp.provider.consents import grant
from pages.visitor import new_client

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")
PAGES = {
    "account": "/account",
    "account-profile": "/account/profile",
    "account-password": "/account/password",
    "account-email": "/account/email",
    "account-sessions": "/account/sessions",
    "account-keys": "/account/keys",
    "account-new-key": "/account/keys/new",
    "account-identities": "/account/identities",
    "account-apps": "/account/apps",
    "account-activity": "/account/activity",
    "account-data": "/account/data",
    "account-delete": "/account/delete",
}
REASON = "Ticket 4711: the export shows no data"
AGENT = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605 Version/18.0 Mobile/15E148 Safari/604.1"


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


async def make_person(service: Service) -> Person:
    """Return a person with something on every page."""
    person = await service.register(name="Ada Lovelace")
    for name, scopes in (("laptop", ["ingest:write", "analytics:read"]), ("backup job", ["read"])):
        body = {"name": name, "scopes": scopes, "expires_in_days": 30 if name == "laptop" else None}
        await service.client.post("/v1/api-keys", json=body, headers=person.bearer)
    login = {"email": person.email, "password": PASSWORD}
    await service.client.post("/auth/login", json=login, headers={"User-Agent": AGENT})
    await service.client.post("/auth/login", json={**login, "password": "wrong one"})
    client_id = await new_client(service, name="Notes")
    async with service.app.core.database.transaction() as session:
        await grant(session, person.id, client_id, ["openid", "profile", "email"])
    await service.sql(
        "INSERT INTO idp.identities (id, user_id, provider, subject, created_at)"
        " VALUES (gen_random_uuid(), $1, 'https://corp.example', $1, now())",
        person.id,
    )
    return person


async def press(page: Page, summary: str, button: str) -> None:
    """Open what a button does, and confirm it."""
    await page.click(f"summary:has-text('{summary}') >> nth=0")
    await page.click(f"details[open] button:has-text('{button}')")


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
async def test_every_page_of_the_account_is_sound(browser: Browser, service: Service, width: str, theme: str) -> None:
    person = await make_person(service)
    context = await open_browser(browser, width=width, theme=theme)
    page = await context.new_page()
    await sign_in(page, service, person)
    wrong: list[str] = []
    for name, path in PAGES.items():
        await page.goto(service.base_url + path)
        wrong += await look(page, name, width=width, theme=theme)
    await page.goto(f"{service.base_url}/account/sessions")
    await page.click("summary >> nth=0")
    wrong += await look(page, "account-confirm", width=width, theme=theme)
    await page.goto(f"{service.base_url}/account/keys/new")
    await page.click("button:has-text('Create a key')")
    await page.fill("[name=name]", "laptop")
    await page.fill("[name=scopes]", "idp:manage")
    await page.click("button:has-text('Create a key')")
    await page.wait_for_selector("#problem")
    wrong += await look(page, "account-problem", width=width, theme=theme)
    await page.fill("[name=scopes]", "read")
    await page.click("button:has-text('Create a key')")
    await page.wait_for_selector("code.secret")
    wrong += await look(page, "account-secret", width=width, theme=theme)
    assert wrong == []
    await context.close()


@pytest.mark.parametrize("width", WIDTHS)
async def test_a_person_deletes_the_account_and_keeps_it_after_all(
    browser: Browser, service: Service, width: str
) -> None:
    person = await service.register(name="Ada Lovelace")
    context = await open_browser(browser, width=width, javascript=False)
    page = await context.new_page()
    await sign_in(page, service, person, "/account/data")
    await page.click("text=Delete my account…")
    await page.fill("[name=confirm]", person.email)
    await page.click("button:has-text('Delete my account')")
    await page.wait_for_selector("text=I have changed my mind")
    await page.click("text=I have changed my mind")
    await page.fill("[name=email]", person.email)
    await page.fill("[name=password]", PASSWORD)
    await page.click("button[type=submit] >> nth=0")
    await page.wait_for_url("**/account/keep*")
    await page.click("button:has-text('Keep my account')")
    await page.wait_for_selector("a.person")
    assert "will be deleted" not in await page.inner_text("main")
    await context.close()


@pytest.mark.parametrize("theme", THEMES)
async def test_the_pages_of_a_deletion_are_sound(browser: Browser, service: Service, theme: str) -> None:
    for width in WIDTHS:
        person = await service.register(name="Ada Lovelace")
        context = await open_browser(browser, width=width, theme=theme)
        page = await context.new_page()
        await sign_in(page, service, person, "/account/delete")
        await page.fill("[name=confirm]", person.email)
        await page.click("button:has-text('Delete my account')")
        await page.wait_for_selector("text=I have changed my mind")
        wrong = await look(page, "account-goodbye", width=width, theme=theme)
        await sign_in(page, service, person, "/account/keep")
        wrong += await look(page, "account-keep", width=width, theme=theme)
        await page.goto(f"{service.base_url}/account")
        wrong += await look(page, "account-notice", width=width, theme=theme)
        assert wrong == []
        await context.close()


@pytest.mark.parametrize("width", WIDTHS)
async def test_a_person_ends_a_session_and_replaces_a_key(browser: Browser, service: Service, width: str) -> None:
    person = await make_person(service)
    context = await open_browser(browser, width=width)
    page = await context.new_page()
    await sign_in(page, service, person, "/account/sessions")
    await press(page, "End all other sessions", "Yes, end all others")
    await page.wait_for_selector("text=All other sessions were ended.")
    assert (await service.me(person.bearer)).status_code == 401
    await page.click("nav.sections >> text=API keys")
    await press(page, "Replace", "Replace the secret")
    await page.wait_for_selector("code.secret")
    assert (await service.validate(await page.inner_text("code.secret")))["valid"]
    await context.close()


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
async def test_an_administrator_acts_as_a_person_and_comes_back(
    browser: Browser, service: Service, width: str, theme: str
) -> None:
    admin, person = await service.register_admin(), await make_person(service)
    context = await open_browser(browser, width=width, theme=theme)
    page = await context.new_page()
    await sign_in(page, service, admin, f"/admin/users/{person.id}/act")
    wrong = await look(page, "support-reason", width=width, theme=theme)
    await page.fill("[name=reason]", REASON)
    await page.click("button:has-text('Act as this person')")
    await page.wait_for_selector("text=You act as Ada Lovelace for support")
    wrong += await look(page, "support-account", width=width, theme=theme)
    await page.goto(f"{service.base_url}/account/sessions")
    wrong += await look(page, "support-sessions", width=width, theme=theme)
    await page.goto(f"{service.base_url}/account/profile")
    assert await page.is_disabled("[name=name]")
    assert await page.is_disabled("button:has-text('Save')")
    wrong += await look(page, "support-profile", width=width, theme=theme)
    await page.goto(f"{service.base_url}/account/password")
    await page.wait_for_selector("text=You act as another user")
    await page.goto(f"{service.base_url}/account/activity")
    assert REASON in await page.inner_text("main")
    await page.click(".support button")
    await page.wait_for_url("**/admin/users/*")
    assert "You act as" not in await page.inner_text("body")
    assert wrong == []
    await context.close()
