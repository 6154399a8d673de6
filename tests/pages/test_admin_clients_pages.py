"""The administration of clients, and the tester that runs the code flow, without JavaScript."""

import html
import re
import secrets

import pytest

from factories import Person, Service
from pages.test_admin_users_pages import submit
from pages.visitor import CALLBACK, Visitor, heading
from secret_scan import secrets_seen


@pytest.fixture
async def admin(service: Service) -> Person:
    return await service.register_admin()


async def created(browser: Visitor, **fields: str) -> tuple[str, str | None]:
    """Create a client by its form, and return its id and its secret."""
    sent = {"client_name": f"App {secrets.token_hex(3)}", "redirect_uris": CALLBACK, "scope": "openid email"}
    made = await submit(browser, await browser.open("/admin/clients"), "/admin/clients", **(sent | fields))
    assert made.status_code == 200, made.text
    (client_id,) = set(re.findall(r"client_[0-9a-f]{32}", made.text))
    secret = re.search(r'<code class="secret"[^>]*>([^<]*)</code>', made.text)
    if secret is not None:
        secrets_seen.add(secret[1], "client secret")
    return client_id, secret[1] if secret else None


async def test_a_client_is_created_changed_gets_another_secret_and_is_deleted(service: Service, admin: Person) -> None:
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        client_id, secret = await created(browser)
        assert secret is not None
        here = f"/admin/clients/{client_id}"
        page = await browser.open(here)
        assert secret not in page.text
        fields = {"client_name": "<b>Renamed</b>", "redirect_uris": f"{CALLBACK}\n{CALLBACK}2", "scope": "openid"}
        page = await submit(browser, page, f"{here}/change", **fields, **{"grant.authorization_code": "on"})
        assert (heading(page), "<b>Renamed" in page.text) == ("<b>Renamed</b>", False)
        bad = await submit(browser, page, f"{here}/change", **(fields | {"redirect_uris": "javascript:alert(1)"}))
        assert bad.status_code == 422
        rotated = await submit(browser, page, f"{here}/secret", overlap="on")
        (new,) = re.findall(r'<code class="secret"[^>]*>([^<]*)</code>', rotated.text)
        secrets_seen.add(new, "client secret")
        assert new != secret
        gone = await submit(browser, page, f"{here}/delete")
        assert "The client is deleted." in gone.text
        assert (await browser.open(here)).status_code == 404
    actions = await service.sql("SELECT action FROM idp.audit_logs WHERE target = $1", f"client:{client_id}")
    assert {"client.created", "client.changed", "client.secret_rotated", "client.deleted"} == {
        row["action"] for row in actions
    }


async def test_the_tester_runs_the_code_flow_and_shows_each_step(service: Service, admin: Person) -> None:
    """Codes and tokens are masked, and the session that the client got has ended."""
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        client_id, secret = await created(browser)
        assert secret is not None
        here = f"/admin/clients/{client_id}"
        page = await browser.open(here)
        fields = {"redirect_uri": CALLBACK, "client_secret": secret}
        waiting = await submit(browser, page, f"{here}/test", **fields)
        assert "The request waits for consent" in waiting.text
        told = await submit(browser, page, f"{here}/test", **fields, consent="on")
        for step in ("Authorization request", "Consent given", "Redirect to the app", "Token response"):
            assert step in told.text
        assert html.escape(admin.email) in told.text  # of the ID token
        assert secret not in told.text
        assert re.search(r"eyJ[\w-]{20}", told.text) is None
        assert re.search(
            r'name="grant.authorization_code" checked', told.text
        )  # the form below still has the client's values
        assert client_id not in (await browser.open("/account/apps")).text  # the consent of the test was taken back
        wrong = await submit(browser, page, f"{here}/test", redirect_uri=CALLBACK, client_secret="wrong", consent="on")
        assert "invalid_client" in wrong.text
        foreign = await submit(browser, page, f"{here}/test", redirect_uri="https://evil.example/")
        assert foreign.status_code in {400, 422}
    live = "SELECT FROM idp.user_sessions WHERE client_id = $1 AND ended_at IS NULL"
    assert await service.sql(live, client_id) == []


async def test_the_tester_runs_a_public_client(service: Service, admin: Person) -> None:
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        client_id, secret = await created(browser, token_endpoint_auth_method="none", skip_consent="on")
        assert secret is None
        here = f"/admin/clients/{client_id}"
        told = await submit(browser, await browser.open(here), f"{here}/test", redirect_uri=CALLBACK)
        assert "Claims of the ID token" in told.text
