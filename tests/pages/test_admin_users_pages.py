"""The administration of users, as in a browser without JavaScript."""

import html
import re

import httpx2
import pytest

from factories import Person, Service
from pages.visitor import Visitor, heading

MARKUP = '<img src=x onerror="alert(1)">'


async def submit(browser: Visitor, page: httpx2.Response, path: str, **values: str) -> httpx2.Response:
    """Send the form of a page that posts to a path, and follow its redirect."""
    return await browser.follow(await send(browser, page, path, **values))


async def send(browser: Visitor, page: httpx2.Response, path: str, **values: str) -> httpx2.Response:
    """Send the form of a page that posts to a path."""
    assert f'action="{path}"' in page.text, path
    token = re.search(r'name="csrf_token" value="([^"]*)"', page.text)
    assert token is not None
    sent = {"csrf_token": html.unescape(token[1])} | values
    return await browser.client.post(path, data=sent, headers={"Origin": browser.service.base_url})


async def actions_about(service: Service, user_id: str) -> list[str]:
    rows = await service.sql("SELECT action FROM idp.audit_logs WHERE user_id = $1 ORDER BY timestamp", user_id)
    return [row["action"] for row in rows]


@pytest.fixture
async def admin(service: Service) -> Person:
    return await service.register_admin()


async def test_only_administrators_see_the_administration(service: Service) -> None:
    pages = ("", "/users", "/users/invite", "/teams", "/domains", "/roles", "/keys", "/audit", "/explain")
    async with Visitor(service) as browser:
        for path in pages:
            answer = await browser.client.get(f"/admin{path}")
            assert (answer.status_code, answer.headers["Location"].split("?")[0]) == (303, "/login")
        await browser.sign_in(await service.register())
        for path in pages:
            assert (await browser.client.get(f"/admin{path}")).status_code == 403


async def test_every_page_opens_in_every_language(service: Service, admin: Person) -> None:
    for language in ("en", "de"):
        async with Visitor(service, **{"Accept-Language": language}) as browser:
            await browser.sign_in(admin)
            paths = ["", "/users", "/users/invite", "/teams", "/domains", "/roles", "/keys", "/audit", "/explain"]
            for path in [*paths, f"/users/{admin.id}"]:
                page = await browser.open(f"/admin{path}")
                assert (page.status_code, page.headers["Content-Language"]) == (200, language), (path, page.text)
                assert re.findall(r"<script(?! src)|\sstyle=|\son\w+=", page.text) == []


async def test_users_are_found_by_a_part_of_their_address_and_by_role(service: Service, admin: Person) -> None:
    person = await service.register(name="Zoe Zebra")
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        found = await browser.open("/admin/users", q=person.email.split("@")[0])
        assert person.id in found.text
        assert person.id not in (await browser.open("/admin/users", q="nobody-at-all")).text
        assert "No user matches." in (await browser.open("/admin/users", q=person.email, role="admin")).text
        assert person.id in (await browser.open("/admin/users", q=person.email, role="user", active="yes")).text


async def test_the_list_goes_on_page_by_page_without_gaps(service: Service, admin: Person) -> None:
    """Keyset paging: every user is on one page exactly, and new ones in between move none."""
    await service.sql("""
        INSERT INTO idp.users (id, email, email_key, email_verified, login_type, plan, is_active, version,
                               password_version, created_at, updated_at)
        SELECT 'page-' || n, address, address, false, 'email', 'FREE', true, 1, 1, now(), now()
          FROM generate_series(1, 120) n, LATERAL (VALUES
               (CASE WHEN n % 3 > 0 THEN 'page-' || n || '@example.com' END)) a (address)
    """)
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        seen: list[str] = []
        page = await browser.open("/admin/users", q="page-")
        while True:
            seen += re.findall(r'href="/admin/users/(page-\d+)"', page.text)
            following = re.search(r'href="([^"]*)"[^>]*rel="next"', page.text)
            if following is None:
                break
            page = await browser.open(html.unescape(following[1]))
    assert sorted(seen) == sorted(f"page-{n}" for n in range(1, 121) if n % 3 > 0)


async def test_a_user_is_invited_and_what_was_entered_comes_back_with_an_error(service: Service, admin: Person) -> None:
    email = service.new_email()
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        page = await browser.open("/admin/users/invite")
        wrong = await submit(browser, page, "/admin/users/invite", email="not an address", name=MARKUP)
        assert wrong.status_code == 422
        assert "E-mail address" in wrong.text
        assert html.escape(MARKUP) in wrong.text or "&lt;img" in wrong.text
        assert "<img src=x" not in wrong.text
        fields = {"email": email, "name": "Ina Invited", "plan": "PRO", "role.user": "on", "other_roles": "analyst"}
        made = await submit(browser, page, "/admin/users/invite", **fields)
        assert heading(made) == "Ina Invited"
        taken = await submit(browser, page, "/admin/users/invite", email=admin.email)
        assert (taken.status_code, "already an account" in taken.text) == (422, True)
    rows = await service.sql("SELECT id, plan FROM idp.users WHERE email = $1", email)
    assert rows[0]["plan"] == "PRO"
    roles = await service.sql("SELECT role FROM idp.user_roles WHERE user_id = $1 ORDER BY role", rows[0]["id"])
    assert [row["role"] for row in roles] == ["analyst", "user"]
    assert "user.invited" in await actions_about(service, rows[0]["id"])


