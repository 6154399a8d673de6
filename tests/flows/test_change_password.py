"""Change of password (SEC-6): requires the current one, and revokes all other sessions and links."""

import asyncio

import pytest

from factories import PASSWORD, Person, Service
from flows.mail_support import log_in, mails_about, make_key, verified

NEW = "a brand new password"
PATH = "/api/auth/password/change"


@pytest.fixture
async def person(service: Service) -> Person:
    return await verified(service)


def body(current: str = PASSWORD, new: str = NEW) -> dict[str, str]:
    return {"current_password": current, "new_password": new}


async def test_a_change_ends_the_other_sessions_and_keeps_this_one(service: Service, person: Person) -> None:
    """SEC-6 S4-34 S4-35: this session goes on, the others end; keys stay; the owner is told."""
    elsewhere = await service.sign_in(person)
    key = await make_key(service, person)
    answer = await service.client.post(PATH, headers=person.bearer, json=body())
    assert (answer.status_code, answer.json()) == (200, {"message": "Password changed successfully"})
    assert (await service.me(person.bearer)).status_code == 200
    assert (await service.refresh(person.refresh_token)).status_code == 200
    assert (await service.me(elsewhere.bearer)).status_code == 401
    assert (await service.refresh(elsewhere.refresh_token)).status_code == 401
    assert (await service.validate(key))["valid"] is True
    assert await log_in(service, person.email, PASSWORD) == 401
    assert await log_in(service, person.email, NEW) == 200
    (mail,) = await mails_about(service, person.email, "Your password was changed")
    assert "127.0.0.1" in mail["text"]
    (row,) = await service.sql("SELECT password_version FROM idp.users WHERE id = $1", person.id)
    assert row["password_version"] == 2


async def test_the_present_password_is_needed(service: Service, person: Person) -> None:
    """SEC-6 SEC-8: a stolen token alone changes nothing; guessing is limited by session, not by account."""
    for _ in range(10):
        answer = await service.client.post(PATH, headers=person.bearer, json=body("not my password"))
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")
    answer = await service.client.post(PATH, headers=person.bearer, json=body())
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    login = await service.client.post("/auth/login", json={"email": person.email, "password": PASSWORD})
    assert login.status_code == 200
    rows = await service.sql(
        "SELECT 1 FROM idp.audit_logs WHERE user_id = $1 AND action = 'user.password_check_failed'", person.id
    )
    assert len(rows) == 10


async def test_a_password_that_may_not_be_chosen_changes_nothing(service: Service, person: Person) -> None:
    """C-07 SEC-1 SEC-4."""
    elsewhere = await service.sign_in(person)
    for bad in ("short", person.email, "x" * 129):
        answer = await service.client.post(PATH, headers=person.bearer, json=body(new=bad))
        assert (answer.status_code, answer.json()["code"]) == (422, "password_rejected")
    assert (await service.me(elsewhere.bearer)).status_code == 200
    assert await log_in(service, person.email, PASSWORD) == 200


async def test_an_old_sign_in_requires_a_new_one(service: Service, person: Person) -> None:
    """C-33 SEC-71."""
    await service.sql("UPDATE idp.user_sessions SET auth_time = now() - interval '1 day' WHERE user_id = $1", person.id)
    answer = await service.client.post(PATH, headers=person.bearer, json=body())
    assert (answer.status_code, answer.json()["code"]) == (401, "fresh_login_required")
    again = await service.sign_in(person)
    assert (await service.client.post(PATH, headers=again.bearer, json=body())).status_code == 200


async def test_a_key_changes_no_password(service: Service, person: Person) -> None:
    """C-29 S0-03."""
    key = await make_key(service, person)
    answer = await service.client.post(PATH, headers={"X-API-Key": key}, json=body())
    assert (answer.status_code, answer.json()["code"]) == (403, "credential_not_accepted")


async def test_unknown_members_are_refused(service: Service, person: Person) -> None:
    """C-16: this route is new."""
    answer = await service.client.post(PATH, headers=person.bearer, json=body() | {"more": 1})
    assert answer.status_code == 422


async def test_of_two_changes_at_once_one_wins(service: Service, person: Person) -> None:
    """Both know the present password, but it is the present one only once."""
    passwords = [f"password number {number}" for number in range(6)]
    answers = await asyncio.gather(
        *(service.client.post(PATH, headers=person.bearer, json=body(new=password)) for password in passwords)
    )
    won = [password for password, answer in zip(passwords, answers, strict=True) if answer.status_code == 200]
    assert len(won) == 1, [answer.text for answer in answers]
    assert {answer.status_code for answer in answers} == {200, 401}
    assert await log_in(service, person.email, won[0]) == 200


async def test_a_concurrent_sign_in_with_the_old_password_is_revoked(service: Service, person: Person) -> None:
    """SEC-6."""
    old = {"email": person.email, "password": PASSWORD}
    *logins, done = await asyncio.gather(
        *(service.client.post("/auth/login", json=old) for _ in range(8)),
        service.client.post(PATH, headers=person.bearer, json=body()),
    )
    assert done.status_code == 200
    for answer in logins:
        assert answer.status_code in {200, 401}
        if answer.status_code == 200:
            bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
            assert (await service.me(bearer)).status_code == 401
