"""Change of address (SEC-6): requires the password and a link to the new address; the old address gets a notice."""

import asyncio
import secrets

import httpx2
import pytest

from factories import PASSWORD, Person, Service
from flows.mail_support import (
    CONFIRM_NEW,
    INVALID,
    ask_for_reset,
    log_in,
    mails,
    mails_about,
    make_key,
    refused,
    reset,
    token_in,
    verified,
)
from idp.users.one_time_tokens import Purpose

PATH = "/api/auth/email/change"
SENT = {"message": "Please check your new email for a confirmation link"}


@pytest.fixture
async def person(service: Service) -> Person:
    return await verified(service)


async def ask(service: Service, person: Person, email: str, password: str = PASSWORD) -> httpx2.Response:
    body = {"new_email": email, "current_password": password}
    return await service.client.post(PATH, headers=person.bearer, json=body)


async def asked(service: Service, person: Person, email: str, *, count: int = 1) -> str:
    """Ask for an address, and return the token that was mailed to it."""
    answer = await ask(service, person, email)
    assert (answer.status_code, answer.json()) == (200, SENT)
    return token_in((await mails_about(service, email, CONFIRM_NEW, count=count))[0])


async def confirm(service: Service, person: Person, token: str) -> httpx2.Response:
    return await service.client.post(f"{PATH}/confirm", headers=person.bearer, json={"token": token})


async def test_a_confirmed_address_replaces_the_old_one(service: Service, person: Person) -> None:
    """SEC-6: nothing changes before the confirmation; then the old address is told and the other sessions end."""
    email, elsewhere = service.new_email(), await service.sign_in(person)
    key = await make_key(service, person)
    token = await asked(service, person, email)
    assert await mails_about(service, person.email, "change of your e-mail address was requested")
    assert (await service.me(person.bearer)).json()["email"] == person.email
    answer = await confirm(service, person, token)
    assert (answer.status_code, answer.json()) == (200, {"message": "Email changed successfully"})
    me = (await service.me(person.bearer)).json()
    assert (me["email"], me["email_verified"]) == (email, True)
    assert (await service.me(elsewhere.bearer)).status_code == 401
    assert (await service.refresh(elsewhere.refresh_token)).status_code == 401
    assert (await service.validate(key))["valid"] is True
    assert await mails_about(service, person.email, "Your e-mail address was changed")
    assert (await log_in(service, person.email), await log_in(service, email)) == (401, 200)


async def test_the_present_password_is_needed(service: Service, person: Person) -> None:
    """SEC-6: a stolen token alone sends no link anywhere."""
    email = service.new_email()
    answer = await ask(service, person, email, "not my password")
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")
    assert await mails(service, email) == []


async def test_an_address_that_is_taken_looks_the_same(service: Service, person: Person) -> None:
    """SEC-9: its owner is told that they have an account, and the caller nothing."""
    taken = await service.register()
    answer = await ask(service, person, taken.email.upper())
    assert (answer.status_code, answer.json()) == (200, SENT)
    assert await mails_about(service, taken.email, "already have an account")
    assert await mails_about(service, person.email, "was requested")


async def test_an_address_that_is_taken_meanwhile_is_refused_without_saying_so(
    service: Service, person: Person
) -> None:
    """SEC-9: the link is invalid, and nothing changed."""
    email = service.new_email()
    token = await asked(service, person, email)
    await service.register(email)
    assert refused(await confirm(service, person, token)) == INVALID
    assert (await service.me(person.bearer)).json()["email"] == person.email


async def test_the_link_alone_gives_no_access_to_the_account(service: Service, person: Person) -> None:
    """SEC-6: mailed to a wrong address it is worthless there: without a credential, with another account's, and for
    the other purposes."""
    stranger = await verified(service)
    token = await asked(service, person, service.new_email())
    assert (await service.client.post(f"{PATH}/confirm", json={"token": token})).status_code == 401
    assert refused(await confirm(service, stranger, token)) == INVALID
    verify = await service.client.post("/api/auth/email/verify", json={"token": token})
    assert refused(verify) == INVALID
    assert refused(await reset(service, token, "a brand new password")) == INVALID
    assert (await service.me(stranger.bearer)).json()["email"] == stranger.email


