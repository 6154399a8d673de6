"""The pages of a sign-in in a real browser: with JavaScript and without, at two widths, in both themes."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from browser.test_docs_page import CHROMIUM, FLAGS
from factories import PASSWORD, Person, Service
from flows.mail_support import ask_for_reset, verified
from pages.visitor import authorization, new_client

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")
WIDTHS, THEMES = (390, 1280), ("light", "dark")


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture(scope="module")
async def callback() -> AsyncIterator[str]:
    """The redirect URI of an app at another origin, which answers everything."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 7\r\nConnection: close\r\n\r\nWelcome"
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/callback"


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed here")
    folder = tmp_path_factory.mktemp("axe")
    shutil.copy(Path(__file__).with_name("axe") / "package.json", folder)
    install = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    if done.returncode:
        pytest.skip(f"npm could not install axe-core: {done.stderr.strip().splitlines()[-1:]}")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.fixture
async def person(service: Service) -> Person:
    return await verified(service)


def asked(service: Service, client_id: str, callback: str, **more: str) -> str:
    """Return the address to which an app sends the browser."""
    parameters = authorization(client_id, redirect_uri=callback, scope="openid profile email", **more)
    return f"{service.base_url}/oauth2/authorize?{urlencode(parameters)}"


def watched(page: Page) -> list[str]:
    """Return what the browser complains about from now on."""
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type != "info" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints


@pytest.mark.parametrize("javascript", [True, False])
@pytest.mark.parametrize("decision", ["allow", "deny"])
async def test_a_browser_signs_in_consents_and_arrives_at_the_app(
    browser: Browser, service: Service, person: Person, callback: str, javascript: bool, decision: str
) -> None:
    """SEC-41 SEC-43: `form-action` lets the redirects after a form through to the app, which Chromium checks."""
    client_id = await new_client(service, redirect_uris=[callback])
    context = await browser.new_context(java_script_enabled=javascript)
    page = await context.new_page()
    complaints = watched(page)
    await page.goto(asked(service, client_id, callback))
    await page.fill("[name=email]", person.email)
    await page.fill("[name=password]", PASSWORD)
    await page.press("[name=password]", "Enter")  # the first submit button is the one that signs in
    await page.wait_for_url("**/consent?request=*")
    assert "Notes" in await page.inner_text("h1")
    await page.click(f"button[value={decision}]")
    await page.wait_for_url(f"{callback}?*")
    assert await page.inner_text("body") == "Welcome"
    arrived = parse_qs(urlsplit(page.url).query)
    assert ("code" if decision == "allow" else "error") in arrived
    assert [each for each in complaints if "favicon" not in each] == []
    await context.close()


@pytest.mark.parametrize("javascript", [True, False])
async def test_without_consent_the_sign_in_itself_leads_to_the_app(
    browser: Browser, service: Service, person: Person, callback: str, javascript: bool
) -> None:
    client_id = await new_client(service, redirect_uris=[callback], skip_consent=True)
    context = await browser.new_context(java_script_enabled=javascript)
    page = await context.new_page()
    await page.goto(asked(service, client_id, callback))
    await page.fill("[name=email]", person.email)
    await page.fill("[name=password]", PASSWORD)
    await page.click("button[type=submit] >> nth=0")
    await page.wait_for_url(f"{callback}?code=*")
    await page.goto(asked(service, client_id, callback, prompt="select_account"))
    await page.click("text=Continue as Pat Person")
    await page.wait_for_url(f"{callback}?code=*")
    await context.close()


@pytest.mark.parametrize("javascript", [True, False])
async def test_a_new_user_registers_in_a_browser(
    browser: Browser, service: Service, callback: str, javascript: bool
) -> None:
    client_id = await new_client(service, redirect_uris=[callback], skip_consent=True)
    context = await browser.new_context(java_script_enabled=javascript)
    page = await context.new_page()
    await page.goto(asked(service, client_id, callback))
    await page.click("text=Create an account")
    await page.fill("[name=name]", "Ada Lovelace")
    await page.fill("[name=email]", service.new_email())
    await page.fill("[name=password]", PASSWORD)
    await page.click("button[type=submit] >> nth=0")
    await page.wait_for_url(f"{callback}?code=*")
    await context.close()


async def test_the_back_button_and_a_second_tab_do_no_harm(
    browser: Browser, service: Service, person: Person, callback: str
) -> None:
    client_id = await new_client(service, redirect_uris=[callback])
    context = await browser.new_context()
    tabs = [await context.new_page() for _ in range(2)]
    for tab in tabs:
        await tab.goto(asked(service, client_id, callback))
    for tab in tabs:
        await tab.fill("[name=email]", person.email)
        await tab.fill("[name=password]", PASSWORD)
        await tab.click("button[type=submit] >> nth=0")
        await tab.wait_for_url("**/consent?request=*")
    await tabs[1].click("button[value=allow]")
    await tabs[1].wait_for_url(f"{callback}?code=*")
    await tabs[1].go_back()
    # Within a minute a repeated request gives another code.
    assert await tabs[1].inner_text("h1") == "Allow Notes to access your account?"
    await tabs[1].click("button[value=allow]")
    await tabs[1].wait_for_url(f"{callback}?code=*")
    await tabs[0].goto(tabs[0].url)
    await tabs[0].click("button[value=allow]")
    await tabs[0].wait_for_url(f"{callback}?code=*")
    await context.close()


