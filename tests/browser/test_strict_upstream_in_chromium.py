"""A provider whose pages limit `form-action`, such as a second idp: Chromium applies it to redirects too."""

import json
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from browser.test_docs_page import CHROMIUM
from browser.test_pages_in_chromium import asked, browser, callback
from factories import PASSWORD, Service, running
from flows.mail_support import verified
from idp.dev.embedded import EmbeddedPostgres
from pages.visitor import new_client
from provider_apps import register_app

__all__ = ["browser", "callback"]  # fixtures
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
async def upstream(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("strict_upstream")) as service:
        yield service


@pytest.fixture(scope="module")
async def trusting(postgres: EmbeddedPostgres, upstream: Service) -> AsyncIterator[Service]:
    admin = await upstream.register_admin()
    client = await register_app(upstream, admin, redirect_uris=["https://placeholder.example.com/callback"])
    provider = {"issuer": upstream.base_url, "client_id": client.client_id, "client_secret": client.secret,
                "trusted_email_domains": ["example.com"]}  # fmt: skip
    environ = {"IDP_FEDERATION__PROVIDERS": json.dumps({"corp": provider})}
    async with running(postgres.create_database("strictly_federated"), environ=environ) as service:
        uri = f"{service.base_url.replace('127.0.0.1', 'localhost')}/federation/corp/callback"
        uris = [uri, f"{service.base_url}/federation/corp/callback"]
        update = "UPDATE idp.oauth_clients SET redirect_uris = $2 WHERE client_id = $1"
        await upstream.sql(update, client.client_id, uris)
        yield service


async def test_its_sign_in_leads_through_us_to_the_app(
    browser: Browser, trusting: Service, upstream: Service, callback: str
) -> None:
    person = await verified(upstream)
    client_id = await new_client(trusting, redirect_uris=[callback], skip_consent=True)
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(asked(trusting, client_id, callback, idp_hint="corp"))
    await page.fill("[name=email]", person.email)
    await page.fill("[name=password]", PASSWORD)
    await page.click("button[type=submit] >> nth=0")
    await page.wait_for_url(f"{callback}?code=*", timeout=10_000)
    await context.close()
