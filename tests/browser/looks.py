"""Look at pages in Chromium: two widths and two themes, checked by axe-core, and pictures for the documentation.

IDP_WRITE_PICTURES=1 script/test tests/browser/test_account_in_chromium.py     writes docs/pictures/*.jpg
IDP_LOOK_AT=/tmp/looks script/test …                                           every page, width and theme, as PNG
"""

import functools
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Page

from factories import PASSWORD, Person, Service

WIDTHS = {"phone": 390, "desktop": 1280}
THEMES = ("light", "dark")
_PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
_RUN_AXE = "axe.run(document, {resultTypes: ['violations', 'incomplete']})"


@functools.cache
def axe_source() -> str:
    """Return the source of axe-core, from npm; skips the test without npm."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed here")
    folder = Path(tempfile.mkdtemp(prefix="axe-"))
    shutil.copy(Path(__file__).with_name("axe") / "package.json", folder)
    install = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    if done.returncode:
        pytest.skip(f"npm could not install axe-core: {done.stderr.strip().splitlines()[-1:]}")
    source = (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()
    shutil.rmtree(folder)
    return source


@functools.cache
def _shown() -> set[str]:
    """Return the names of the pictures that the documentation shows."""
    pages = "".join(page.read_text() for page in _PICTURES.parent.glob("*.md"))
    return set(re.findall(r"\(pictures/([a-z-]+)\.jpg\)", pages))


async def open_browser(
    browser: Browser, *, width: str = "desktop", theme: str = "light", javascript: bool = True
) -> BrowserContext:
    """Return a browser context of this width and theme, which must be closed."""
    return await browser.new_context(
        viewport={"width": WIDTHS[width], "height": 844 if width == "phone" else 800},
        color_scheme=theme,  # type: ignore[arg-type]
        reduced_motion="reduce",
        java_script_enabled=javascript,
        locale="en-GB",
    )


async def sign_in(page: Page, service: Service, person: Person, path: str = "/account") -> None:
    """Sign in with the password, by the form, and arrive at a path."""
    await page.goto(f"{service.base_url}/login?return_to={path}")
    await page.fill("[name=email]", person.email)
    await page.fill("[name=password]", PASSWORD)
    await page.click("button[type=submit] >> nth=0")
    await page.wait_for_url(f"{service.base_url}{path}*")


async def look(page: Page, name: str, *, width: str, theme: str) -> list[str]:
    """Return what is wrong with the page that is open: violations that axe-core finds, and sideways scrolling.

    Args:
        page: the open page.
        name: of its picture, such as `account-sessions`.
        width: a key of `WIDTHS`.
        theme: of `THEMES`.
    """
    if folder := os.environ.get("IDP_LOOK_AT"):
        await page.screenshot(path=Path(folder) / f"{name}-{width}-{theme}.png", full_page=True)
    if os.environ.get("IDP_WRITE_PICTURES") and (width, theme) == ("desktop", "light") and name in _shown():
        await page.screenshot(path=_PICTURES / f"{name}.jpg", type="jpeg", quality=55)
    await page.evaluate(axe_source())
    result = await page.evaluate(_RUN_AXE)
    wrong = [f"{name}: {each['id']}: {[node['html'][:200] for node in each['nodes']]}" for each in result["violations"]]
    overflow = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return [*wrong, f"{name}: overflows by {overflow} px"] if overflow > 0 else wrong
