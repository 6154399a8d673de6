"""Password reset as S4's clients use it, and the first password of an invited user."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import httpx2
import pytest

from factories import PASSWORD, Person, Service, root_secret, running
from flows.mail_support import (
    INVALID,
    RESET,
    ask_for_reset,
    log_in,
    mails,
    mails_about,
    make_key,
    median_times,
    refused,
    reset,
    token_in,
    verified,
)
from idp.dev.embedded import EmbeddedPostgres
from idp.users.one_time_tokens import Purpose

NEW = "a brand new password"
SENT = {"message": "If the email exists, a reset link has been sent"}


@pytest.fixture
async def person(service: Service) -> Person:
    return await verified(service)


async def test_a_reset_sets_the_password_and_ends_every_session(service: Service, person: Person) -> None:
    """S4-05 S4-11 S4-12 S4-34: old password, sessions, access and refresh tokens end; the owner is told."""
    elsewhere = await service.sign_in(person)
    answer = await reset(service, await ask_for_reset(service, person.email), NEW)
    assert answer.status_code == 200
    assert answer.json() == {"message": "Password reset successfully"}
    for each in (person, elsewhere):
        assert (await service.me(each.bearer)).status_code == 401
        assert (await service.refresh(each.refresh_token)).status_code == 401
    assert await log_in(service, person.email, PASSWORD) == 401
    assert await log_in(service, person.email, NEW) == 200
    assert await mails_about(service, person.email, "Your password was changed")
    events = await service.sql("SELECT type FROM idp.outbox WHERE subject = $1", person.id)
    assert {"idp.user.password_reset", "idp.session.revoked"} <= {row["type"] for row in events}
    (audit,) = await service.sql(
        "SELECT actor, details FROM idp.audit_logs WHERE user_id = $1 AND action = 'user.password_reset'", person.id
    )
    assert audit["actor"] == "anonymous"
    assert "2" in audit["details"]


async def test_a_reset_of_a_verified_account_keeps_its_keys(service: Service, person: Person) -> None:
    """C-11: keys are their owner's own, once the address is verified."""
    key = await make_key(service, person)
    assert (await reset(service, await ask_for_reset(service, person.email), NEW)).status_code == 200
    assert (await service.validate(key))["valid"] is True


async def test_a_reset_verifies_the_address_and_claims_the_account(service: Service) -> None:
    """C-11: the link proves ownership of the address; sessions and keys created before are revoked."""
    stranger = await service.register()
    key = await make_key(service, stranger)
    assert (await reset(service, await ask_for_reset(service, stranger.email), NEW)).status_code == 200
    assert (await service.me(stranger.bearer)).status_code == 401
    assert (await service.validate(key))["error"] == "token_revoked"
    answer = await service.client.post("/api/auth/login", json={"email": stranger.email, "password": NEW})
    assert answer.status_code == 200
    assert answer.json()["user"]["email_verified"] is True


async def test_a_reset_request_reveals_nothing(service: Service, person: Person) -> None:
    """S4-11 SEC-9: whatever the address is, same status and body; only who has an account gets a mail."""
    disabled = await verified(service)
    await service.sql("UPDATE idp.users SET is_active = false WHERE id = $1", disabled.id)
    for email in (person.email, person.email.upper(), service.new_email(), disabled.email, "no address", "", "\x00@"):
        answer = await service.client.post("/api/auth/password/reset/request", json={"email": email})
        assert (answer.status_code, answer.json()) == (200, SENT), email
    await mails_about(service, person.email, RESET, count=2)
    assert await mails(service, disabled.email) == []


@pytest.mark.alone
async def test_a_request_takes_as_long_for_an_unknown_address(service: Service) -> None:
    """SEC-9: a coarse bound, for a machine that does other things too; what differs is done after the answer."""
    known = iter([(await verified(service)).email for _ in range(16)])
    unknown = iter([service.new_email() for _ in range(16)])

    async def ask(emails: Iterator[str]) -> httpx2.Response:
        return await service.client.post("/api/auth/password/reset/request", json={"email": next(emails)})

    first, second = await median_times(lambda: ask(known), lambda: ask(unknown), 16)
    assert 0.5 < first / second < 2, (first, second)


async def test_the_link_does_not_depend_on_the_request(service: Service, person: Person) -> None:
    """SEC-10: Host, X-Forwarded-Host and Forwarded never build a link."""
    lies = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    answer = await service.client.post(
        "/api/auth/password/reset/request",
        json={"email": person.email},
        headers=lies,
    )
    assert answer.status_code == 200
    (mail,) = await mails_about(service, person.email, RESET)
    assert "evil" not in str(mail)
    assert mail["links"][0].startswith(f"{service.base_url}/reset-password?token=")


