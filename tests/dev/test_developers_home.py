"""The developer's home: `/` under `idp dev`, only on this machine."""

import html
import re
from collections.abc import AsyncIterator

import pytest

from factories import Service, running
from idp.dev import personas
from idp.dev.embedded import EmbeddedPostgres
from idp.directory import seed
from idp.settings import seed_file
from pages.visitor import Visitor, authorization, heading, new_client, returned

HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.fixture(scope="module")
async def developing(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    """A service with its demo users, as the command makes them."""
    async with running(postgres.create_database("developing")) as service:
        core = service.app.core
        content = seed.read(seed_file(core.settings))
        await personas.prepare(core.database, core.passwords, core.tokens, content, {})
        yield service


@pytest.fixture
async def visitor(developing: Service) -> AsyncIterator[Visitor]:
    async with Visitor(developing, Accept=HTML) as visitor:
        yield visitor


async def test_it_shows_servers_users_clients_and_what_comes_next(developing: Service, visitor: Visitor) -> None:
    client_id = await new_client(developing, name="<b>Notes</b>")
    page = await visitor.open("/")
    assert heading(page) == "idp is running"
    for text in (
        "PostgreSQL",
        "Valkey",
        "ada@example.com",
        client_id,
        "https://app.example.com/callback",
        "/dev/mailbox",
    ):
        assert text in page.text
    assert "&lt;b&gt;Notes" in page.text
    assert developing.database_url not in page.text
    assert page.headers["Cache-Control"] == "no-store"
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert (await visitor.client.get("/", headers={"Accept": "*/*"})).json()["service"] == "auth-service"


async def test_its_tokens_work(developing: Service, visitor: Visitor) -> None:
    page = await visitor.open("/")
    tokens = re.findall(r"<textarea [^>]*>([^<]*)</textarea>", page.text)
    people = [(await developing.me({"Authorization": f"Bearer {token}"})).json()["email"] for token in tokens]
    assert people[0] == "ada@example.com"
    assert len(people) == 4


async def test_one_click_signs_in(developing: Service, visitor: Visitor) -> None:
    page = await visitor.open("/")
    (token,) = set(re.findall(r'name="csrf_token" value="([^"]*)"', page.text))
    form = {"csrf_token": token, "email": "lin@example.com"}
    answer = await visitor.client.post("/dev/sign-in", data=form, headers={"Origin": developing.base_url})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert "Signed in as <strong>Lin Lead</strong>" in (await visitor.open("/")).text


async def test_one_click_signs_in_to_an_app(developing: Service, visitor: Visitor) -> None:
    client_id = await new_client(developing, skip_consent=True)
    page = await visitor.open("/oauth2/authorize", **authorization(client_id))
    action, token = re.findall(
        r'action="(/dev/sign-in[^"]*)"><input type="hidden" name="csrf_token" value="([^"]*)"', page.text
    )[0]
    form = {"csrf_token": token, "email": "ada@example.com"}
    headers = {"Origin": developing.base_url}
    answer = await visitor.client.post(html.unescape(action), data=form, headers=headers)
    assert returned(await visitor.follow(answer))["code"]


@pytest.mark.parametrize(
    ("form", "headers", "status"),
    [
        ({"email": "ada@example.com", "csrf_token": "x"}, {}, 403),
        ({"email": "ada@example.com"}, {}, 403),
        ({"email": "ada@example.com"}, {"Origin": "https://evil.example"}, 403),
        ({"email": "ada@example.com"}, {"Host": "evil.example"}, 404),
    ],
)
async def test_nobody_else_signs_a_browser_in(
    visitor: Visitor, form: dict[str, str], headers: dict[str, str], status: int
) -> None:
    """SEC-44, decision 0010."""
    await visitor.open("/")
    answer = await visitor.client.post("/dev/sign-in", data=form, headers=headers)
    assert answer.status_code == status
    assert "idp_session" not in visitor.client.cookies


async def test_only_demo_users_are_signed_in(developing: Service, visitor: Visitor) -> None:
    person = await developing.register()
    page = await visitor.open("/")
    token = re.findall(r'name="csrf_token" value="([^"]*)"', page.text)[0]
    for email in (person.email, "", "nobody@example.com", "x" * 100_000, "\x00"):
        answer = await visitor.client.post("/dev/sign-in", data={"csrf_token": token, "email": email})
        assert answer.status_code == 404
    assert "idp_session" not in visitor.client.cookies


async def test_another_host_name_sees_nothing(visitor: Visitor) -> None:
    """Decision 0010: DNS rebinding."""
    answer = await visitor.client.get("/", headers={"Host": "evil.example"})
    assert answer.status_code == 404
    assert "ada@example.com" not in answer.text


async def test_production_has_none_of_it(production: Service) -> None:
    """Rule 7."""
    page = await production.client.get("/login")
    assert "demo user" not in page.text
    assert (await production.client.post("/dev/sign-in", data={"email": "ada@example.com"})).status_code == 404
