"""The administration in Chromium: every page in both widths and themes, and journeys with and without JavaScript."""

import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, async_playwright

from browser.looks import THEMES, WIDTHS, look, open_browser, sign_in
from browser.test_docs_page import CHROMIUM, FLAGS
from factories import Person, Service
from pages.visitor import CALLBACK

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")


Filled = tuple[Person, Person, str, str, str]


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture(scope="module")
async def filled(service: Service) -> Filled:
    """An administrator, a user who has something of everything, a team, a client and a webhook."""
    admin, person = await service.register_admin(), await service.register(name="Grace Hopper")
    bearer = admin.bearer
    key = {"name": "laptop", "scopes": ["read"]}
    await service.client.post("/v1/api-keys", json=key, headers=person.bearer)
    team = await service.client.post("/teams", json={"name": f"Compilers {person.id[-4:]}"}, headers=bearer)
    await service.client.put(f"/teams/{team.json()['id']}/members/{person.id}", json={"role": "admin"}, headers=bearer)
    parent = await service.client.post(
        "/domains", json={"key": f"r{person.id[-6:]}", "name": "Research"}, headers=bearer
    )
    below = {"key": f"r{person.id[-6:]}-math", "name": "Mathematics", "parent_domain_id": parent.json()["id"]}
    await service.client.post("/domains", json=below, headers=bearer)
    token = {"name": f"nightly-{person.id[-4:]}", "scopes": ["idp:introspect"], "ttl_days": 9}
    await service.client.post("/auth/tokens", json=token, headers=bearer)
    app = {"client_name": "Notes", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"}
    client = await service.client.post("/api/auth/admin/clients", json=app, headers=bearer)
    hook = {"url": "https://consumer.example.com/hook", "description": "CRM"}
    webhook = await service.client.post("/v1/webhooks", json=hook, headers=bearer)
    return admin, person, team.json()["id"], client.json()["client_id"], webhook.json()["id"]


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
async def test_every_page_of_the_administration_looks_right(
    browser: Browser, service: Service, filled: Filled, width: str, theme: str
) -> None:
    admin, person, team, client, webhook = filled
    context = await open_browser(browser, width=width, theme=theme)
    page = await context.new_page()
    await sign_in(page, service, admin, "/admin")
    wrong = await look(page, "admin", width=width, theme=theme)
    paths = {
        "users": "users?q=example.com",
        "invite": "users/invite",
        "user": f"users/{person.id}",
        "teams": "teams",
        "team": f"teams/{team}",
        "domains": "domains",
        "roles": "roles",
        "keys": "keys",
        "clients": "clients",
        "client": f"clients/{client}",
        "providers": "providers",
        "signing-keys": "signing-keys",
        "events": "events",
        "webhooks": "webhooks",
        "webhook": f"webhooks/{webhook}",
        "settings": "settings?changed=yes",
        "clerk": "clerk",
        "audit": f"audit?user={person.id}",
        "explain": "explain",
    }
    for name, path in paths.items():
        await page.goto(f"{service.base_url}/admin/{path}")
        wrong += await look(page, f"admin-{name}", width=width, theme=theme)
    await page.fill("[name=credential]", person.token)
    await page.fill("[name=route]", "POST /teams")
    await page.click("text=Explain >> nth=-2")
    wrong += await look(page, "admin-explained", width=width, theme=theme)
    assert person.token not in await page.content()
    await page.goto(f"{service.base_url}/admin/clients/{client}")
    await page.check("#consent")
    await page.click("button:has-text('Run')")
    wrong += await look(page, "admin-client-tested", width=width, theme=theme)
    assert "Claims of the ID token" in await page.content()
    assert wrong == []
    await context.close()


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "without"])
@pytest.mark.parametrize("width", WIDTHS)
async def test_an_administrator_finds_a_user_and_disables_them(
    browser: Browser, service: Service, width: str, javascript: bool
) -> None:
    admin, person = await service.register_admin(), await service.register(name="Alan Turing")
    context = await open_browser(browser, width=width, javascript=javascript)
    page = await context.new_page()
    await sign_in(page, service, admin, "/admin")
    await page.click("nav.sections >> text=Users")
    await find(page, person.email, javascript=javascript)
    await page.click("#results >> text=Alan Turing")
    await page.click("summary:has-text('Disable this user')")
    await page.click("button:has-text('Disable this user')")
    await page.wait_for_url("**done=user_disabled")
    assert "inactive" in await page.inner_text("dl.facts >> nth=0")
    assert (await service.me(person.bearer)).status_code in {401, 403}
    await context.close()


async def find(page: Page, text: str, *, javascript: bool) -> None:
    """Search; with JavaScript the list follows what is typed, without it a button is pressed."""
    if javascript:
        await page.locator("#q").press_sequentially(text)
    else:
        await page.fill("#q", text)
        await page.click("form[role=search] button")
    await page.wait_for_url(re.compile(r"q="))
    await page.wait_for_function("document.querySelectorAll('#results li').length === 1") if javascript else None
