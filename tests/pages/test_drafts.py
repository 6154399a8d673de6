"""What was entered in a form whose session ended while it was open is not lost, and nobody else sees it."""

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx2
import pytest

from factories import PASSWORD, Person, Service
from idp import clock
from idp.pages.drafts import Drafts
from pages.visitor import Visitor, form_of

PATH = "/account/profile"
ENTERED = {"name": "Pat <b>Q</b>", "avatar_url": ""}
KEPT = "What you had entered is still here"


@pytest.fixture
async def own(service: Service) -> AsyncIterator[tuple[Visitor, Person]]:
    """A browser that is signed in, and its person."""
    async with Visitor(service) as visitor:
        person = await service.register(name="Pat Person")
        await visitor.sign_in(person)
        yield visitor, person


async def end_sessions(service: Service, person: Person) -> None:
    await service.sql(
        "UPDATE idp.user_sessions SET ended_at = now(), ended_reason = 'test' WHERE user_id = $1 AND ended_at IS NULL",
        person.id,
    )


async def sign_in(visitor: Visitor, page: httpx2.Response, person: Person) -> httpx2.Response:
    """Fill in the sign-in form that a page turned into, and follow it."""
    assert page.url.path == "/login"
    return await visitor.send(page, email=person.email, password=PASSWORD)


async def test_a_session_that_ends_while_a_form_is_open_loses_no_text(
    service: Service, own: tuple[Visitor, Person]
) -> None:
    """Nothing is saved before the form is sent again, and the second visit is empty."""
    visitor, person = own
    page = await visitor.open(PATH)
    await end_sessions(service, person)
    shown = await sign_in(visitor, await visitor.submit(page, PATH, **ENTERED), person)
    assert (shown.url.path, KEPT in shown.text) == (PATH, True)
    assert form_of(shown, PATH).fields["name"] == ENTERED["name"]
    assert "<b>Q</b>" not in shown.text
    assert (await visitor.client.get("/auth/me")).json()["name"] == "Pat Person"
    saved = await visitor.submit(shown, PATH)
    assert form_of(saved, PATH).fields["name"] == ENTERED["name"]
    assert KEPT not in (await visitor.open(PATH)).text


async def test_another_person_who_signs_in_does_not_see_it(service: Service, own: tuple[Visitor, Person]) -> None:
    visitor, person = own
    page = await visitor.open(PATH)
    await end_sessions(service, person)
    other = await service.register(name="Olga Other")
    shown = await sign_in(visitor, await visitor.submit(page, PATH, **ENTERED), other)
    assert (KEPT in shown.text, form_of(shown, PATH).fields["name"]) == (False, "Olga Other")


async def test_a_form_of_an_earlier_session_in_another_tab_is_shown_again(own: tuple[Visitor, Person]) -> None:
    """The person signed in again meanwhile: the token of the form is that of the session before."""
    visitor, person = own
    page = await visitor.open(PATH)
    await visitor.sign_in(person)
    shown = await visitor.submit(page, PATH, **ENTERED)
    assert (shown.url.path, KEPT in shown.text) == (PATH, True)
    assert form_of(shown, PATH).fields["name"] == ENTERED["name"]


async def test_a_form_of_another_person_in_another_tab_is_not_filled_in(
    service: Service, own: tuple[Visitor, Person]
) -> None:
    visitor, _ = own
    page = await visitor.open(PATH)
    await visitor.sign_in(await service.register(name="Olga Other"))
    shown = await visitor.submit(page, PATH, **ENTERED)
    assert (KEPT in shown.text, form_of(shown, PATH).fields["name"]) == (False, "Olga Other")


async def test_passwords_and_codes_are_not_kept(service: Service, own: tuple[Visitor, Person]) -> None:
    """The address is shown again; what is secret has to be entered again."""
    visitor, person = own
    page = await visitor.open("/account/email")
    await end_sessions(service, person)
    entered = {"new_email": "new@example.com", "current_password": PASSWORD}
    login = await visitor.submit(page, "/account/email", **entered)
    opened = service.app.core.sealer.open(visitor.client.cookies["idp_draft"], purpose="draft")
    assert opened is not None
    assert b"new@example.com" in opened
    for secret in (PASSWORD, form_of(page, "/account/email").fields["csrf_token"]):
        assert secret.encode() not in opened
    shown = await sign_in(visitor, login, person)
    fields = form_of(shown, "/account/email").fields
    assert (fields["new_email"], fields["current_password"]) == ("new@example.com", "")


async def test_a_fresh_login_on_the_way_loses_no_text_either(service: Service, own: tuple[Visitor, Person]) -> None:
    """C-33: the form asks for a recent sign-in only when it is sent."""
    visitor, person = own
    page = await visitor.open("/account/email")
    old = "UPDATE idp.user_sessions SET auth_time = now() - interval '1 hour' WHERE user_id = $1"
    await service.sql(old, person.id)
    login = await visitor.submit(page, "/account/email", new_email="later@example.com", current_password=PASSWORD)
    shown = await sign_in(visitor, login, person)
    assert form_of(shown, "/account/email").fields["new_email"] == "later@example.com"


async def test_a_draft_of_another_page_or_from_long_ago_is_not_shown(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = service.app.core
    drafts = Drafts(core.sealer, core.origins)
    (cookie,) = drafts.keep(PATH, {"name": "Pat", "form_user": "u1", "csrf_token": "t"})
    cookies = {drafts.name: cookie.value or ""}
    assert drafts.take(cookies, PATH, "u1")[0] == {"name": "Pat"}
    assert drafts.take(cookies, "/account/keys/new", "u1")[0] == {}
    assert drafts.take(cookies, PATH, "u2")[0] == {}
    assert drafts.take({drafts.name: "forged"}, PATH, "u1")[0] == {}
    later = clock.now() + timedelta(minutes=31)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert drafts.take(cookies, PATH, "u1")[0] == {}
    assert drafts.keep(PATH, {"name": "x" * 5000, "form_user": "u1"}) == [], "no browser keeps so long a cookie"
