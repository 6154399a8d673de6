"""HTML in every text that somebody chose is text on every page, in both languages (SEC-46)."""

import re

import pytest

from factories import PASSWORD, Person, Service
from idp.principal.guards import policies
from idp.provider.consents import grant
from pages.visitor import Visitor, new_client

EVIL = "<img src=x onerror=alert(1)>"
QUOTE = '"><script>alert(2)</script>'


@pytest.fixture(scope="module")
async def people(service: Service) -> tuple[Person, Person]:
    """A person and an administrator whose every text is HTML."""
    person, admin = await service.register(name=EVIL), await service.register_admin()
    await service.sql("UPDATE idp.users SET name = $2 WHERE id = $1", admin.id, EVIL)
    body = {"name": EVIL, "scopes": ["<b>"]}
    made = await service.client.post("/v1/api-keys", json=body, headers=person.bearer)
    assert made.status_code == 201, made.text
    login = {"email": person.email, "password": PASSWORD, "device_info": {"name": EVIL}}
    await service.client.post("/auth/login", json=login, headers={"User-Agent": f"{EVIL} {QUOTE}"})
    client_id = await new_client(service, name=EVIL)
    async with service.app.core.database.transaction() as session:
        await grant(session, person.id, client_id, ["openid", "x:<b>"])
    await service.sql(
        "INSERT INTO idp.identities (id, user_id, provider, subject, created_at)"
        " VALUES (gen_random_uuid(), $1, $2, $2, now())",
        person.id,
        EVIL,
    )
    acted = {"reason": f"because of {EVIL}"}
    answer = await service.client.post(f"/api/auth/admin/users/{person.id}/act", json=acted, headers=admin.bearer)
    assert answer.status_code == 201, answer.text
    return person, admin


@pytest.mark.parametrize("language", ["en", "de"])
async def test_html_in_texts_is_text_on_every_page_of_the_account_and_the_administration(
    service: Service, people: tuple[Person, Person], language: str
) -> None:
    person, admin = people
    shown = 0
    for who in (person, admin):
        async with Visitor(service, **{"Accept-Language": language}) as visitor:
            await visitor.sign_in(who)
            for line in policies(service.app):
                if line.method != "GET" or not str(line.policy).endswith("by session cookie"):
                    continue
                if line.path == "/account/data/export":
                    continue  # JSON
                path = re.sub(r"\{user_id:\w+\}", person.id, line.path)
                page = await visitor.open(re.sub(r"\{[^}]*\}", "01990c7e-0000-7000-8000-000000000001", path))
                assert page.status_code < 500, (path, page.text)
                assert "<img src=x" not in page.text, path
                assert "<script>alert" not in page.text, path
                assert "<b>" not in page.text, path
                shown += "&lt;img src=x" in page.text
    assert shown > 8


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("/account/profile", {"name": QUOTE, "avatar_url": QUOTE}),
        ("/account/email", {"new_email": QUOTE, "current_password": "x"}),
        ("/account/keys/new", {"name": QUOTE, "scopes": QUOTE}),
        ("/account/delete", {"confirm": QUOTE}),
    ],
)
async def test_what_was_entered_is_shown_again_as_text(service: Service, path: str, values: dict[str, str]) -> None:
    async with Visitor(service) as visitor:
        await visitor.sign_in(await service.register())
        page = await visitor.submit(await visitor.open(path), path, **values)
        assert page.status_code == 422
        assert "<script>alert" not in page.text