async def test_a_browser_at_the_root_and_at_an_unknown_path_sees_pages(browser: Browser, production: Service) -> None:
    context = await browser.new_context(locale="de-DE")
    page = await context.new_page()
    await page.goto(production.base_url)
    assert await page.inner_text("h1") == "idp ist bereit"
    await page.goto(f"{production.base_url}/nothing")
    assert await page.inner_text("h1") == "Seite nicht gefunden"
    await context.close()


# --- for everyone ----------------------------------------------------------------------------------------------------


async def every_page(service: Service, context: BrowserContext, person: Person, callback: str) -> AsyncIterator[Page]:
    """Open every page for people, one after the other."""
    client_id = await new_client(
        service,
        redirect_uris=[callback],
        client_uri="https://app.example.com",
        policy_uri="https://app.example.com/privacy",
        tos_uri="https://app.example.com/tos",
    )
    page = await context.new_page()
    base = service.base_url
    token = await ask_for_reset(service, person.email)
    for path in (
        "/",
        "/nothing",
        "/login",
        "/register",
        "/register?step=sent",
        "/reset-password",
        "/reset-password?step=sent",
        "/reset-password?step=done",
        f"/reset-password?token={token}",
        "/reset-password?token=dead",
        "/verify-email",
        "/change-email?step=done",
        "/consent?request=nothing",
        "/oauth2/authorize?client_id=nothing",
    ):
        await page.goto(base + path)
        yield page
    await page.goto(asked(service, client_id, "https://evil.example/cb"))
    await page.click("summary")
    yield page
    await page.goto(asked(service, client_id, callback))
    for password in ("wrong", PASSWORD):
        await page.fill("[name=email]", person.email)
        await page.fill("[name=password]", password)
        await page.click("button[type=submit] >> nth=0")
        await page.wait_for_load_state()
        yield page
    await page.goto(f"{base}/login")
    yield page
    await page.goto(f"{base}/")
    yield page


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
async def test_every_page_passes_axe_and_fits(
    browser: Browser, service: Service, person: Person, callback: str, axe: str, width: int, theme: str
) -> None:
    """WCAG 2.2 AA, as far as a program can tell: contrast, labels, names, landmarks; no sideways scrolling."""
    context = await browser.new_context(
        viewport={"width": width, "height": 844},
        color_scheme=theme,  # type: ignore[arg-type]
        reduced_motion="reduce",
    )
    found: dict[str, list[str]] = {}
    seen = 0
    async for page in every_page(service, context, person, callback):
        seen += 1
        await page.evaluate(axe)
        result = await page.evaluate("axe.run(document, {resultTypes: ['violations', 'incomplete']})")
        wrong = [f"{each['id']}: {[node['html'][:200] for node in each['nodes']]}" for each in result["violations"]]
        overflow = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if wrong or overflow > 0:
            found[page.url] = [*wrong, f"overflow {overflow}"]
    assert found == {}
    assert seen == 19
    await context.close()


async def test_the_keyboard_reaches_everything_in_order(browser: Browser, production: Service) -> None:
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(f"{production.base_url}/login")
    reached = []
    for _ in range(6):
        reached.append(await page.evaluate("document.activeElement.name || document.activeElement.textContent.trim()"))
        outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", reached
        await page.keyboard.press("Tab")
    assert reached == ["email", "password", "Show", "remember", "Sign in", "Forgot your password?"]
    await context.close()


async def test_high_contrast_keeps_borders(browser: Browser, production: Service) -> None:
    context = await browser.new_context(forced_colors="active")
    page = await context.new_page()
    await page.goto(f"{production.base_url}/login")
    for selector in ("[name=email]", "button[type=submit]"):
        width = await page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).borderTopWidth")
        assert width == "1px"
    await context.close()


async def test_a_long_name_without_spaces_fits_a_phone(
    browser: Browser, service: Service, person: Person, callback: str
) -> None:
    client_id = await new_client(service, name="Donaudampfschifffahrt" * 6, redirect_uris=[callback])
    context = await browser.new_context(viewport={"width": 390, "height": 844})
    page = await context.new_page()
    await page.goto(asked(service, client_id, callback))
    await page.fill("[name=email]", person.email)
    await page.fill("[name=password]", PASSWORD)
    await page.click("button[type=submit] >> nth=0")
    await page.wait_for_url("**/consent?request=*")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    await context.close()