async def test_an_administrator_changes_disables_enables_and_deletes_a_user(service: Service, admin: Person) -> None:
    person = await service.register()
    here = f"/admin/users/{person.id}"
    body = {"name": "laptop", "scopes": ["read"]}
    made = (await service.client.post("/v1/api-keys", json=body, headers=person.bearer)).json()
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        page = await browser.open(here)
        assert made["prefix"] in page.text
        page = await submit(browser, page, f"{here}/profile", name="Renamed", plan="BASIC")
        assert (heading(page), "Saved." in page.text) == ("Renamed", True)
        page = await submit(browser, page, f"{here}/roles", **{"role.user": "on", "other_roles": "analyst, auditor"})
        page = await submit(browser, page, f"{here}/keys/revoke", key_id=made["key_id"])
        assert "The key is revoked." in page.text
        opened = page
        page = await submit(browser, page, f"{here}/sessions/end", session_id=person.session_id)
        assert (await service.me(person.bearer)).status_code == 401
        gone = await submit(browser, opened, f"{here}/sessions/end", session_id=person.session_id)
        assert (gone.status_code, "has ended already" in gone.text) == (422, True)
        page = await submit(browser, page, f"{here}/disable")
        page = await submit(browser, page, f"{here}/enable")
        wrong = await submit(browser, page, f"{here}/delete", confirm="something else")
        assert wrong.status_code == 422
        deleted = await submit(browser, page, f"{here}/delete", confirm=person.email)
        assert "The user is deleted." in deleted.text
        assert (await browser.open(here)).status_code == 404
    actions = await actions_about(service, person.id)
    for action in ("user.changed", "user.roles_changed", "api_key.revoked", "session.ended", "user.disabled"):
        assert action in actions
    assert actions[-1] == "user.deleted"
    actors = await service.sql(
        "SELECT actor FROM idp.audit_logs WHERE user_id = $1 AND action = 'user.deleted'", person.id
    )
    assert actors[0]["actor"] == f"user:{admin.id}"


async def test_teams_and_domains_of_a_user_are_added_and_removed(service: Service, admin: Person) -> None:
    person = await service.register()
    here = f"/admin/users/{person.id}"
    team = await service.client.post("/teams", json={"name": f"Team {person.id}"}, headers=admin.bearer)
    key = f"k-{person.id}"
    domain = await service.client.post("/domains", json={"key": key, "name": "Field"}, headers=admin.bearer)
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        page = await browser.open(here)
        page = await submit(browser, page, f"{here}/teams/add", team=f"Team {person.id}", team_role="admin")
        page = await submit(browser, page, f"{here}/domains/add", domain=key)
        assert "Team, as admin" in page.text
        unknown = await submit(browser, page, f"{here}/teams/add", team="No such team")
        assert (unknown.status_code, "There is no such team." in unknown.text) == (422, True)
        page = await submit(browser, page, f"{here}/teams/remove", team_id=team.json()["id"])
        page = await submit(browser, page, f"{here}/domains/remove", domain_id=domain.json()["id"])
        assert f"Team {person.id}" not in page.text
        assert f">{key}<" not in page.text


async def test_html_in_every_text_field_is_shown_escaped(service: Service, admin: Person) -> None:
    """SEC-46: names of users, teams, domains and keys are text, also in the history."""
    person = await service.register(name=MARKUP)
    body = {"name": MARKUP, "scopes": ["read"]}
    await service.client.post("/v1/api-keys", json=body, headers=person.bearer)
    team = await service.client.post("/teams", json={"name": MARKUP + person.id}, headers=admin.bearer)
    domain = {"key": f"m-{person.id}", "name": MARKUP}
    await service.client.post("/domains", json=domain, headers=admin.bearer)
    await service.client.put(f"/teams/{team.json()['id']}/members/{person.id}", json={}, headers=admin.bearer)
    await service.client.post("/auth/tokens", json={"name": MARKUP + person.id, "scopes": []}, headers=admin.bearer)
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        paths = [f"/users/{person.id}", "/users?q=" + person.email, "/teams", "/domains", "/keys", "/audit"]
        for path in [
            *paths,
            f"/teams/{team.json()['id']}",
            "/users?q=%3Cimg%20src%3Dx",
            "/audit?action=%3Cimg%20src%3Dx",
        ]:
            page = await browser.open(f"/admin{path}")
            assert page.status_code == 200
            assert "<img src=x" not in page.text, path
            assert "&lt;img" in page.text, path


