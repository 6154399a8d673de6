"""The administration of providers, signing keys, events, webhooks and settings, without JavaScript."""

import re
import secrets

import pytest

from factories import Person, Service
from pages.test_admin_users_pages import submit
from pages.visitor import Visitor
from secret_scan import secrets_seen

HOOK = "https://consumer.example.com/hook"


@pytest.fixture
async def admin(service: Service) -> Person:
    return await service.register_admin()


@pytest.mark.parametrize("path", ["providers", "signing-keys", "events", "webhooks", "settings", "clerk", "clients"])
@pytest.mark.parametrize("language", ["en", "de"])
async def test_every_page_of_the_system_is_for_administrators(
    service: Service, admin: Person, path: str, language: str
) -> None:
    async with Visitor(service, **{"Accept-Language": language}) as browser:
        assert (await browser.client.get(f"/admin/{path}")).status_code == 303
        await browser.sign_in(admin)
        page = await browser.open(f"/admin/{path}")
        assert (page.status_code, page.headers["Content-Language"]) == (200, language)
        assert re.findall(r"<script(?! src)|\sstyle=|\son\w+=", page.text) == []
    async with Visitor(service) as browser:
        await browser.sign_in(await service.register())
        assert (await browser.client.get(f"/admin/{path}")).status_code == 403


async def test_settings_are_shown_with_their_source_and_without_secrets(service: Service, admin: Person) -> None:
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        page = await browser.open("/admin/settings")
        assert "(hidden)" in page.text
        assert "env IDP_SECRET_KEY" in page.text
        assert service.database_url.partition("@")[0].rpartition(":")[2] not in page.text
        assert "No setting matches." in (await browser.open("/admin/settings", q="no-such-thing")).text


async def test_signing_keys_are_rotated_and_retired_with_a_record(own_service: Service) -> None:
    service = own_service
    admin = await service.register_admin()
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        page = await browser.open("/admin/signing-keys")
        before = set(re.findall(r'name="kid" value="([^"]*)"', page.text))
        page = await submit(browser, page, "/admin/signing-keys/rotate")
        assert "announced" in page.text
        announced = set(re.findall(r'name="kid" value="([^"]*)"', page.text)) - before
        page = await submit(browser, page, "/admin/signing-keys/retire", kid=announced.pop())
        unknown = await submit(browser, page, "/admin/signing-keys/retire", kid="nobody")
        assert (unknown.status_code, "no such key" in unknown.text) == (422, True)
    rows = await service.sql("SELECT action FROM idp.audit_logs WHERE actor = $1", f"user:{admin.id}")
    assert {"signing_key.rotated", "signing_key.retired"} <= {row["action"] for row in rows}


async def test_parked_events_are_shown_and_published_again(own_service: Service) -> None:
    service = own_service
    admin = await service.register_admin()
    await service.sql("""
        INSERT INTO idp.outbox_unpublished (seq, attempts, error, parked_at)
        SELECT seq, 9, '<i>too large</i>', now() FROM idp.outbox LIMIT 1
            ON CONFLICT (seq) DO UPDATE SET attempts = 9, error = excluded.error, parked_at = now()
    """)
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        assert "1 events were refused by Kafka" in (await browser.open("/admin")).text
        page = await browser.open("/admin/events")
        assert ("&lt;i&gt;too large" in page.text, "<i>too large" in page.text) == (True, False)
        page = await submit(browser, page, "/admin/events/replay")
        assert "Nothing is parked." in page.text


async def test_a_webhook_is_created_changed_tried_replayed_and_deleted(service: Service, admin: Person) -> None:
    name = f"<b>CRM</b> {secrets.token_hex(3)}"
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        page = await browser.open("/admin/webhooks")
        bad = await submit(browser, page, "/admin/webhooks", url="https://127.0.0.1/x", types="idp.no.such")
        assert bad.status_code == 422
        made = await submit(browser, page, "/admin/webhooks", url=HOOK, description=name, types="idp.user.created")
        (secret,) = re.findall(r'<code class="secret"[^>]*>([^<]*)</code>', made.text)
        secrets_seen.add(secret, "webhook secret")
        (webhook,) = set(re.findall(r'href="(/admin/webhooks/[0-9a-f-]{36})"', made.text))
        page = await browser.open(webhook)
        assert ("<b>CRM" in page.text, secret in page.text) == (False, False)
        page = await submit(browser, page, f"{webhook}/change", url=HOOK, description=name, types="")
        page = await submit(browser, page, f"{webhook}/change", active="no")
        assert "Switch on" in page.text
        page = await submit(browser, page, f"{webhook}/replay", since="2026-01-01T00:00")
        assert "delivered again" in page.text
        assert (await submit(browser, page, f"{webhook}/replay", since="x")).status_code == 422
        rotated = await submit(browser, page, f"{webhook}/secret")
        (new,) = re.findall(r'<code class="secret"[^>]*>([^<]*)</code>', rotated.text)
        secrets_seen.add(new, "webhook secret")
        page = await submit(browser, await browser.open(webhook), f"{webhook}/delete")
        assert "The webhook is deleted." in page.text
