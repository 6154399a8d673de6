"""The pages of mail links, as in a browser without JavaScript."""

import html
import re

import httpx2
import pytest

from factories import PASSWORD, Person, Service
from flows.mail_support import (
    CONFIRM_NEW,
    RESET,
    VERIFY,
    ask_again,
    ask_for_reset,
    log_in,
    mails_about,
    sign_up,
    token_in,
    verified,
)
from idp.users.one_time_tokens import Purpose

NEW = "a brand new password"
PAGES = ("/verify-email", "/reset-password", "/change-email")


@pytest.fixture
async def person(service: Service) -> Person:
    return await verified(service)


async def asked_for_change(service: Service, person: Person, email: str) -> str:
    body = {"new_email": email, "current_password": PASSWORD}
    assert (await service.client.post("/api/auth/email/change", headers=person.bearer, json=body)).status_code == 200
    return token_in((await mails_about(service, email, CONFIRM_NEW))[0])


def fields(page: httpx2.Response) -> dict[str, str]:
    """Return what the form of a page sends as it stands."""
    inputs = [dict(re.findall(r'([\w-]+)="([^"]*)"', tag)) for tag in re.findall(r"<input ([^>]*)>", page.text)]
    return {each["name"]: html.unescape(each.get("value", "")) for each in inputs}


def heading(page: httpx2.Response) -> str:
    (text,) = re.findall(r"<h1>(.*?)</h1>", page.text)
    return text


async def send(service: Service, path: str, form: dict[str, str], **headers: str) -> httpx2.Response:
    """Send a form as a browser does from a page without a referrer."""
    browser = {"Origin": "null", "Sec-Fetch-Site": "same-origin", **headers}
    return await service.client.post(path, data=form, headers=browser)


async def follow(service: Service, answer: httpx2.Response) -> httpx2.Response:
    """Follow the redirect after a form."""
    assert (answer.status_code, answer.text) == (303, "")
    return await service.client.get(answer.headers["Location"])


# --- what every page keeps -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("query", ["", "?token=dead", "?step=done", "?step=sent", "?step=<script>"])
async def test_every_page_is_private_and_loads_nothing_from_elsewhere(service: Service, path: str, query: str) -> None:
    """SEC-43 SEC-46 SEC-47: no frame, no cache, no referrer, no search engine, no script but ours."""
    page = await service.client.get(path + query)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["X-Frame-Options"] == "DENY"
    assert "noindex" in page.headers["X-Robots-Tag"]
    policy = page.headers["Content-Security-Policy"]
    assert "form-action 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert re.findall(r'(?:src|href|action)="(?!/)', page.text) == []
    assert re.findall(r"<script(?! src)|style=|\son\w+=", page.text) == []
    assert "<script>" not in page.text


async def test_a_token_is_in_the_hidden_field_and_nowhere_else(service: Service, person: Person) -> None:
    """SEC-47: no link, no text and no script holds it."""
    tokens = {
        "/verify-email": await sign_up(service, service.new_email()),
        "/reset-password": await ask_for_reset(service, person.email),
        "/change-email": await asked_for_change(service, person, service.new_email()),
    }
    for path, token in tokens.items():
        page = await service.client.get(path, params={"token": token})
        assert page.status_code == 200
        assert page.text.count(token) == 1
        assert fields(page)["token"] == token


async def test_a_token_that_is_markup_is_not_shown_at_all(service: Service) -> None:
    """SEC-46."""
    for path in PAGES:
        page = await service.client.get(path, params={"token": '"><script>alert(1)</script>'})
        assert page.status_code == 400
        assert "alert" not in page.text


async def test_looking_at_a_page_changes_nothing(service: Service, person: Person) -> None:
    """C-31: scanners and previews may look as often as they like."""
    token = await ask_for_reset(service, person.email)
    for _ in range(3):
        assert (await service.client.get("/reset-password", params={"token": token})).status_code == 200
        assert (await service.client.head("/reset-password", params={"token": token})).status_code in {200, 405}
    page = await service.client.get("/reset-password", params={"token": token})
    done = await send(service, "/reset-password", fields(page) | {"new_password": NEW})
    assert done.status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_a_form_that_another_site_sends_is_refused(
    service: Service, person: Person, headers: dict[str, str]
) -> None:
    """SEC-44."""
    token = await ask_for_reset(service, person.email)
    for path in PAGES:
        form = {"token": token, "new_password": NEW, "current_password": PASSWORD}
        answer = await service.client.post(path, data=form, headers=headers)
        assert answer.status_code == 403
        assert answer.headers["Content-Type"].startswith("text/html")
    assert await log_in(service, person.email) == 200


@pytest.mark.parametrize(
    "content",
    [b"token=a&token=b", b"token=%ff", b"&".join(b"a%d=1" % n for n in range(60))],
)
async def test_an_ambiguous_form_returns_an_error_page(service: Service, content: bytes) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for path in PAGES:
        answer = await service.client.post(path, content=content, headers=headers)
        assert (answer.status_code, heading(answer)) == (400, "The form is invalid")
        answer = await service.client.post(path, json={"token": "x"})
        assert (answer.status_code, heading(answer)) == (400, "The form is invalid")


async def test_an_empty_form_is_a_link_that_does_not_work(service: Service) -> None:
    for path in PAGES:
        answer = await send(service, path, {"token": ""})
        assert (answer.status_code, heading(answer)) == (400, "This link is no longer valid")


# --- /verify-email ---------------------------------------------------------------------------------------------------


