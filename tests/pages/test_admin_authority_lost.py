"""An administrator who loses the role while a form waits for a lock changes nothing: the page says so."""

import asyncio
import html
import re
from collections.abc import AsyncIterator

import asyncpg
import httpx2
import pytest

from factories import Service, running
from idp.dev.embedded import EmbeddedPostgres
from pages.visitor import Visitor, heading

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
FORMS = (
    ("users/{user}/profile", {"plan": "PRO"}),
    ("users/{user}/roles", {"role.user": "on", "role.admin": "on"}),
    ("users/{user}/disable", {}),
    ("users/{user}/delete", {"confirm": "{email}"}),
    ("users/{user}/sessions/end", {}),
    ("users/{user}/teams/add", {"team": "{team}"}),
    ("users/invite", {"email": "new@example.com"}),
    ("teams", {"name": "Another"}),
    ("domains", {"key": "another", "name": "Another"}),
    ("teams/{team_id}/members/put", {"member": "{user}"}),
    ("teams/{team_id}/deactivate", {}),
    ("keys", {"name": "robot"}),
)


@pytest.fixture(scope="module")
async def own(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    """A service of its own: a whole table is locked here."""
    async with running(postgres.create_database("admin_authority")) as service:
        yield service


@pytest.mark.parametrize(("path", "fields"), FORMS, ids=[path for path, _ in FORMS])
async def test_a_form_that_waited_while_the_role_was_taken_changes_nothing(
    own: Service, path: str, fields: dict[str, str]
) -> None:
    admin, person = await own.register_admin(), await own.register()
    made = await own.client.post("/teams", json={"name": f"Waiting {person.id}"}, headers=admin.bearer)
    names = {"user": person.id, "email": person.email, "team": f"Waiting {person.id}", "team_id": made.json()["id"]}
    async with Visitor(own) as browser:
        await browser.sign_in(admin)
        page = await browser.open("/admin/teams")  # and the session is remembered
        token = re.search(r'name="csrf_token" value="([^"]*)"', page.text)
        assert token is not None
        sent = {name: text.format(**names) for name, text in fields.items()} | {"csrf_token": html.unescape(token[1])}
        before = await changes(own)
        answer = await lose_role(own, admin.id, browser, f"/admin/{path.format(**names)}", sent)
        assert (answer.status_code, heading(answer)) == (403, "Only for administrators"), answer.text
        assert await changes(own) == before


async def changes(service: Service) -> int:
    rows = await service.sql("SELECT count(*) AS n FROM idp.audit_logs")
    return int(rows[0]["n"])


async def lose_role(
    service: Service, admin_id: str, browser: Visitor, path: str, sent: dict[str, str]
) -> httpx2.Response:
    """Send a form, take the role away while the form waits, and return the answer."""
    connection = await asyncpg.connect(service.database_url)
    try:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("LOCK TABLE idp.users IN ACCESS EXCLUSIVE MODE")
        calling = asyncio.create_task(browser.client.post(path, data=sent, headers={"Origin": service.base_url}))
        for _ in range(300):
            if await connection.fetchval(WAITING) or calling.done():
                break
            await asyncio.sleep(0.01)
        assert not calling.done(), f"it waited for nothing: {calling.result().text}"
        await connection.execute("DELETE FROM idp.user_roles WHERE user_id = $1 AND role = 'admin'", admin_id)
        await transaction.commit()
        return await calling
    finally:
        await connection.close()