@pytest.mark.parametrize("bad", ["", "x", "0" * 64])
async def test_a_foreign_token_is_invalid(service: Service, person: Person, bad: str) -> None:
    assert refused(await confirm(service, person, bad)) == INVALID


async def test_a_link_works_once_and_not_when_it_is_old(service: Service, person: Person) -> None:
    """SEC-10."""
    email = service.new_email()
    token = await asked(service, person, email)
    await service.sql("UPDATE idp.email_verification_tokens SET expires_at = now() WHERE email = $1", email)
    assert refused(await confirm(service, person, token)) == INVALID
    older = await asked(service, person, service.new_email())
    newer = await asked(service, person, service.new_email())
    assert refused(await confirm(service, person, older)) == INVALID
    assert (await confirm(service, person, newer)).status_code == 200
    assert refused(await confirm(service, person, newer)) == INVALID


async def test_a_reset_ends_a_change_that_waits(service: Service, person: Person) -> None:
    """SEC-10: an intruder requests a change to their own address; after the owner's reset, that link is invalid."""
    token = await asked(service, person, service.new_email())
    assert (await reset(service, await ask_for_reset(service, person.email), "a brand new password")).status_code == 200
    answer = await service.client.post("/auth/login", json={"email": person.email, "password": "a brand new password"})
    bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    confirmed = await service.client.post(f"{PATH}/confirm", headers=bearer, json={"token": token})
    assert refused(confirmed) == INVALID


async def test_a_change_ends_the_links_that_were_sent_to_the_old_address(service: Service, person: Person) -> None:
    """SEC-10: access to the old address no longer gives access to the account."""
    resetting = await ask_for_reset(service, person.email)
    token = await asked(service, person, service.new_email())
    assert (await confirm(service, person, token)).status_code == 200
    assert refused(await reset(service, resetting, "a brand new password")) == INVALID


async def test_an_old_sign_in_requires_a_new_one(service: Service, person: Person) -> None:
    """C-33 SEC-71."""
    token = await asked(service, person, service.new_email())
    await service.sql("UPDATE idp.user_sessions SET auth_time = now() - interval '1 day' WHERE user_id = $1", person.id)
    for answer in (await ask(service, person, service.new_email()), await confirm(service, person, token)):
        assert (answer.status_code, answer.json()["code"]) == (401, "fresh_login_required")


async def test_only_a_few_links_are_sent_for_one_account(service: Service, person: Person) -> None:
    """S4-36: the service cannot be used to send spam."""
    answers = [await ask(service, person, service.new_email()) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]


async def test_bad_input_is_named(service: Service, person: Person) -> None:
    """C-16."""
    answer = await ask(service, person, "a@b@c")
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["body", "new_email"])
    more = {"new_email": service.new_email(), "current_password": PASSWORD, "more": 1}
    assert (await service.client.post(PATH, headers=person.bearer, json=more)).status_code == 422


async def test_one_of_many_users_gets_an_address(service: Service) -> None:
    """The address is unique, also at once; the others' links are invalid, and nothing is 5xx."""
    people = [await verified(service) for _ in range(5)]
    email = f"wanted-{secrets.token_hex(4)}@example.com"
    tokens = []
    for person in people:
        async with service.app.core.database.transaction() as session:
            tokens.append(
                await service.app.core.one_time_tokens.make(session, Purpose.CHANGE, user_id=person.id, email=email)
            )
    answers = await asyncio.gather(*(confirm(service, *pair) for pair in zip(people, tokens, strict=True)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 4


async def test_two_who_exchange_their_addresses_at_once_do_not_hang(service: Service) -> None:
    """Each waits for what the other has: one is refused, and nothing is 5xx."""
    for _ in range(3):
        one, two = await verified(service), await verified(service)
        make = service.app.core.one_time_tokens.make
        async with service.app.core.database.transaction() as session:
            first = await make(session, Purpose.CHANGE, user_id=one.id, email=two.email)
            second = await make(session, Purpose.CHANGE, user_id=two.id, email=one.email)
        answers = await asyncio.gather(confirm(service, one, first), confirm(service, two, second))
        assert {answer.status_code for answer in answers} <= {200, 400}
