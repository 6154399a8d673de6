"""The administration of teams, domains, roles, tokens, audit records and explanations, without JavaScript."""

import asyncio
import html
import re
import secrets
from uuid import uuid4

import pytest

from factories import Person, Service
from pages.test_admin_users_pages import send, submit
from pages.visitor import Visitor, heading
from secret_scan import secrets_seen


@pytest.fixture
async def admin(service: Service) -> Person:
    return await service.register_admin()


async def test_a_team_is_created_changed_deactivated_and_has_members(service: Service, admin: Person) -> None:
    person, name = await service.register(), f"Team {secrets.token_hex(4)}"
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        page = await submit(browser, await browser.open("/admin/teams"), "/admin/teams", name=name)
        assert heading(page) == name
        here = page.url.path
        taken = await submit(browser, await browser.open("/admin/teams"), "/admin/teams", name=name)
        assert (taken.status_code, "Another team has this name." in taken.text) == (422, True)
        page = await submit(browser, page, f"{here}/change", name=f"{name}!", external_ref="crm-1")
        page = await submit(browser, page, f"{here}/members/put", member=person.email.upper(), team_role="admin")
        assert person.email in page.text
        unknown = await submit(browser, page, f"{here}/members/put", member="nobody@example.com")
        assert (unknown.status_code, "There is no such user." in unknown.text) == (422, True)
        page = await submit(browser, page, f"{here}/members/put", member=person.id, team_role="member")
        page = await submit(browser, page, f"{here}/members/remove", user_id=person.id)
        assert "No members." in page.text
        page = await submit(browser, page, f"{here}/deactivate")
        assert "inactive" in page.text
        page = await submit(browser, page, f"{here}/activate")
        found = await browser.open("/admin/teams", q=name)
        assert f"{name}!" in html.unescape(found.text)
    target = f"team:{here.rpartition('/')[2]}"
    actions = await service.sql("SELECT action FROM idp.audit_logs WHERE target = $1 ORDER BY timestamp, id", target)
    assert [row["action"] for row in actions] == [
        "team.created", "team.renamed", "team.member_added", "team.member_changed", "team.member_removed",
        "team.deactivated", "team.activated",
    ]  # fmt: skip


async def test_domains_are_a_tree_without_cycles(service: Service, admin: Person) -> None:
    key = f"d{secrets.token_hex(4)}"
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        page = await submit(browser, await browser.open("/admin/domains"), "/admin/domains", key=key, name="Upper")
        upper = page.url.path
        below = {"key": f"{key}-b", "name": "Lower", "parent_domain_id": upper.rpartition("/")[2]}
        page = await submit(browser, await browser.open("/admin/domains"), "/admin/domains", **below)
        lower = page.url.path
        tree = await browser.open("/admin/domains", q=key)
        assert re.search(rf"depth-0.*{upper}.*depth-1.*{lower}", tree.text, re.DOTALL)
        page = await browser.open(upper)
        cycle = await submit(browser, page, f"{upper}/change", parent_domain_id=lower.rpartition("/")[2])
        assert (cycle.status_code, "cannot lie within itself" in cycle.text) == (422, True)
        page = await submit(browser, await browser.open(lower), f"{lower}/change", name="Lower", parent_domain_id="")
        assert "Saved." in page.text
        rows = await service.sql("SELECT parent_domain_id FROM idp.domains WHERE key = $1", f"{key}-b")
        assert rows[0]["parent_domain_id"] is None


async def test_members_of_a_large_team_go_on_page_by_page(service: Service, admin: Person) -> None:
    team = (await service.client.post("/teams", json={"name": f"L {uuid4()}"}, headers=admin.bearer)).json()["id"]
    await service.sql("""
        WITH people AS (
            INSERT INTO idp.users (id, email, email_key, email_verified, login_type, plan, is_active, version,
                                   password_version, created_at, updated_at)
            SELECT 'member-' || n, address, address, false, 'email', 'FREE', true, 1, 1, now(), now()
              FROM generate_series(1, 130) n, LATERAL (VALUES
                   (CASE WHEN n % 3 > 0 THEN 'member-' || n || '@example.com' END)) a (address) RETURNING id)
        INSERT INTO idp.team_memberships (id, user_id, team_id, created_at, updated_at)
        SELECT gen_random_uuid(), id, $1::text::uuid, now(), now() FROM people
    """, team)  # fmt: skip
    seen: list[str] = []
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        page = await browser.open(f"/admin/teams/{team}")
        while True:
            seen += re.findall(r'href="/admin/users/(member-\d+)"', page.text)
            following = re.search(r'href="([^"]*)"[^>]*rel="next"', page.text)
            if following is None:
                break
            page = await browser.open(html.unescape(following[1]))
    assert len(seen) == len(set(seen)) == 130


