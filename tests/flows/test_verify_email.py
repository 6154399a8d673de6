"""Registration by mail and verification of an address (S4), and the claim of an unverified account (C-11)."""

import asyncio
import secrets
from datetime import timedelta

import httpx2
import pytest

from factories import PASSWORD, Service, running
from flows.mail_support import (
    INVALID,
    VERIFY,
    ask_again,
    ask_for_reset,
    log_in,
    mails,
    mails_about,
    make_key,
    median_times,
    refused,
    reset,
    sign_up,
    token_in,
    verified,
    verify,
)
from idp.dev.embedded import EmbeddedPostgres

OTHER = "another long password"


async def test_registering_answers_what_s4_promised_and_mails_a_link(service: Service) -> None:
    """S4-09 S4-04 C-20: 200 and these two members; the link does not depend on the Host header (SEC-10)."""
    email = service.new_email()
    answer = await service.client.post(
        "/api/auth/email/register",
        json={"email": email, "password": PASSWORD, "device_info": {"name": "phone"}, "unknown": 1},
        headers={"Host": "evil.example"},
    )
    assert answer.status_code == 200
    assert answer.json() == {
        "message": "Registration successful. Please check your email for verification.",
        "email": email,
    }
    assert answer.headers["Cache-Control"] == "no-store"
    (mail,) = await mails_about(service, email, VERIFY)
    assert mail["links"][0].startswith(f"{service.base_url}/verify-email?token=")
    assert "evil.example" not in str(mail)
    assert len(token_in(mail)) == 64


async def test_a_browser_that_verifies_can_have_a_cookie(service: Service) -> None:
    """SEC-44: as at the sign-in: no refresh token, a CSRF token, and not for a page of another site."""
    token = await sign_up(service, service.new_email())
    path = "/api/auth/email/verify?mode=cookie"
    foreign = await service.client.post(path, json={"token": token}, headers={"Origin": "https://evil.example"})
    assert (foreign.status_code, foreign.json()["code"]) == (403, "origin_not_allowed")
    answer = await service.client.post(path, json={"token": token})
    assert (answer.status_code, answer.json()["refresh_token"]) == (200, None), "the link was not used up"
    assert answer.json()["password_set"] is True
    cookie = {"Cookie": f"idp_session={answer.cookies['idp_session']}"}
    assert (await service.me(cookie)).status_code == 200
    refreshed = await service.client.post(
        "/api/auth/refresh", headers=cookie | {"X-CSRF-Token": answer.json()["csrf_token"]}
    )
    assert refreshed.status_code == 200


async def test_sign_in_needs_a_verified_address(service: Service) -> None:
    """S4-09 S4-33 C-11: the mail has to be read first."""
    email = service.new_email()
    token = await sign_up(service, email)
    assert await log_in(service, email, path="/api/auth/login") == 401
    assert (await verify(service, token)).status_code == 200
    assert await log_in(service, email, path="/api/auth/login") == 200


async def test_verifying_signs_in_and_welcomes(service: Service) -> None:
    """S4-13: the session object with this message, and a welcome; the event says that it happened."""
    email = service.new_email()
    answer = await verify(service, await sign_up(service, email))
    body = answer.json()
    assert answer.status_code == 200
    assert body["message"] == "Email verified successfully"
    assert body["token_type"] == "bearer"
    assert {"access_token", "refresh_token", "user_id", "session_id"} <= body.keys()
    assert body["user"]["email_verified"] is True
    assert answer.headers["Cache-Control"] == "no-store"
    me = await service.me({"Authorization": f"Bearer {body['access_token']}"})
    assert (me.json()["email"], me.json()["email_verified"]) == (email, True)
    assert (await service.refresh(body["refresh_token"])).status_code == 200
    assert await mails_about(service, email, "Welcome")
    events = await service.sql("SELECT type, data FROM idp.outbox WHERE subject = $1", body["user_id"])
    assert "idp.user.email_verified" in {row["type"] for row in events}
    assert body["access_token"] not in str(events)
    assert body["refresh_token"] not in str(events)


