"""Linking and unlinking identities from the account, and what the rules gave (C-11, SEC-16, S3-37)."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx2
import pytest

from authn.issuer_support import Issuer, http, running_issuer
from factories import Person, Service, running
from federation.test_logout_on_both_sides import Corp, signed_in
from idp.dev.embedded import EmbeddedPostgres
from idp.federation.cleanup import FederationCleanup
from pages.visitor import Visitor
from provider_apps import Browser

RULES = [{"claim": "groups", "values": ["boss"], "roles": ["admin"], "allow_admin_role": True}]


class GroupCorp(Corp):
    """A provider that says its people's groups."""

    groups: tuple[str, ...] = ()

    async def answer(self, issuer: Issuer, path: str) -> bytes:
        if path != "/token":
            return await super().answer(issuer, path)
        more = {"sub": self.subject, "nonce": self.nonce, "sid": self.sid, "groups": list(self.groups)}
        token = issuer.token(**more, email=f"{self.subject}@corp.example", email_verified=True)
        return http(json.dumps({"access_token": "a", "token_type": "Bearer", "id_token": token}).encode())


@pytest.fixture(scope="module")
async def corp() -> AsyncIterator[GroupCorp]:
    async with running_issuer() as issuer:
        yield GroupCorp(issuer)


@pytest.fixture(scope="module")
async def service(corp: GroupCorp, postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    provider = {"issuer": corp.issuer.url, "client_id": "the-client", "client_secret": "s", "rules": RULES,
                "trusted_email_domains": ["corp.example"]}  # fmt: skip
    environ = {"IDP_FEDERATION__PROVIDERS": json.dumps({"corp": provider})}
    async with running(postgres.create_database("identities"), environ=environ) as service:
        yield service


@pytest.fixture
async def owner(service: Service, corp: GroupCorp) -> AsyncIterator[tuple[Browser, Person]]:
    """A browser that is signed in to an account with a password; the provider's person is a new one."""
    corp.subject, corp.groups = f"person-{uuid4().hex[:8]}", ()
    async with Browser(service) as browser:
        person = await service.register()
        await browser.sign_in(person)
        yield browser, person


def csrf(browser: Browser) -> dict[str, str]:
    return {"X-CSRF-Token": browser.client.cookies["idp_csrf"]}


async def begin(browser: Browser, corp: GroupCorp) -> dict[str, str]:
    """Ask for the link, and return the parameters of the provider's answer."""
    asked = await browser.client.post("/api/auth/identities/corp", json={}, headers=csrf(browser))
    assert asked.status_code == 200, asked.text
    sent = parse_qs(urlsplit(asked.json()["url"]).query)
    corp.nonce = sent["nonce"][0]
    return {"state": sent["state"][0], "code": "c"}


async def link(browser: Browser, corp: GroupCorp) -> httpx2.Response:
    return await browser.client.get("/federation/corp/callback", params=await begin(browser, corp))


async def identities(browser: Browser) -> list[dict[str, Any]]:
    return list((await browser.client.get("/api/auth/identities")).json()["identities"])


async def unlink(browser: Browser, identity: str) -> httpx2.Response:
    return await browser.client.delete(f"/api/auth/identities/{identity}", headers=csrf(browser))


async def roles(browser: Browser) -> set[str]:
    return set((await browser.client.get("/auth/me")).json()["roles"])


async def test_an_identity_is_linked_used_and_unlinked_with_what_it_gave(
    service: Service, corp: GroupCorp, owner: tuple[Browser, Person]
) -> None:
    """S3-37 for browsers: what the rules gave is gone after unlinking, the password still signs in."""
    browser, person = owner
    corp.groups = ("boss",)
    assert (await link(browser, corp)).headers["Location"] == "/"
    (identity,) = await identities(browser)
    assert identity["subject"] == corp.subject
    assert "admin" in await roles(browser)
    async with Browser(service) as other:
        await signed_in(other, corp)
        assert (await other.client.get("/auth/me")).json()["id"] == person.id
    answer = await unlink(browser, identity["id"])
    assert (answer.status_code, await identities(browser)) == (200, [])
    assert "admin" not in await roles(browser)
    assert (await unlink(browser, identity["id"])).json()["code"] == "identity_not_found"
    assert (await service.sign_in(person)).id == person.id


async def test_a_person_removed_there_loses_what_the_rules_gave_at_the_next_sign_in(
    service: Service, corp: GroupCorp, owner: tuple[Browser, Person]
) -> None:
    browser, _ = owner
    corp.groups = ("boss",)
    await link(browser, corp)
    assert "admin" in await roles(browser)
    corp.groups = ()
    async with Browser(service) as later:
        await signed_in(later, corp)
        assert "admin" not in await roles(later)


async def test_linking_requires_the_page_a_fresh_login_and_a_user(
    service: Service, corp: GroupCorp, owner: tuple[Browser, Person]
) -> None:
    """SEC-44 SEC-16: CSRF, and an old session."""
    browser, person = owner
    url = "/api/auth/identities/corp"
    assert (await browser.client.post(url, json={})).json()["code"] == "csrf_rejected"
    assert (await service.client.post(url, json={})).status_code == 401
    assert (await browser.client.post("/api/auth/identities/other", json={}, headers=csrf(browser))).status_code == 404
    await link(browser, corp)
    (identity,) = await identities(browser)
    without = await browser.client.delete(f"/api/auth/identities/{identity['id']}")
    assert without.json()["code"] == "csrf_rejected"
    await service.sql(
        "UPDATE idp.user_sessions SET auth_time = auth_time - $2::interval WHERE user_id = $1",
        person.id,
        timedelta(hours=2),
    )
    for answer in (
        await browser.client.post(url, json={}, headers=csrf(browser)),
        await unlink(browser, identity["id"]),
    ):
        assert (answer.status_code, answer.json()["code"]) == (401, "fresh_login_required")


async def test_another_users_identity_is_neither_taken_nor_unlinked(
    service: Service, corp: GroupCorp, owner: tuple[Browser, Person]
) -> None:
    """SEC-69."""
    browser, person = owner
    await link(browser, corp)
    (identity,) = await identities(browser)
    async with Browser(service) as stranger:
        await stranger.sign_in(await service.register())
        assert (await unlink(stranger, identity["id"])).json()["code"] == "identity_not_found"
        taken = await link(stranger, corp)
        assert (taken.status_code, await identities(stranger)) == (409, [])
        assert "belongs to another account" in taken.text
    assert [each["id"] for each in await identities(browser)] == [identity["id"]]
    assert (await browser.client.get("/auth/me")).json()["id"] == person.id


async def test_a_link_begun_in_another_browser_is_not_finished_in_this_one(
    service: Service, corp: GroupCorp, owner: tuple[Browser, Person]
) -> None:
    """SEC-67: an attacker cannot have a victim's browser link the victim's identity to the attacker's account."""
    browser, _ = owner
    answer = await begin(browser, corp)
    async with Browser(service) as victim:
        assert (await victim.client.get("/federation/corp/callback", params=answer)).status_code == 400
    assert await identities(browser) == []


async def test_two_links_at_once_give_one_identity(corp: GroupCorp, owner: tuple[Browser, Person]) -> None:
    browser, _ = owner
    answer = await begin(browser, corp)
    done = await asyncio.gather(
        *(browser.client.get("/federation/corp/callback", params=answer) for _ in range(6)), return_exceptions=False
    )
    assert sorted(each.status_code for each in done) == [303, *[400] * 5]
    assert len(await identities(browser)) == 1


async def test_two_unlinks_at_once_leave_a_way_in(service: Service, corp: GroupCorp) -> None:
    """Two identities and no password: of two concurrent requests, only one succeeds."""
    corp.subject, corp.groups = f"person-{uuid4().hex[:8]}", ()
    async with Browser(service) as browser:
        await signed_in(browser, corp)
        user_id = (await browser.client.get("/auth/me")).json()["id"]
        await service.sql(
            "INSERT INTO idp.identities (id, user_id, provider, subject, created_at)"
            " VALUES ($1, $2, 'https://second.example', 's', now())",
            uuid4(),
            user_id,
        )
        ids = [each["id"] for each in await identities(browser)]
        assert len(ids) == 2
        done = await asyncio.gather(*(unlink(browser, each) for each in ids))
        assert sorted(each.status_code for each in done) == [200, 409]
        assert len(await identities(browser)) == 1


async def test_expired_logins_are_deleted(service: Service, corp: GroupCorp) -> None:
    async with Browser(service) as browser:
        began = await browser.client.get("/federation/corp/start")
        assert began.status_code == 303
    await service.sql("UPDATE idp.federated_logins SET expires_at = expires_at - interval '1 day'")
    async with Browser(service) as browser:
        await browser.client.get("/federation/corp/start")
    core = service.app.core
    await FederationCleanup(core.database, core.federation.sign_in.states).clean_up()
    rows = await service.sql("SELECT expires_at > now() AS is_live FROM idp.federated_logins")
    assert [row["is_live"] for row in rows] == [True]


async def test_an_identity_is_linked_and_unlinked_on_its_page(service: Service, corp: GroupCorp) -> None:
    """Without JavaScript; the page leaves for the provider by itself (SEC-16)."""
    corp.subject, corp.groups = f"person-{uuid4().hex[:8]}", ()
    async with Visitor(service) as visitor:
        await visitor.sign_in(await service.register())
        page = await visitor.open("/account/identities")
        assert "No other provider signs you in." in page.text
        leaving = await visitor.submit(page, "/account/identities/link", provider="corp")
        sent = parse_qs(urlsplit(leaving.headers["Refresh"].removeprefix("0;url=")).query)
        corp.nonce = sent["nonce"][0]
        linked = await visitor.open("/federation/corp/callback", state=sent["state"][0], code="c")
        assert "The sign-in is connected to your account." in linked.text
        assert corp.subject in linked.text
        unlinked = await visitor.submit(linked, "/account/identities/unlink")
        assert "The sign-in is no longer connected to your account." in unlinked.text
        assert corp.subject not in unlinked.text
        unknown = await visitor.submit(page, "/account/identities/link", provider="nobody")
        assert unknown.url.path == "/account/identities"