async def test_roles_have_a_meaning_and_a_number_of_users(service: Service, admin: Person) -> None:
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        page = await browser.open("/admin/roles")
        assert "Manages users, teams, domains and this service." in page.text
        assert re.search(r'href="/admin/users\?role=admin">Users: \d+', page.text)


async def test_a_service_token_is_shown_once_extended_and_revoked(service: Service, admin: Person) -> None:
    name = f"robot-{secrets.token_hex(4)}"
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        page = await browser.open("/admin/keys")
        fields = {"name": name, "scope.idp:introspect": "on", "scopes": "reports:read", "ttl_days": "30"}
        made = await submit(browser, page, "/admin/keys", **fields)
        (token,) = re.findall(r'<code class="secret"[^>]*>([^<]*)</code>', made.text)
        secrets_seen.add(token, "service token")
        assert made.headers["Cache-Control"] == "no-store"
        validated = await service.client.get("/auth/me", headers={"Authorization": f"Bearer {token}"})
        assert validated.status_code in {200, 403}
        page = await browser.open("/admin/keys")
        assert token not in page.text
        assert name in page.text
        taken = await submit(browser, page, "/admin/keys", name=name)
        assert (taken.status_code, "has this name" in taken.text) == (422, True)
        rows = await service.sql("SELECT id::text, scopes FROM idp.api_keys WHERE name = $1", name)
        assert set(rows[0]["scopes"]) == {"idp:introspect", "reports:read"}
        page = await submit(browser, page, "/admin/keys/extend", token_id=rows[0]["id"], extend_days="5")
        assert "is extended" in page.text
        page = await submit(browser, page, "/admin/keys/revoke", token_id=rows[0]["id"], reason="old")
        assert "is revoked" in page.text
        again = await send(browser, await browser.open("/admin/keys"), "/admin/keys", name="a\u202eb")
        assert again.status_code == 422
    refused = await service.client.get("/auth/me", headers={"Authorization": f"Bearer {token}"})
    assert refused.status_code == 401


async def test_a_users_key_is_found_by_what_is_known_of_it(service: Service, admin: Person) -> None:
    person = await service.register()
    name = f"key-{secrets.token_hex(4)}"
    made = await service.client.post("/v1/api-keys", json={"name": name, "scopes": ["read"]}, headers=person.bearer)
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        for known in (made.json()["key_id"], made.json()["prefix"], name):
            assert f"/admin/users/{person.id}#keys" in (await browser.open("/admin/keys", q=known)).text
        assert "No key matches." in (await browser.open("/admin/keys", q="nothing")).text


async def test_audit_records_are_filtered_and_their_chain_is_proven(service: Service, admin: Person) -> None:
    person = await service.register()
    for number in range(60):
        body = {"name": f"Name {number}"}
        await service.client.patch("/v1/me", json=body, headers=person.bearer)
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        page = await browser.open("/admin/audit", user=person.id, action="user.changed")
        seen = len(re.findall(r"<strong>user.changed</strong>", page.text))
        following = re.search(r'href="([^"]*)"[^>]*rel="next"', page.text)
        assert following is not None
        page = await browser.open(html.unescape(following[1]))
        seen += len(re.findall(r"<strong>user.changed</strong>", page.text))
        assert seen == 60
        assert re.search(r"hash chain verified for the records shown: \d+", page.text)
        assert (
            "No record matches." in (await browser.open("/admin/audit", user=person.id, until="2020-01-01T00:00")).text
        )
        assert (await browser.open("/admin/audit", since="yesterday")).status_code == 422