async def test_of_a_token_only_a_digest_is_stored_and_for_a_day(service: Service) -> None:
    """S4-04 S4-32 SEC-10: 64 hexadecimal characters, 24 hours, nothing in the database that could be sent back."""
    email = service.new_email()
    token = await sign_up(service, email)
    (row,) = await service.sql("SELECT * FROM idp.email_verification_tokens WHERE email = $1", email)
    assert token not in str(row)
    assert len(bytes.fromhex(token)) == 32
    assert row["expires_at"] - row["created_at"] == timedelta(hours=24)
    (mail,) = await service.sql("SELECT sealed_message FROM idp.mail_outbox ORDER BY created_at DESC LIMIT 1")
    assert token not in str(mail)


# --- tokens that do not work -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad", ["", "x", "0" * 63, "0" * 64, "0" * 65, "g" * 64, "0" * 300, "ß" * 64, "\x00" * 64, "\u0660" * 64]
)
async def test_a_foreign_token_is_invalid(service: Service, bad: str) -> None:
    """S4-13 S4-12: 400 "Invalid token", whatever is wrong with it."""
    assert refused(await verify(service, bad)) == INVALID
    assert refused(await reset(service, bad, OTHER)) == INVALID


@pytest.mark.parametrize("bad", [None, 5, ["0" * 64], {"token": "x"}])
async def test_a_token_that_is_no_text_is_malformed(service: Service, bad: object) -> None:
    answer = await service.client.post("/api/auth/email/verify", json={"token": bad})
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")


async def test_a_truncated_changed_or_upper_case_token_is_invalid(service: Service) -> None:
    """S4-13."""
    token = await sign_up(service, service.new_email())
    changed = token[:-1] + ("0" if token[-1] != "0" else "1")
    for bad in (token[:-1], token + "0", changed, token.upper() if token.upper() != token else "F" * 64, f" {token}"):
        assert refused(await verify(service, bad)) == INVALID
    assert (await verify(service, token)).status_code == 200


async def test_a_token_works_once(service: Service) -> None:
    """SEC-10."""
    token = await sign_up(service, service.new_email())
    assert (await verify(service, token)).status_code == 200
    assert refused(await verify(service, token)) == INVALID


async def test_an_expired_token_is_invalid(service: Service) -> None:
    """S4-04."""
    email = service.new_email()
    token = await sign_up(service, email)
    await service.sql("UPDATE idp.email_verification_tokens SET expires_at = now() WHERE email = $1", email)
    assert refused(await verify(service, token)) == INVALID


async def test_a_token_is_good_for_its_purpose_only(service: Service) -> None:
    """SEC-10: a link that resets does not verify, nor the other way round."""
    email = service.new_email()
    verifying = await sign_up(service, email)
    resetting = await ask_for_reset(service, email)
    assert refused(await verify(service, resetting)) == INVALID
    assert refused(await reset(service, verifying, OTHER)) == INVALID
    assert (await verify(service, verifying)).status_code == 200


async def test_a_token_is_revoked_with_the_address_it_was_sent_to(service: Service) -> None:
    """SEC-10: a link to the old address proves nothing about the new one."""
    email = service.new_email()
    token, resetting = await sign_up(service, email), await ask_for_reset(service, email)
    other = service.new_email()
    await service.sql("UPDATE idp.users SET email = $1, email_key = $1 WHERE email = $2", other, email)
    assert refused(await verify(service, token)) == INVALID
    assert refused(await reset(service, resetting, OTHER)) == INVALID


@pytest.mark.parametrize("how", ["is_active = false", "is_active = false, deleted_at = now()"])
async def test_a_disabled_or_deleted_user_has_no_links(service: Service, how: str) -> None:
    """SEC-19."""
    email = service.new_email()
    token, resetting = await sign_up(service, email), await ask_for_reset(service, email)
    await service.sql(f"UPDATE idp.users SET {how} WHERE email = $1", email)
    assert refused(await verify(service, token)) == INVALID
    assert refused(await reset(service, resetting, OTHER)) == INVALID


