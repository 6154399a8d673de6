"""Sign-in through Example Corp, the upstream of `idp dev`, in a real browser: there and back, and out on both sides."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from playwright.async_api import Browser, Page

from browser.test_docs_page import CHROMIUM
from browser.test_pages_in_chromium import THEMES, WIDTHS, axe, browser, callback, watched
from cli.support import Dev, get, running_dev
from idp.dev.embedded import remove_data
from provider_apps import challenge_of

__all__ = ["axe", "browser", "callback"]  # fixtures
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")
ENTRY = "text=Continue with Example Corp"


@pytest.fixture(scope="module")
def dev(callback: str) -> Iterator[Dev]:
    folder = Path(tempfile.mkdtemp(prefix="idp-test-")) / "data"
    with running_dev(folder, "--port", "0", "--client", f"notes={callback}") as dev:
        yield dev
    remove_data(folder)


@pytest.fixture(params=WIDTHS)
async def page(browser: Browser, request: pytest.FixtureRequest) -> AsyncIterator[Page]:
    """A page of a new browser, without JavaScript on a phone."""
    is_phone = request.param == WIDTHS[0]
    size: Any = {"width": request.param, "height": 844}
    context = await browser.new_context(viewport=size, java_script_enabled=not is_phone)
    page = await context.new_page()
    yield page
    await context.close()


def upstream(dev: Dev) -> str:
    return str(dev.facts["upstream_issuer"])


async def sign_in_there(page: Page, name: str) -> None:
    """Choose a person at Example Corp: a demo user by their name, anybody else by typing."""
    await page.wait_for_url("**/dev/upstream/authorize?*")
    if await page.locator(f"button.person:has-text('{name}')").count():
        await page.click(f"button.person:has-text('{name}')")
    else:
        await page.fill("#person", name)
        await page.click("form >> nth=1 >> button")


async def signed_in_as(page: Page, dev: Dev) -> str | None:
    """Return the address of the browser's session here, None without one."""
    answer = await page.context.request.get(f"{dev.base_url}/auth/me")
    return str((await answer.json())["email"]) if answer.status == 200 else None


async def test_a_new_person_comes_through_the_button(page: Page, dev: Dev) -> None:
    """S3-07 S3-37 for browsers; SEC-67 SEC-69: with the teams that the rules give."""
    complaints = watched(page)
    await page.goto(f"{dev.base_url}/login")
    await page.click(ENTRY)
    await sign_in_there(page, "Grace Groups")
    await page.wait_for_url(f"{dev.base_url}/")
    me = await (await page.context.request.get(f"{dev.base_url}/auth/me")).json()
    assert (me["email"], me["email_verified"]) == ("grace@corp.example", True)
    assert {team["name"] for team in me["teams"]} == {"General", "Engineering"}
    assert [each for each in complaints if "favicon" not in each] == []


async def test_an_address_of_a_bound_domain_leads_there(page: Page, dev: Dev) -> None:
    await page.goto(f"{dev.base_url}/login")
    await page.fill("[name=email]", "hugo@corp.example")
    await page.click("button[type=submit] >> nth=0")
    await page.wait_for_url("**/dev/upstream/authorize?*")
    assert "Hugo" in await page.inner_text("button.person >> nth=0")  # the hint is first
    await page.click("button.person >> nth=0")
    await page.wait_for_url(f"{dev.base_url}/")
    assert await signed_in_as(page, dev) == "hugo@corp.example"


@pytest.mark.parametrize("proof", ["password", "mail"])
async def test_an_account_is_proven_before_it_is_connected(page: Page, dev: Dev, proof: str) -> None:
    """C-11 SEC-16."""
    person = dev.persona("ada@example.com" if proof == "password" else "lin@example.com")
    width = (page.viewport_size or {"width": 0})["width"]
    await page.goto(f"{dev.base_url}/login")
    await page.click(ENTRY)
    email = person["email"]
    await page.wait_for_url("**/dev/upstream/authorize?*")
    await page.fill("#person", email)
    await page.click("form >> nth=1 >> button")
    if width != WIDTHS[0]:  # the test at the first width has connected it
        await page.wait_for_url(f"{dev.base_url}/")
        assert await signed_in_as(page, dev) == email
        return
    await page.wait_for_url("**/link-account?login=*")
    assert await page.inner_text("h1") == "You already have an account"
    assert await signed_in_as(page, dev) is None
    if proof == "password":
        await page.fill("[name=password]", "not this one")
        await page.click("button[type=submit] >> nth=0")
        assert "The password is wrong" in await page.inner_text("main")
        await page.fill("[name=password]", person["password"])
        await page.click("button[type=submit] >> nth=0")
    else:
        await page.click("button[name=mail]")
        await page.wait_for_url("**step=sent")
        await page.goto(newest_link(dev, email))
        await page.click("button[type=submit]")
    await page.wait_for_url(f"{dev.base_url}/")
    assert await signed_in_as(page, dev) == email