async def test_an_address_is_verified_with_one_click(service: Service) -> None:
    """C-31 S4-04: the page names the address; after it, the form is not sent twice."""
    email = service.new_email()
    (mail,) = (await sign_up(service, email), await mails_about(service, email, VERIFY))[1]
    page = await service.client.get(mail["links"][0])
    assert email in page.text
    done = await follow(service, await send(service, "/verify-email", fields(page)))
    assert heading(done) == "Your address is confirmed"
    assert await log_in(service, email, path="/api/auth/login") == 200
    again = await send(service, "/verify-email", fields(page))
    assert (again.status_code, heading(again)) == (400, "This link is no longer valid")


async def test_the_page_of_an_invalid_link_offers_another(service: Service) -> None:
    """What to do next is on the page, and it works there."""
    email = service.new_email()
    await sign_up(service, email)
    page = await service.client.get("/verify-email", params={"token": "0" * 64})
    assert (page.status_code, heading(page)) == (400, "This link is no longer valid")
    sent = await follow(service, await send(service, "/verify-email", {"email": email}))
    assert heading(sent) == "Check your mail"
    assert len(await mails_about(service, email, VERIFY, count=2)) == 2


async def test_the_owner_who_claims_an_account_chooses_a_password(service: Service) -> None:
    """C-11: the stranger's password is gone, so the page leads straight to a new one."""
    stranger = await service.register()
    token = await ask_again(service, stranger.email, count=1)
    page = await service.client.get("/verify-email", params={"token": token})
    choose = await follow(service, await send(service, "/verify-email", fields(page)))
    assert heading(choose) == "Your address is confirmed"
    assert await log_in(service, stranger.email) == 401
    done = await follow(service, await send(service, "/reset-password", fields(choose) | {"new_password": NEW}))
    assert heading(done) == "Your password is saved"
    assert await log_in(service, stranger.email, NEW, path="/api/auth/login") == 200


# --- /reset-password -------------------------------------------------------------------------------------------------


async def test_a_password_is_chosen_with_the_help_of_a_password_manager(service: Service, person: Person) -> None:
    """SEC-5: autocomplete says what is what; the policy is on the page; paste is allowed."""
    token = await ask_for_reset(service, person.email)
    page = await service.client.get("/reset-password", params={"token": token})
    assert 'autocomplete="new-password"' in page.text
    assert re.search(rf'name="username" value="{person.email}" autocomplete="username"', page.text)
    assert 'minlength="8" maxlength="128"' in page.text
    assert "At least 8 characters" in page.text
    assert "onpaste" not in page.text
    done = await follow(service, await send(service, "/reset-password", fields(page) | {"new_password": NEW}))
    assert heading(done) == "Your password is saved"
    assert await log_in(service, person.email, NEW) == 200
    assert (await service.me(person.bearer)).status_code == 401


async def test_a_password_that_is_refused_may_be_tried_again_on_the_same_page(service: Service, person: Person) -> None:
    """C-07: with the reason, and without the password in the page."""
    token = await ask_for_reset(service, person.email)
    page = await service.client.get("/reset-password", params={"token": token})
    refused = await send(service, "/reset-password", fields(page) | {"new_password": "shorty!"})
    assert refused.status_code == 422
    assert "7 characters; choose 8 to 128" in refused.text
    assert 'aria-invalid="true"' in refused.text
    assert "shorty!" not in refused.text
    done = await send(service, "/reset-password", fields(refused) | {"new_password": NEW})
    assert done.status_code == 303


async def test_a_forgotten_password_is_asked_for_on_the_page(service: Service, person: Person) -> None:
    """S4-11: known and unknown addresses look the same."""
    page = await service.client.get("/reset-password")
    assert heading(page) == "Forgot your password?"
    answers = [await send(service, "/reset-password", {"email": e}) for e in (person.email, service.new_email())]
    assert {(a.status_code, a.headers["Location"]) for a in answers} == {(303, "/reset-password?step=sent")}
    assert heading(await follow(service, answers[0])) == "Check your mail"
    (mail,) = await mails_about(service, person.email, RESET)
    assert (await service.client.get(mail["links"][0])).status_code == 200


async def test_an_invitation_welcomes(service: Service) -> None:
    person, core = await service.register(), service.app.core
    async with core.database.transaction() as session:
        token = await core.one_time_tokens.make(session, Purpose.INVITE, user_id=person.id, email=person.email)
    page = await service.client.get("/reset-password", params={"token": token})
    assert heading(page) == "Welcome! Choose a password"


async def test_too_many_requests_are_a_page_too(service: Service) -> None:
    """S4-36."""
    email = service.new_email()
    answers = [await send(service, "/reset-password", {"email": email}) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [303] * 5 + [429]
    assert heading(answers[-1]) == "Too many attempts"
    assert re.search(r"wait \d+ minutes", answers[-1].text)
    assert int(answers[-1].headers["Retry-After"]) > 0


# --- /change-email ---------------------------------------------------------------------------------------------------


async def test_an_address_is_changed_with_the_password_once_more(service: Service, person: Person) -> None:
    """SEC-6: wherever the mail was opened; the link alone is not enough."""
    email = service.new_email()
    page = await service.client.get("/change-email", params={"token": await asked_for_change(service, person, email)})
    assert email in page.text
    assert 'autocomplete="current-password"' in page.text
    wrong = await send(service, "/change-email", fields(page) | {"current_password": "not it"})
    assert wrong.status_code == 422
    assert "That is not the password of this account" in wrong.text
    assert await log_in(service, person.email) == 200
    done = await follow(service, await send(service, "/change-email", fields(wrong) | {"current_password": PASSWORD}))
    assert heading(done) == "Your address was changed"
    assert (await log_in(service, person.email), await log_in(service, email)) == (401, 200)
    assert (await service.me(person.bearer)).status_code == 401