async def test_a_newer_link_ends_the_older_one(service: Service) -> None:
    email = service.new_email()
    first = await sign_up(service, email)
    second = await ask_again(service, email, count=2)
    assert refused(await verify(service, first)) == INVALID
    assert (await verify(service, second)).status_code == 200


async def test_many_bad_links_from_one_address_are_refused_for_a_while(postgres: EmbeddedPostgres) -> None:
    """S4-36: guessing is limited, and the limit is for the address."""
    environ = {"IDP_RATE_LIMITS__BAD_LINKS_PER_ADDRESS_PER_HOUR": "5"}
    async with running(postgres.create_database("bad_links"), environ=environ) as service:
        for _ in range(5):
            assert refused(await verify(service, secrets.token_hex(32))) == INVALID
        answer = await reset(service, secrets.token_hex(32), OTHER)
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert int(answer.headers["Retry-After"]) > 0


# --- GET: C-31 -------------------------------------------------------------------------------------------------------


async def test_a_program_that_asks_for_json_may_follow_the_old_link(service: Service) -> None:
    """S4-14 C-31: the same body and `redirect_url`."""
    email = service.new_email()
    token = await sign_up(service, email)
    early = (await service.client.post("/auth/login", json={"email": email, "password": PASSWORD})).json()
    bearer = {"Authorization": f"Bearer {early['access_token']}"}
    assert (await service.me(bearer)).status_code == 200
    answer = await service.client.get(
        "/api/auth/email/verify", params={"token": token}, headers={"Accept": "application/json"}
    )
    assert answer.status_code == 200
    assert (await service.me(bearer)).status_code == 401, "it claims the account at once, as POST does"
    assert answer.json()["message"] == "Email verified successfully"
    assert answer.json()["redirect_url"] == service.base_url
    assert answer.headers["Cache-Control"] == "no-store"
    again = await service.client.get(
        "/api/auth/email/verify", params={"token": token}, headers={"Accept": "application/json"}
    )
    assert refused(again) == INVALID


@pytest.mark.parametrize(
    "accept", ["text/html,application/xhtml+xml", "*/*", "application/*", None, "application/jsonp"]
)
async def test_a_scanner_that_follows_links_uses_up_nothing(service: Service, accept: str | None) -> None:
    """C-31: anything but a program that says JSON is sent to the page, and the page changes nothing either."""
    token = await sign_up(service, service.new_email())
    headers = {"Accept": accept} if accept else {}
    answer = await service.client.get("/api/auth/email/verify", params={"token": token}, headers=headers)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/verify-email?token={token}")
    assert answer.content == b""
    for _ in range(3):
        assert (await service.client.get(answer.headers["Location"])).status_code == 200
    assert (await verify(service, token)).status_code == 200


# --- C-30: an address that has an account ----------------------------------------------------------------------------


async def test_registering_an_existing_address_looks_the_same_and_mails_only_its_owner(service: Service) -> None:
    """C-30 SEC-9: the same answer; the mail says "you already have an account"; nothing about the account changes."""
    person = await service.register()
    await service.sql("UPDATE idp.users SET email_verified = true WHERE id = $1", person.id)
    before = await service.sql("SELECT * FROM idp.users WHERE id = $1", person.id)
    seen = set()
    for email in (person.email, service.new_email()):
        answer = await service.client.post("/api/auth/email/register", json={"email": email, "password": OTHER})
        seen.add((answer.status_code, answer.text.replace(email, "EMAIL")))
    assert len(seen) == 1
    assert await mails_about(service, person.email, "already have an account")
    assert await service.sql("SELECT * FROM idp.users WHERE id = $1", person.id) == before
    assert await log_in(service, person.email, OTHER) == 401


@pytest.mark.alone
async def test_registering_takes_as_long_for_an_address_that_exists(service: Service) -> None:
    """SEC-9 C-30: a coarse bound, for a machine that does other things too."""

    async def register(email: str) -> httpx2.Response:
        return await service.client.post("/api/auth/email/register", json={"email": email, "password": PASSWORD})

    emails = iter([service.new_email() for _ in range(12)])
    known = iter([(await verified(service)).email for _ in range(12)])
    new, old = await median_times(lambda: register(next(emails)), lambda: register(next(known)), 12)
    assert 0.6 < new / old < 1.67, (new, old)


