"""A sign-in through another provider waits for the second factor too, and keeps what belongs to it."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pyotp
import pytest

from factories import Person, Service
from factors.phone import Phone, prove
from federation.provider_support import FakeProvider, me, running_provider, running_with, sign_in
from idp.dev.embedded import EmbeddedPostgres
from idp.users.factors.totp import TotpSecret
from pages.visitor import form_of
from provider_apps import Browser, challenge_of

_numbers = iter(range(1, 1_000_000))


@pytest.fixture(scope="module")
async def corp() -> AsyncIterator[FakeProvider]:
    async with running_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
async def own(corp: FakeProvider, postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running_with(postgres, "factors_of_providers", corp={"issuer": corp.issuer}) as service:
        yield service


@pytest.fixture
async def browser(own: Service) -> AsyncIterator[Browser]:
    async with Browser(own) as browser:
        yield browser


def somebody(corp: FakeProvider, **more: Any) -> None:
    number = next(_numbers)
    corp.reset()
    corp.claims = {"sub": f"f-{number}", "email": f"f{number}@corp.example", "email_verified": True, **more}


async def with_app(browser: Browser) -> Phone:
    """Sign in once, set up an authenticator app, and forget the session."""
    await sign_in(browser)
    user, service = await me(browser), browser.service
    secret = pyotp.random_base32()
    async with service.app.core.database.transaction() as session:
        await service.app.core.totp.add(session, user["id"], TotpSecret(secret))
    browser.client.cookies.clear()
    return Phone(service, Person(user["id"], user["email"], "", "", user, "", ""), secret)


async def send_code(browser: Browser, page: httpx2.Response, code: str) -> httpx2.Response:
    form = form_of(page)
    headers = {"Origin": browser.service.base_url}
    return await browser.client.post(form.action, data=form.fields | {"code": code}, headers=headers)


async def test_the_code_follows_the_provider(corp: FakeProvider, own: Service, browser: Browser) -> None:
    somebody(corp, sid="s-1")
    phone = await with_app(browser)
    page = await browser.follow(await sign_in(browser, return_to="/account"))
    assert page.url.path == "/second-factor"
    assert (await browser.client.get("/auth/me")).status_code == 401
    done = await send_code(browser, page, phone.code())
    assert done.headers["Location"] == "/account"
    (row,) = await own.sql(
        "SELECT s.amr, s.acr, f.sid FROM idp.user_sessions s JOIN idp.federated_sessions f ON f.session_id = s.id"
        " WHERE s.user_id = $1 AND s.acr = '2'",
        phone.person.id,
    )
    assert (row["amr"], row["sid"]) == (["fed", "otp", "mfa"], "s-1")  # known for the logout at either side


async def test_an_identity_that_is_unlinked_meanwhile_signs_in_no_more(
    corp: FakeProvider, own: Service, browser: Browser
) -> None:
    somebody(corp)
    phone = await with_app(browser)
    page = await browser.follow(await sign_in(browser))
    await own.sql("DELETE FROM idp.identities WHERE user_id = $1", phone.person.id)
    assert (await send_code(browser, page, phone.code())).status_code == 400
    assert (await browser.client.get("/auth/me")).status_code == 401


async def test_a_provider_that_asked_for_two_factors_is_believed(corp: FakeProvider, browser: Browser) -> None:
    somebody(corp, amr=["pwd", "mfa"])
    phone = await with_app(browser)
    answer = await sign_in(browser, return_to="/account")
    assert answer.headers["Location"] == "/account"
    rows = await browser.service.sql("SELECT acr FROM idp.user_sessions WHERE user_id = $1", phone.person.id)
    assert {row["acr"] for row in rows} == {"2"}


async def test_a_single_page_app_gets_the_token_of_the_sign_in_that_waits(
    corp: FakeProvider, own: Service, browser: Browser
) -> None:
    somebody(corp)
    phone = await with_app(browser)
    origin = own.base_url
    verifier = "v" * 43
    answer = await sign_in(browser, return_to=f"{origin}/app", mode="code", code_challenge=challenge_of(verifier))
    code = answer.headers["Location"].partition("code=")[2]
    body = {"code": code, "code_verifier": verifier}
    refused = await own.client.post("/auth/federation/exchange", json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "second_factor_required")
    started = await prove(own, refused.json()["pending_token"], phone.code())
    assert started.status_code == 200, started.text


async def test_a_page_of_an_app_is_opened_after_the_code(corp: FakeProvider, own: Service, browser: Browser) -> None:
    somebody(corp)
    phone = await with_app(browser)
    origin = own.base_url
    page = await browser.follow(await sign_in(browser, return_to=f"{origin}/app", mode="cookie"))
    assert page.url.path == "/second-factor"
    done = await send_code(browser, page, phone.code())
    assert done.headers["Refresh"] == f"0;url={origin}/app"
    assert (await browser.client.get("/auth/me")).status_code == 200
