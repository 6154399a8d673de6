"""Eight tabs of a real browser that share one stored refresh token, as single-page apps do (C-08)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from playwright.async_api import Browser, BrowserContext, async_playwright

from browser.test_docs_page import CHROMIUM, FLAGS
from factories import Service

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")
TABS, ROUNDS = 8, 200

# What a careless app does: read the stored token, refresh, store what came. No lock, no channel between the tabs.
REFRESH = """
async (rounds) => {
  for (let round = 0; round < rounds; round++) {
    const refresh_token = localStorage.getItem("refresh_token");
    const answer = await fetch("/api/auth/refresh", {
      method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({refresh_token})
    });
    const body = await answer.json();
    if (!answer.ok) return {round, status: answer.status, code: body.code};
    localStorage.setItem("refresh_token", body.refresh_token);
    localStorage.setItem("access_token", body.access_token);
  }
  return {round: rounds};
}
"""
ME = """
async () => {
  const headers = {Authorization: "Bearer " + localStorage.getItem("access_token")};
  return (await fetch("/auth/me", {headers})).status;
}
"""


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


async def stored(context: BrowserContext, name: str) -> str:
    value = await context.pages[0].evaluate("name => localStorage.getItem(name)", name)
    assert isinstance(value, str)
    return value


@pytest.mark.slow
async def test_eight_tabs_never_sign_each_other_out_and_a_thief_is_noticed(browser: Browser, service: Service) -> None:
    """C-08 S4-34 SEC-49: 8 tabs refresh 200 times each with no logout; an old token replayed later ends the session."""
    person = await service.register()
    context = await browser.new_context()
    pages = [await context.new_page() for _ in range(TABS)]
    for page in pages:
        await page.goto(f"{service.base_url}/errors")
    await pages[0].evaluate("token => localStorage.setItem('refresh_token', token)", person.refresh_token)

    async with asyncio.timeout(110):
        ends: list[Any] = await asyncio.gather(*(page.evaluate(REFRESH, ROUNDS) for page in pages))
    assert ends == [{"round": ROUNDS}] * TABS
    assert await pages[0].evaluate(ME) == 200
    links = await service.sql(
        "SELECT count(*) FILTER (WHERE rotated_at IS NULL) AS open, count(*) AS made FROM idp.refresh_tokens "
        "WHERE session_id = $1::text::uuid",
        person.session_id,
    )
    assert links[0]["open"] == 1
    assert links[0]["made"] > ROUNDS

    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=11), tick=True):
        stolen = await service.refresh(person.refresh_token)
        assert stolen.json()["code"] == "refresh_token_reused"
        assert await pages[0].evaluate(ME) == 401
        (end,) = [await pages[1].evaluate(REFRESH, 1)]
        assert end == {"round": 0, "status": 401, "code": "refresh_token_invalid"}
        answer = await service.refresh(await stored(context, "refresh_token"))
        assert answer.json()["code"] == "refresh_token_invalid"
    await context.close()
