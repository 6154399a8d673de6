"""Text that takes quadratic time to normalize, which any client can send."""

import asyncio
import sys
import time
import unicodedata
from urllib.parse import urlencode

import msgspec
import pytest

from factories import Service
from idp.principal.guards import policies
from idp.users.email import email_key
from idp.users.normal_form import normal_form

MEMBERS = (
    "email",
    "password",
    "name",
    "token",
    "new_password",
    "current_password",
    "new_email",
    "refresh_token",
    "key",
)
MARKS = ("\u0344", "\u0334\u0344", "\u0315\u0300\u05ae\u0062", "\u0f73")


async def slowest_health_check(service: Service, done: asyncio.Event) -> float:
    slowest = 0.0
    while not done.is_set():
        began = time.perf_counter()
        assert (await service.client.get("/healthz")).status_code == 200
        slowest = max(slowest, time.perf_counter() - began)
        await asyncio.sleep(0.01)
    return slowest


@pytest.mark.parametrize("marks", MARKS)
async def test_no_public_route_stands_still_over_endless_marks(service: Service, marks: str) -> None:
    """At the body's limit, as JSON and as a form, while /healthz is answered."""
    limit = service.loaded.settings.server.max_body_bytes - 1_000
    done = asyncio.Event()
    watching = asyncio.create_task(slowest_health_check(service, done))
    routes = [line for line in policies(service.app) if line.policy == "public" and line.method == "POST"]
    assert len(routes) >= 12
    try:
        for line in routes:
            # Each member the largest that its type lets through, and one that fills the body.
            for length in (254, 4_096, limit // len(marks.encode())):
                text = (marks * length)[:length]
                members = MEMBERS if length < 10_000 else ("email", "new_password")
                body = {name: text[: limit // len(members) // 3] for name in members}
                json = msgspec.json.encode(body)
                form = "&".join(f"{name}={value}" for name, value in body.items()).encode()
                await service.client.post(line.path, content=json, headers={"Content-Type": "application/json"})
                await service.client.post(
                    line.path, content=form, headers={"Content-Type": "application/x-www-form-urlencoded"}
                )
        query = urlencode({"token": marks * 2_000})
        await service.client.get(f"/reset-password?{query}")
    finally:
        done.set()
    assert await watching < 0.5  # a machine that is busy; without the bound it is seconds


async def test_headers_cost_no_unicode_work(service: Service) -> None:
    """Dev headers and the cookie are text from outside, too."""
    text = ("\u0344" * 7_000).encode()
    began = time.perf_counter()
    for name in (b"X-User-Email", b"X-User-Name", b"User-Agent", b"Cookie", b"X-API-Key"):
        headers = {b"X-User-Email": b"a@example.com", name: text}
        await service.client.get("/auth/me", headers=headers)
    assert time.perf_counter() - began < 1


def test_text_that_no_language_writes_is_left_as_it_is() -> None:
    """What people write is normalised as before, long passphrases included."""
    for text in ("e\u0301", "\u1100\u1161\u11a8" * 200, "a\u0323\u0307" * 300, "Å" * 100 + "A\u030a"):
        assert normal_form(text) == unicodedata.normalize("NFC", text)
    endless = "a" + "\u0344" * 100_000
    began = time.perf_counter()
    assert normal_form(endless) == endless
    assert "@" not in email_key(endless + "@example.com")
    assert email_key(endless) != email_key(endless + "x")
    assert time.perf_counter() - began < 0.2


def test_marks_that_call_themselves_starters_count_as_marks() -> None:
    """U+0F73 has combining class 0 and is taken apart into two marks, so its runs are as slow."""
    parts = ((chr(code), unicodedata.normalize("NFD", chr(code))) for code in range(sys.maxunicode + 1))
    disguised = [each for each, taken in parts if not unicodedata.combining(each) and unicodedata.combining(taken[0])]
    assert "\u0f73" in disguised
    for mark in disguised:
        endless = "a" + mark * 30_000
        began = time.perf_counter()
        assert normal_form(endless) == endless
        assert time.perf_counter() - began < 0.5
    assert normal_form("\u0f40\u0f73" * 300) == unicodedata.normalize("NFC", "\u0f40\u0f73" * 300)