async def test_a_password_that_may_not_be_chosen_is_refused_before_anything_else(service: Service) -> None:
    """C-07."""
    email = service.new_email()
    for password in ("short", email):
        answer = await service.client.post("/api/auth/email/register", json={"email": email, "password": password})
        assert (answer.status_code, answer.json()["code"]) == (422, "password_rejected")
    answer = await service.client.post("/api/auth/email/register", json={"email": "no address", "password": PASSWORD})
    assert answer.status_code == 422
    assert await mails(service, email) == []


async def test_two_who_claim_one_address_end_with_the_password_of_neither(service: Service) -> None:
    """C-11: a stranger registers my address, then I do. My link makes the account mine, without their password; the
    link that they had sent to me, which I might follow by mistake, is dead."""
    email = service.new_email()
    strangers_link = await sign_up(service, email, "the stranger's password")
    answer = await service.client.post("/api/auth/email/register", json={"email": email, "password": OTHER})
    assert answer.status_code == 200
    mine = token_in((await mails_about(service, email, VERIFY, count=2))[0])
    assert refused(await verify(service, strangers_link)) == INVALID
    assert (await verify(service, mine)).status_code == 200
    for password in ("the stranger's password", OTHER):
        assert await log_in(service, email, password) == 401
    assert (await reset(service, await ask_for_reset(service, email), OTHER)).status_code == 200
    assert await log_in(service, email, OTHER, path="/api/auth/login") == 200


async def test_a_link_asked_for_again_is_of_the_same_kind(service: Service) -> None:
    """C-11: who registered once keeps the password through a second mail; what was contested stays contested."""
    alone, contested = service.new_email(), service.new_email()
    await sign_up(service, alone)
    assert (await verify(service, await ask_again(service, alone, count=2))).json()["password_set"] is True
    assert await log_in(service, alone, path="/api/auth/login") == 200
    await sign_up(service, contested)
    await service.client.post("/api/auth/email/register", json={"email": contested, "password": OTHER})
    await mails_about(service, contested, VERIFY, count=2)
    assert (await verify(service, await ask_again(service, contested, count=3))).status_code == 200
    assert await log_in(service, contested) == 401


# --- C-11: who verifies claims the account ---------------------------------------------------------------------------


async def test_verifying_revokes_credentials_another_user_made_before(service: Service) -> None:
    """C-11 SEC-19: a stranger registered my address at S3's door, signed in, made a key and waits. I verify."""
    stranger = await service.register()
    elsewhere = await service.sign_in(stranger)
    key = await make_key(service, stranger)
    mine = (await verify(service, await ask_again(service, stranger.email, count=1))).json()
    assert mine["user_id"] == stranger.id
    assert mine["password_set"] is False
    for bearer in (stranger.bearer, elsewhere.bearer):
        assert (await service.me(bearer)).status_code == 401
    assert (await service.refresh(stranger.refresh_token)).status_code == 401
    assert (await service.validate(key))["error"] == "token_revoked"
    assert await log_in(service, stranger.email) == 401, "the stranger's password is gone"
    assert (await service.me({"Authorization": f"Bearer {mine['access_token']}"})).status_code == 200


async def test_the_password_of_the_registration_itself_stays_and_the_rest_ends(service: Service) -> None:
    """C-11: "unless this very journey set it"."""
    email = service.new_email()
    token = await sign_up(service, email)
    early = (await service.client.post("/auth/login", json={"email": email, "password": PASSWORD})).json()
    assert (await verify(service, token)).status_code == 200
    assert (await service.me({"Authorization": f"Bearer {early['access_token']}"})).status_code == 401
    assert await log_in(service, email) == 200