async def test_the_last_administrator_is_neither_demoted_nor_disabled_nor_deleted(own_service: Service) -> None:
    """The page says why, and nothing is half-done."""
    service = own_service
    admin = await service.register_admin()
    await service.sql("DELETE FROM idp.user_roles WHERE role = 'admin' AND user_id <> $1", admin.id)
    here = f"/admin/users/{admin.id}"
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        page = await browser.open(here)
        for path, values in (
            (f"{here}/roles", {"role.user": "on"}),
            (f"{here}/disable", {}),
            (f"{here}/delete", {"confirm": admin.email}),
        ):
            refused = await send(browser, page, path, **values)
            assert (refused.status_code, "last active administrator" in refused.text) == (422, True), path
        assert (await browser.open(here)).status_code == 200


async def test_an_administrator_who_lost_the_role_changes_nothing(service: Service, admin: Person) -> None:
    """The page was open while another administrator took the role away."""
    person = await service.register()
    here = f"/admin/users/{person.id}"
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        page = await browser.open(here)
        await service.sql("DELETE FROM idp.user_roles WHERE user_id = $1 AND role = 'admin'", admin.id)
        refused = await send(browser, page, f"{here}/disable")
        assert refused.status_code == 403
        assert heading(refused) != ""
    assert (await service.me(person.bearer)).status_code == 200


async def test_a_form_without_the_token_of_the_session_changes_nothing(service: Service, admin: Person) -> None:
    person = await service.register()
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        path = f"/admin/users/{person.id}/disable"
        without = await browser.client.post(path, data={"x": "y"}, headers={"Origin": service.base_url})
        assert without.status_code == 303
        elsewhere = await browser.client.post(path, data={"x": "y"}, headers={"Origin": "https://evil.example"})
        assert elsewhere.status_code == 403
    assert (await service.me(person.bearer)).status_code == 200


@pytest.mark.parametrize("path", [
    "/admin/users?q=%00", "/admin/users?after=%00nobody", "/admin/users?role=%00", "/admin/audit?cursor=%%%",
    "/admin/audit?since=yesterday", "/admin/audit?user=%00", "/admin/users/nobody",
    "/admin/teams/01990c7e-0000-7000-8000-000000000001", "/admin/keys?q=%00&after=x",
])  # fmt: skip
async def test_bad_addresses_are_answered_by_a_page(service: Service, admin: Person, path: str) -> None:
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        answer = await browser.client.get(path)
        assert answer.status_code < 500, answer.text
        assert answer.headers["Content-Type"].startswith("text/html")


async def test_text_that_no_column_takes_is_refused_with_a_page(service: Service, admin: Person) -> None:
    here = f"/admin/users/{(await service.register()).id}"
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        page = await browser.open(here)
        for path, values in (
            (f"{here}/profile", {"name": "a\x00b"}),
            (f"{here}/profile", {"plan": "GOLD"}),
            (f"{here}/roles", {"other_roles": "Not-A-Role"}),
            (f"{here}/teams/add", {"team": "a\x00b"}),
            (f"{here}/teams/remove", {"team_id": "x"}),
            (f"{here}/sessions/end", {"session_id": "x"}),
        ):
            refused = await send(browser, page, path, **values)
            assert refused.status_code in {400, 422}, (path, refused.status_code)


async def test_htmx_gets_the_list_only(service: Service, admin: Person) -> None:
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        part = await browser.client.get("/admin/users", headers={"HX-Request": "true"})
        assert "<html" not in part.text
        assert (
            admin.id
            in (
                await browser.client.get("/admin/users", params={"q": admin.email}, headers={"HX-Request": "true"})
            ).text
        )
        restored = {"HX-Request": "true", "HX-History-Restore-Request": "true"}
        assert "<html" in (await browser.client.get("/admin/users", headers=restored)).text


async def test_lost_second_factors_are_reset_with_a_reason(service: Service, admin: Person) -> None:
    person = await service.register()
    here = f"/admin/users/{person.id}"
    await service.sql(
        "INSERT INTO idp.totp_secrets (user_id, secret, algorithm, digits, period, last_step, created_at)"
        " VALUES ($1, 'sealed', 'SHA1', 6, 30, 0, now())",
        person.id,
    )
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        page = await browser.open(here)
        without = await submit(browser, page, f"{here}/factors/reset", factors_reason="")
        assert without.status_code == 422
        page = await submit(browser, page, f"{here}/factors/reset", factors_reason="Lost phone, met in person")
        assert "No second factor." in page.text
    assert (await service.me(person.bearer)).status_code == 401


async def test_what_was_entered_survives_a_session_that_ends(service: Service, admin: Person) -> None:
    async with Visitor(service) as browser:
        await browser.sign_in(admin)
        page = await browser.open("/admin/users/invite")
        await service.sql(
            "UPDATE idp.user_sessions SET ended_at = now(), ended_reason = 'test' WHERE user_id = $1", admin.id
        )
        fields = {"form_user": admin.id, "email": "late@example.com", "name": "Late Guest", "role.admin": "on"}
        signing_in = await submit(browser, page, "/admin/users/invite", **fields)
        assert signing_in.url.path == "/login"
        back = await browser.send(signing_in, email=admin.email, password=admin.password)
        assert back.url.path == "/admin/users/invite"
        assert "Late Guest" in back.text
        assert 'name="role.admin" checked' in back.text
    assert await service.sql("SELECT FROM idp.users WHERE email = 'late@example.com'") == []