async def test_audit_records_name_users_by_their_addresses(own_service: Service) -> None:
    """And are found by them; a deleted user has no address any more, and stays an id."""
    service = own_service
    admin, person = await service.register_admin(), await service.register()
    await service.client.patch("/v1/me", json={"name": "Another"}, headers=person.bearer)
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        for filters in ({"user": person.email}, {"actor": person.email.upper()}, {"actor": f"user:{person.id}"}):
            page = await browser.open("/admin/audit", action="user.changed", **filters)
            assert len(re.findall(r"<strong>user.changed</strong>", page.text)) == 1, filters
            assert f">{person.email}</a>" in page.text
            assert f"/admin/audit?actor=user%3A{person.id}" in page.text
        assert f">{person.email}</a>" in (await browser.open(f"/admin/users/{person.id}")).text
        nobody = await browser.open("/admin/audit", user="nobody@example.com", action="user.changed")
        assert "No record matches." in nobody.text
        gone = await service.client.delete(f"/api/auth/admin/users/{person.id}", headers=admin.bearer)
        assert gone.status_code in {200, 204}, gone.text
        page = await browser.open("/admin/audit", user=person.id, action="user.changed")
        assert person.email not in page.text
        assert f">{person.id}</a>" in page.text


async def test_a_changed_record_is_seen_on_its_page(own_service: Service) -> None:
    service = own_service
    admin, person = await service.register_admin(), await service.register()
    unlinked = (
        "SELECT FROM idp.audit_logs a WHERE user_id = $1"
        " AND NOT EXISTS (SELECT FROM idp.audit_chain c WHERE c.audit_id = a.id)"
    )
    async with asyncio.timeout(20):
        while await service.sql(unlinked, person.id):  # noqa: ASYNC110  the chain works in the background
            await asyncio.sleep(0.05)
    await service.sql("ALTER TABLE idp.audit_logs DISABLE TRIGGER USER")
    await service.sql("UPDATE idp.audit_logs SET details = '{\"forged\": true}' WHERE user_id = $1", person.id)
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        assert "do not match the hash chain" in (await browser.open("/admin/audit", user=person.id)).text


async def test_a_pasted_credential_is_explained_and_never_shown(service: Service, admin: Person) -> None:
    """SEC: neither on the page, nor in a draft, nor in the record of who looked."""
    person = await service.register()
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        page = await browser.open("/admin/explain")
        fields = {"credential": person.token, "route": "POST /teams"}
        told = await submit(browser, page, "/admin/explain/credential", **fields)
        assert told.status_code == 200
        assert person.email in told.text
        assert "admin_required" in told.text
        assert person.token not in told.text
        bad = await submit(browser, page, "/admin/explain/credential", credential=person.token[:-6])
        assert (bad.status_code, person.token[:40] in bad.text) == (200, False)
        wrong = await submit(browser, page, "/admin/explain/credential", credential=person.token, route="nonsense")
        assert (wrong.status_code, person.token in wrong.text) == (422, False)
    records = await service.sql(
        "SELECT details::text FROM idp.audit_logs WHERE actor = $1 AND action = 'credential.explained'",
        f"user:{admin.id}",
    )
    assert records
    assert all(person.token not in row["details"] for row in records)


async def test_a_user_and_a_route_are_explained(service: Service, admin: Person) -> None:
    person = await service.register()
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        page = await browser.open("/admin/explain", user=person.id)
        assert person.id in page.text
        fields = {"person": person.email, "person_route": "DELETE /api/auth/admin/users/x"}
        refused = await submit(browser, page, "/admin/explain/user", **fields)
        assert "admin_required" in refused.text
        fields = {"person": admin.email, "person_route": "DELETE /api/auth/admin/users/x"}
        admitted = await submit(browser, page, "/admin/explain/user", **fields)
        assert ">admitted<" in admitted.text
        assert (await submit(browser, page, "/admin/explain/user", person="nobody")).status_code == 422
    records = await service.sql(
        "SELECT FROM idp.audit_logs WHERE user_id = $1 AND action = 'user.explained'", person.id
    )
    assert len(records) == 1


async def test_the_overview_says_what_needs_attention(own_service: Service) -> None:
    service = own_service
    admin = await service.register_admin()
    await service.sql("DELETE FROM idp.user_roles WHERE role = 'admin' AND user_id <> $1", admin.id)
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        page = await browser.open("/admin")
        assert "Only 1 active administrator" in page.text
        assert "command_processor" in page.text