async def test_of_a_reset_token_only_a_digest_is_stored_and_for_a_quarter_of_an_hour(
    service: Service, person: Person
) -> None:
    """S4-05 SEC-10: 256 bits, 15 minutes."""
    token = await ask_for_reset(service, person.email)
    (row,) = await service.sql("SELECT * FROM idp.password_reset_tokens WHERE user_id = $1", person.id)
    assert len(bytes.fromhex(token)) == 32
    assert token not in str(row)
    assert row["expires_at"] - row["created_at"] == timedelta(minutes=15)


async def test_no_token_and_no_password_is_recorded(
    service: Service, person: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    """SEC-74: neither in the log nor in the audit records."""
    token = await ask_for_reset(service, person.email)
    assert (await reset(service, token, NEW)).status_code == 200
    await service.client.get("/reset-password", params={"token": token})
    rows = await service.sql("SELECT * FROM idp.audit_logs WHERE user_id = $1", person.id)
    said = str(rows) + "".join(capsys.readouterr())
    assert token not in said
    assert NEW not in said


# --- tokens that do not work any more --------------------------------------------------------------------------------


async def test_an_expired_link_is_invalid(service: Service, person: Person) -> None:
    """S4-12 SEC-10."""
    token = await ask_for_reset(service, person.email)
    await service.sql("UPDATE idp.password_reset_tokens SET expires_at = now() WHERE user_id = $1", person.id)
    assert refused(await reset(service, token, NEW)) == INVALID
    assert await log_in(service, person.email) == 200


async def test_a_link_works_once_and_ends_all_others(service: Service, person: Person) -> None:
    """SEC-10: older links end when a newer one is asked for, and all of them with the password."""
    older = await ask_for_reset(service, person.email)
    newer = await ask_for_reset(service, person.email, count=2)
    assert refused(await reset(service, older, NEW)) == INVALID
    assert (await reset(service, newer, NEW)).status_code == 200
    assert refused(await reset(service, newer, NEW)) == INVALID


async def test_a_link_dies_when_the_password_changes_otherwise(service: Service, person: Person) -> None:
    """SEC-10."""
    token = await ask_for_reset(service, person.email)
    body = {"current_password": PASSWORD, "new_password": NEW}
    changed = await service.client.post("/api/auth/password/change", headers=person.bearer, json=body)
    assert changed.status_code == 200, changed.text
    assert refused(await reset(service, token, "yet another password")) == INVALID


async def test_a_password_that_is_refused_does_not_use_the_link_up(service: Service, person: Person) -> None:
    """C-07 S4-12: 422 with the reason, and the link is good for a better one."""
    token = await ask_for_reset(service, person.email)
    for bad in ("short", person.email, "x" * 129):
        answer = await reset(service, token, bad)
        assert (answer.status_code, answer.json()["code"]) == (422, "password_rejected")
    assert (await reset(service, token, NEW)).status_code == 200


async def test_of_many_who_reset_with_one_token_one_wins(service: Service, person: Person) -> None:
    """SEC-10: and the password is the winner's."""
    token = await ask_for_reset(service, person.email)
    passwords = [f"password of client {number}" for number in range(32)]
    answers = await asyncio.gather(*(reset(service, token, password) for password in passwords))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 31
    won = [password for password, answer in zip(passwords, answers, strict=True) if answer.status_code == 200]
    assert await log_in(service, person.email, won[0]) == 200


async def test_a_concurrent_sign_in_with_the_old_password_is_revoked(service: Service, person: Person) -> None:
    """S4-12: a sign-in that was checked against the old password begins no session, or one that ends at once."""
    token = await ask_for_reset(service, person.email)
    body = {"email": person.email, "password": PASSWORD}
    *logins, done = await asyncio.gather(
        *(service.client.post("/auth/login", json=body) for _ in range(8)), reset(service, token, NEW)
    )
    assert done.status_code == 200
    for answer in logins:
        assert answer.status_code in {200, 401}
        if answer.status_code == 200:
            bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
            assert (await service.me(bearer)).status_code == 401


async def test_links_still_work_while_the_root_secret_is_exchanged(postgres: EmbeddedPostgres) -> None:
    """C-06c."""
    url, old, new = postgres.create_database("reset_rotation"), root_secret(), root_secret()
    async with running(url, environ={"IDP_SECRET_KEY": old}) as service:
        person = await service.register()
        token = await ask_for_reset(service, person.email)
    async with running(url, environ={"IDP_SECRET_KEY": new, "IDP_PREVIOUS_SECRET_KEYS": old}, migrate=False) as service:
        assert (await reset(service, token, NEW)).status_code == 200


# --- limits ----------------------------------------------------------------------------------------------------------


async def test_an_address_is_mailed_at_most_five_links_an_hour(service: Service, person: Person) -> None:
    """S4-36 SEC-9: counted by address, whether or not it has an account; the others are not held up."""
    for email in (person.email, service.new_email()):
        path, body = "/api/auth/password/reset/request", {"email": email}
        answers = [await service.client.post(path, json=body) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert int(answers[-1].headers["Retry-After"]) > 0
    assert await ask_for_reset(service, (await verified(service)).email)


async def test_a_strangers_requests_do_not_block_the_owners(service: Service, person: Person) -> None:
    """SEC-8: the devices of an account count by themselves, all together: no more than twice as much is mailed."""
    path, body = "/api/auth/password/reset/request", {"email": person.email}
    logins = [await service.client.post("/auth/login", json=body | {"password": PASSWORD}) for _ in range(3)]
    devices = [{"Cookie": f"idp_device={login.cookies['idp_device']}"} for login in logins]
    strangers = [await service.client.post(path, json=body) for _ in range(6)]
    assert [answer.status_code for answer in strangers] == [200] * 5 + [429]
    own = [await service.client.post(path, json=body, headers=device) for device in devices * 2]
    assert [answer.status_code for answer in own] == [200] * 5 + [429]
    other = {"email": (await verified(service)).email}
    answers = [await service.client.post(path, json=other, headers=device) for device in devices * 2]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429], "to another account they are strangers"
    assert (await service.client.post(path, json=other)).status_code == 429, "and count as such"


async def test_concurrent_requests_mail_no_more_links(service: Service, person: Person) -> None:
    """S4-36: the limit holds for twenty requests in one moment."""
    path, body = "/api/auth/password/reset/request", {"email": person.email}
    answers = await asyncio.gather(*(service.client.post(path, json=body) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 15
    tokens = [token_in(mail) for mail in await mails_about(service, person.email, RESET, count=5)]
    live = [token for token in tokens if (await reset(service, token, NEW)).status_code == 200]
    assert len(live) == 1, "a newer link ends the older ones, also at once"


async def test_an_address_can_request_fifty_links_an_hour(postgres: EmbeddedPostgres) -> None:
    """S4-36: with a smaller number here."""
    environ = {"IDP_RATE_LIMITS__RESETS_PER_ADDRESS_PER_HOUR": "3"}
    async with running(postgres.create_database("many_resets"), environ=environ) as service:
        path = "/api/auth/password/reset/request"
        answers = [await service.client.post(path, json={"email": f"n{n}@example.com"}) for n in range(4)]
        assert [answer.status_code for answer in answers] == [200] * 3 + [429]


# --- invitations -----------------------------------------------------------------------------------------------------


async def invite(service: Service) -> tuple[str, str]:
    """Make an account without a password, as an administrator does, and return its address and the link's token."""
    person, core = await service.register(), service.app.core
    await service.sql("UPDATE idp.users SET password_hash = NULL WHERE id = $1", person.id)
    async with core.database.transaction() as session:
        token = await core.one_time_tokens.make(session, Purpose.INVITE, user_id=person.id, email=person.email)
    return person.email, token


async def test_an_invited_user_sets_the_first_password_by_the_same_route(service: Service) -> None:
    """S4-12: the link of an invitation lives for a week, proves the address, and welcomes."""
    email, token = await invite(service)
    (row,) = await service.sql("SELECT * FROM idp.password_reset_tokens WHERE email = $1", email)
    assert row["expires_at"] - row["created_at"] == timedelta(days=7)
    assert (await reset(service, token, NEW)).status_code == 200
    assert await log_in(service, email, NEW, path="/api/auth/login") == 200
    assert await mails_about(service, email, "Welcome")
    assert refused(await reset(service, token, NEW)) == INVALID


async def test_asking_for_a_reset_leaves_an_invitation_good(service: Service) -> None:
    """SEC-10: anyone may request a reset, which must not shorten the lifetime of an invitation."""
    email, invitation = await invite(service)
    await ask_for_reset(service, email)
    assert (await reset(service, invitation, NEW)).status_code == 200


async def test_a_reset_replaces_a_lost_invitation_and_both_links_end(service: Service) -> None:
    """Both choose the password; it ends the other one, as every link that was mailed before."""
    email, invitation = await invite(service)
    older = await ask_for_reset(service, email)
    token = await ask_for_reset(service, email, count=2)
    assert refused(await reset(service, older, NEW)) == INVALID
    assert (await reset(service, token, NEW)).status_code == 200
    assert refused(await reset(service, invitation, NEW)) == INVALID