def newest_link(dev: Dev, email: str) -> str:
    letters = get(f"{dev.base_url}/dev/mailbox", accept="application/json").json
    return str(next(each["links"][0] for each in letters if each["to"] == email and "link-account" in each["text"]))


async def test_an_app_signs_its_user_in_through_the_upstream(page: Page, dev: Dev, callback: str) -> None:
    """The whole chain, with the app's hint: no page of ours is seen, and `form-action` stops none of the redirects."""
    parameters = {
        "client_id": "notes",
        "redirect_uri": callback,
        "response_type": "code",
        "scope": "openid email",
        "state": "s-1",
        "code_challenge": challenge_of("v" * 50),
        "code_challenge_method": "S256",
        "idp_hint": "example-corp",
    }
    await page.goto(f"{dev.base_url}/oauth2/authorize?{urlencode(parameters)}")
    await sign_in_there(page, "Iris Individual")
    if (page.viewport_size or {"width": 0})["width"] == WIDTHS[0]:  # the consent is remembered for the second width
        await page.wait_for_url("**/consent?*")
        await page.click("button[value=allow]")
    await page.wait_for_url(f"{callback}?*")
    assert "code=" in page.url
    assert "state=s-1" in page.url


async def test_a_refusal_there_ends_on_a_page_with_another_way_in(page: Page, dev: Dev) -> None:
    await page.goto(f"{dev.base_url}/login")
    await page.click(ENTRY)
    await page.click("text=Cancel")
    await page.wait_for_url("**/federation/example-corp/callback?*")
    assert await page.inner_text("h1") == "The sign-in did not work"
    await page.click("main >> a.button")
    assert await page.inner_text("h1") == "Sign in"
    assert await page.locator(ENTRY).count() == 1


async def test_our_logout_ends_the_session_there_too(page: Page, dev: Dev) -> None:
    await page.goto(f"{dev.base_url}/login")
    await page.click(ENTRY)
    await sign_in_there(page, "Grace Groups")
    await page.wait_for_url(f"{dev.base_url}/")
    await page.goto(f"{dev.base_url}/oauth2/logout")
    await page.click("button[type=submit]")
    await page.wait_for_url(f"{dev.base_url}/signed-out")
    assert await page.inner_text("h1") == "You are signed out"
    await page.goto(upstream(dev))
    assert await page.inner_text("h1") == "No one is signed in"


async def test_a_logout_there_ends_our_session(page: Page, dev: Dev) -> None:
    """Back-channel logout: the browser is not asked."""
    await page.goto(f"{dev.base_url}/login")
    await page.click(ENTRY)
    await sign_in_there(page, "Grace Groups")
    await page.wait_for_url(f"{dev.base_url}/")
    await page.goto(upstream(dev))
    await page.click("text=Sign out of Example Corp")
    assert await page.inner_text("h1") == "You are signed out"
    assert await signed_in_as(page, dev) is None


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
async def test_its_pages_pass_axe_and_fit(browser: Browser, dev: Dev, axe: str, width: int, theme: str) -> None:
    context = await browser.new_context(viewport={"width": width, "height": 844}, color_scheme=theme)  # type: ignore[arg-type]
    page = await context.new_page()
    began = httpx2.get(f"{dev.base_url}/federation/example-corp/start").headers["Location"]
    for url in (f"{dev.base_url}/login", upstream(dev), began, f"{upstream(dev)}/logout", f"{upstream(dev)}/authorize"):
        await page.goto(url)
        await page.evaluate(axe)
        result = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        assert [(each["id"], each["nodes"][0]["html"][:200]) for each in result["violations"]] == [], url
        overflow = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, url
    await context.close()