async def test_a_password_that_was_changed_since_the_registration_is_not_its_own(service: Service) -> None:
    """C-11: the link belongs to the password that the registration set, and to no other."""
    email = service.new_email()
    token = await sign_up(service, email)
    await service.sql("UPDATE idp.users SET password_version = password_version + 1 WHERE email = $1", email)
    assert (await verify(service, token)).status_code == 200
    assert await log_in(service, email) == 401


# --- asking again ----------------------------------------------------------------------------------------------------


async def test_a_request_for_another_link_reveals_nothing(service: Service) -> None:
    """SEC-9: unknown, waiting, verified and disabled addresses get the same answer; only who waits gets a mail."""
    waiting, done, disabled = service.new_email(), await service.register(), await service.register()
    await sign_up(service, waiting)
    await service.sql("UPDATE idp.users SET email_verified = true WHERE id = $1", done.id)
    await service.sql("UPDATE idp.users SET is_active = false WHERE id = $1", disabled.id)
    seen = set()
    for email in (waiting, done.email, disabled.email, service.new_email(), "no address", ""):
        answer = await service.client.post("/api/auth/email/verify/resend", json={"email": email})
        seen.add((answer.status_code, answer.text))
    assert len(seen) == 1
    assert len(await mails_about(service, waiting, VERIFY, count=2)) == 2
    assert await mails(service, done.email) == []
    assert await mails(service, disabled.email) == []


async def test_an_address_gets_at_most_five_links_an_hour(service: Service) -> None:
    """S4-36: counted by address, whether or not it has an account."""
    for email in (service.new_email(), (await service.register()).email):
        answers = [
            await service.client.post("/api/auth/email/verify/resend", json={"email": email.upper()}) for _ in range(6)
        ]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert int(answers[-1].headers["Retry-After"]) > 0


async def test_the_new_route_refuses_members_it_does_not_know(service: Service) -> None:
    """C-16."""
    body = {"email": service.new_email(), "more": 1}
    assert (await service.client.post("/api/auth/email/verify/resend", json=body)).status_code == 422


# --- races -----------------------------------------------------------------------------------------------------------


async def test_of_many_who_verify_with_one_token_one_wins(service: Service) -> None:
    """SEC-10: single use, at once."""
    token = await sign_up(service, service.new_email())
    answers = await asyncio.gather(*(verify(service, token) for _ in range(32)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 31


async def test_of_many_registrations_of_one_address_at_once_one_account_is_made(service: Service) -> None:
    email = service.new_email()
    body = {"email": email, "password": PASSWORD}
    answers = await asyncio.gather(*(service.client.post("/api/auth/email/register", json=body) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    (count,) = await service.sql("SELECT count(*) FROM idp.users WHERE email_key = $1", email)
    assert count["count"] == 1
    live = await service.sql(
        "SELECT 1 FROM idp.email_verification_tokens WHERE email = $1 AND used_at IS NULL AND expires_at > now()", email
    )
    assert len(live) == 1


async def test_verifying_resetting_and_signing_in_at_once_leave_nothing_of_the_stranger(service: Service) -> None:
    """C-11: in whatever order they come, no session of the first password is alive at the end, and nothing is 5xx."""
    for _ in range(4):
        stranger = await service.register()
        verifying = await ask_again(service, stranger.email, count=1)
        resetting = await ask_for_reset(service, stranger.email)
        body = {"email": stranger.email, "password": PASSWORD}
        answers = await asyncio.gather(
            *(service.client.post("/auth/login", json=body) for _ in range(4)),
            verify(service, verifying),
            reset(service, resetting, OTHER),
            *(service.client.post("/auth/login", json=body) for _ in range(4)),
        )
        assert all(answer.status_code in {200, 400, 401} for answer in answers), [a.status_code for a in answers]
        assert {answers[4].status_code, answers[5].status_code} & {200}
        signed_in = [a for i, a in enumerate(answers) if i not in {4, 5} and a.status_code == 200]
        for answer in signed_in:
            me = await service.me({"Authorization": f"Bearer {answer.json()['access_token']}"})
            assert me.status_code == 401
        assert (await service.me(stranger.bearer)).status_code == 401
        assert await log_in(service, stranger.email) == 401
