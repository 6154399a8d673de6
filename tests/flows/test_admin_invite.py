"""Administrators invite users, and list and end their sessions, over HTTP."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
import time_machine

from factories import PASSWORD, Person, Service, root_secret, running
from flows.mail_support import (
    INVALID,
    ask_for_reset,
    log_in,
    mails,
    mails_about,
    refused,
    reset,
    sign_up,
    token_in,
    verify,
)
from idp.dev.embedded import EmbeddedPostgres

USERS = "/api/auth/admin/users"
SUBJECT = "You are invited"
CHOSEN = "a password of their own"


@pytest.fixture(scope="module")
async def admin(service: Service) -> Person:
    return await service.register_admin()


async def invite(service: Service, admin: Person, email: str, **more: Any) -> httpx2.Response:
    return await service.client.post(USERS, json={"email": email, **more}, headers=admin.bearer)


async def invited(service: Service, admin: Person, email: str, *, count: int = 1, **more: Any) -> tuple[str, str]:
    """Invite a user, and return their id and the token of the link in the mail with this number."""
    answer = await invite(service, admin, email, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()["user_id"], token_in((await mails_about(service, email, SUBJECT, count=count))[0])


async def change(service: Service, admin: Person, user_id: str, **wanted: Any) -> httpx2.Response:
    return await service.client.patch(f"{USERS}/{user_id}", json=wanted, headers=admin.bearer)


async def actions(service: Service, user_id: str) -> list[tuple[str, str]]:
    rows = await service.sql(
        "SELECT action, actor FROM idp.audit_logs WHERE user_id = $1 ORDER BY timestamp, id", user_id
    )
    return [(row["action"], row["actor"]) for row in rows]


def problem(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# --- the whole way ---------------------------------------------------------------------------------------------------


async def test_from_the_invitation_to_the_first_login(service: Service, admin: Person) -> None:
    """S4-07 S4-23 C-20: 200 and a mail, a first password, then S4's login with the roles that were given."""
    email = service.new_email("grace")
    wanted = {"name": "Grace Hopper", "roles": ["user", "analyst"], "plan": "PRO"}
    answer = await invite(service, admin, email, **wanted)
    assert answer.status_code == 200
    user = answer.json()
    assert {name: user[name] for name in user if name not in {"user_id", "created_at", "updated_at"}} == {
        "email": email,
        "is_active": True,
        "login_type": "email",
        "name": "Grace Hopper",
        "roles": ["analyst", "user"],
        "plan": "PRO",
        "email_verified": False,
    }
    (mail,) = await mails_about(service, email, SUBJECT)
    assert mail["links"][0].startswith(f"{service.base_url}/reset-password?token=")
    assert "Ada Admin" in mail["text"]
    assert "for 7 days" in mail["text"]

    assert (await reset(service, token_in(mail), CHOSEN)).status_code == 200
    signed_in = await service.client.post("/api/auth/login", json={"email": email, "password": CHOSEN})
    assert signed_in.status_code == 200, signed_in.text
    me = signed_in.json()["user"]
    assert (me["id"], me["roles"], me["email_verified"]) == (user["user_id"], ["analyst", "user"], True)
    assert [team["name"] for team in me["teams"]] == ["General"]
    assert [domain["key"] for domain in me["domains"]] == ["engineering"]
    assert await mails_about(service, email, "Welcome")
    actor = f"user:{admin.id}"
    done = await actions(service, user["user_id"])
    assert done[:1] == [("user.created", actor)]
    assert {("user.invited", actor), ("user.roles_changed", actor), ("user.changed", actor)} <= {*done}
    assert ("user.password_reset", "anonymous") in done


async def test_an_invited_user_cannot_sign_in_before_accepting(service: Service, admin: Person) -> None:
    """SEC-11: there is no password, so none that could be guessed, mailed or left as it is."""
    email = service.new_email()
    user_id, token = await invited(service, admin, email)
    (row,) = await service.sql("SELECT password_hash FROM idp.users WHERE id = $1", user_id)
    assert row["password_hash"] is None
    (link,) = await service.sql("SELECT * FROM idp.password_reset_tokens WHERE user_id = $1", user_id)
    assert token not in str(link)
    assert link["expires_at"] - link["created_at"] == timedelta(days=7)
    for path in ("/auth/login", "/api/auth/login"):
        for password in ("", "password", PASSWORD, token, email):
            assert await log_in(service, email, password, path=path) == 401
    body = {"email": email, "password": PASSWORD, "name": "Squatter"}
    assert problem(await service.client.post("/auth/register", json=body)) == (400, "email_taken")
    audit = await service.sql("SELECT details::text AS text FROM idp.audit_logs WHERE user_id = $1", user_id)
    assert token not in str(audit)


async def test_management_invites_without_a_name(postgres: EmbeddedPostgres) -> None:
    """C-09: ADMIN_TOKEN and a service token with management rights; the mail names no inviter."""
    token = secrets.token_urlsafe(40)
    async with running(postgres.create_database("inviting"), environ={"ADMIN_TOKEN": token}) as service:
        bearer = {"Authorization": f"Bearer {token}"}
        made = await service.client.post("/auth/tokens", json={"name": "m", "scopes": ["idp:manage"]}, headers=bearer)
        managing = {"Authorization": f"Bearer {made.json()['token']}"}
        for headers in (bearer, managing):
            email = service.new_email()
            answer = await service.client.post(USERS, json={"email": email}, headers=headers)
            assert (answer.status_code, answer.json()["roles"], answer.json()["name"]) == (200, ["user"], None)
            (mail,) = await mails_about(service, email, SUBJECT)
            assert "An administrator created an account" in mail["text"]


# --- links that do not work any more ---------------------------------------------------------------------------------


async def test_an_invitation_works_once_and_for_a_week(service: Service, admin: Person) -> None:
    """SEC-10."""
    email = service.new_email()
    _, late = await invited(service, admin, email)
    with time_machine.travel(datetime.now(UTC) + timedelta(days=7, minutes=1), tick=True):
        assert refused(await reset(service, late, CHOSEN)) == INVALID
    _, token = await invited(service, admin, email, count=2)
    assert (await reset(service, token, "short")).status_code == 422, "a password that is refused uses nothing up"
    assert (await reset(service, token, CHOSEN)).status_code == 200
    assert refused(await reset(service, token, "another password")) == INVALID
    assert await log_in(service, email, CHOSEN, path="/api/auth/login") == 200


async def test_inviting_again_replaces_the_link_and_what_was_given(service: Service, admin: Person) -> None:
    """The same user, in any spelling of the address; the mail goes to the first one."""
    email = service.new_email()
    user_id, first = await invited(service, admin, email, name="Grase", roles=["user", "analyst"], plan="PRO")
    again_id, second = await invited(service, admin, email.upper(), count=2, name="Grace", roles=["user"])
    assert again_id == user_id
    user = (await service.client.get(f"{USERS}/{user_id}", headers=admin.bearer)).json()
    assert (user["email"], user["name"], user["roles"], user["plan"]) == (email, "Grace", ["user"], "PRO")
    assert {mail["to"] for mail in await mails_about(service, email, SUBJECT, count=2)} == {email}
    assert refused(await reset(service, first, CHOSEN)) == INVALID
    assert (await reset(service, second, CHOSEN)).status_code == 200
    sent = await service.sql(
        "SELECT details->>'again' AS again FROM idp.audit_logs WHERE user_id = $1 AND action = 'user.invited'"
        " ORDER BY timestamp, id",
        user_id,
    )
    assert [row["again"] for row in sent] == ["false", "true"]


async def test_of_invitations_at_once_one_link_is_left(service: Service, admin: Person) -> None:
    email = service.new_email()
    answers = await asyncio.gather(*(invite(service, admin, email, roles=["user", f"r{n}"]) for n in range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert len({answer.json()["user_id"] for answer in answers}) == 1
    links = [token_in(mail) for mail in await mails_about(service, email, SUBJECT, count=8)]
    assert sorted([(await reset(service, link, CHOSEN)).status_code for link in links]) == [200] + [400] * 7


async def test_an_address_that_has_an_account_is_refused(service: Service, admin: Person) -> None:
    """Verified or not: its registrant would get the roles. Nothing is changed and nothing is mailed."""
    unverified, email = await service.register(), service.new_email()
    await verify(service, await sign_up(service, email))
    for taken in (unverified.email, unverified.email.upper(), email):
        assert problem(await invite(service, admin, taken, roles=["admin"])) == (400, "email_taken")
    assert (await service.me(unverified.bearer)).json()["roles"] == ["user"]
    assert await mails(service, unverified.email) == []


async def test_an_active_user_is_not_invited_again(service: Service, admin: Person) -> None:
    """By whichever link: also one of a reset that they asked for themselves."""
    email = service.new_email()
    _, invitation = await invited(service, admin, email)
    token = await ask_for_reset(service, email)
    assert (await reset(service, token, CHOSEN)).status_code == 200
    assert refused(await reset(service, invitation, CHOSEN)) == INVALID, "whoever has come chooses no first password"
    assert problem(await invite(service, admin, email)) == (400, "email_taken")


async def test_an_invited_user_who_is_disabled_cannot_accept(service: Service, admin: Person) -> None:
    """SEC-19: the link ends with the account; enabling brings the account back, and another invitation a link."""
    email = service.new_email()
    user_id, token = await invited(service, admin, email)
    assert (await change(service, admin, user_id, is_active=False)).status_code == 200
    assert refused(await reset(service, token, CHOSEN)) == INVALID
    answer = await invite(service, admin, email)
    assert refused(answer) == (400, "email_taken", "This user is disabled: enable the user first, then invite again.")
    assert (await change(service, admin, user_id, is_active=True)).status_code == 200
    assert refused(await reset(service, token, CHOSEN)) == INVALID
    again_id, again = await invited(service, admin, email, count=2)
    assert again_id == user_id
    assert (await reset(service, again, CHOSEN)).status_code == 200


async def test_a_deleted_user_is_a_new_user_when_invited_again(service: Service, admin: Person) -> None:
    """C-14."""
    email = service.new_email()
    user_id, token = await invited(service, admin, email, roles=["user", "analyst"])
    gone = await service.client.delete(f"{USERS}/{user_id}", headers=admin.bearer)
    assert gone.json() == {"success": True, "user_id": user_id, "revoked_keys": 0, "ended_sessions": 0}
    assert refused(await reset(service, token, CHOSEN)) == INVALID
    heir_id, _ = await invited(service, admin, email, count=2)
    assert heir_id != user_id
    heir = (await service.client.get(f"{USERS}/{heir_id}", headers=admin.bearer)).json()
    assert heir["roles"] == ["user"]


async def test_an_administrator_with_a_pending_invitation_does_not_count(postgres: EmbeddedPostgres) -> None:
    """The mail may never be read: the last one who can sign in stays, until the other has come."""
    async with running(postgres.create_database("awaited_admin")) as service:
        only, email = await service.register_admin(), service.new_email()
        user_id, token = await invited(service, only, email, roles=["admin"])
        assert problem(await change(service, only, only.id, roles=["user"])) == (409, "last_admin")
        assert problem(await change(service, only, only.id, is_active=False)) == (409, "last_admin")
        assert (await invite(service, only, email, roles=["user"])).json()["roles"] == ["user"]
        assert (await change(service, only, user_id, roles=["admin"])).status_code == 200
        token = (await invited(service, only, email, count=3))[1]
        assert (await reset(service, token, CHOSEN)).status_code == 200
        assert (await change(service, only, only.id, roles=["user"])).status_code == 200


# --- who may, and what fits ------------------------------------------------------------------------------------------


async def test_only_administrators_invite_and_sign_others_out(service: Service, admin: Person) -> None:
    """S4-23 C-29: others 403, and a user's API key too, even an administrator's."""
    person, email = await service.register(), service.new_email()
    key = await service.client.post("/v1/api-keys", json={"name": "k", "scopes": ["read"]}, headers=admin.bearer)
    asked = [
        ("POST", USERS, {"email": email, "roles": ["admin"]}),
        ("GET", f"{USERS}/{admin.id}/sessions", None),
        ("DELETE", f"{USERS}/{admin.id}/sessions", None),
    ]
    for method, path, body in asked:
        answer = await service.client.request(method, path, json=body, headers=person.bearer)
        assert (answer.status_code, answer.json()["detail"]) == (403, "Admin access required")
        answer = await service.client.request(method, path, json=body, headers={"X-API-Key": key.json()["secret"]})
        assert problem(answer) == (403, "credential_not_accepted")
        assert (await service.client.request(method, path, json=body)).status_code == 401
    assert await service.sql("SELECT 1 FROM idp.users WHERE email = $1", email) == []
    assert (await service.me(admin.bearer)).status_code == 200


@pytest.mark.parametrize(
    "more",
    [
        {"email": "nobody"}, {"email": "a@b@example.com"}, {"email": None}, {"email": ""}, {"email": "a\0@example.com"},
        {"roles": "admin"}, {"roles": ["Admin"]}, {"roles": None}, {"plan": "GOLD"}, {"name": ""}, {"name": "a\nb"},
        {"password": "password"}, {"is_active": True}, {"email_verified": True}, {"rolse": ["user"]},
    ],
)  # fmt: skip
async def test_an_invalid_invitation_creates_no_user(service: Service, admin: Person, more: Any) -> None:
    """C-16 SEC-11: unknown members are refused, and nobody chooses a password for somebody else."""
    email = service.new_email()
    answer = await service.client.post(USERS, json={"email": email, **more}, headers=admin.bearer)
    assert problem(answer) == (422, "validation_failed")
    assert await service.sql("SELECT 1 FROM idp.users WHERE email = $1", email) == []


# --- sessions --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def pair(postgres: EmbeddedPostgres) -> AsyncIterator[tuple[Service, Service]]:
    """Two services on one database, each with its own memory, behind one address as a balancer would have it."""
    url, environ = postgres.create_database("admin_sessions"), {"IDP_SECRET_KEY": root_secret()}
    async with running(url, environ=environ) as one:
        environ["IDP_PUBLIC_URL"] = one.base_url
        async with running(url, environ=environ, migrate=False) as other:
            yield one, other


async def test_sessions_are_listed_and_ended_everywhere_at_once(pair: tuple[Service, Service]) -> None:
    """S4-07 SEC-70: with access and refresh tokens, in the other service as well; keys and password stay."""
    one, other = pair
    admin, person = await one.register_admin(), await one.register()
    tablet = await one.sign_in(person, device_info="kitchen tablet")
    key = await one.client.post("/v1/api-keys", json={"name": "k", "scopes": ["read"]}, headers=person.bearer)
    path = f"{USERS}/{person.id}/sessions"
    listed = await one.client.get(path, headers=admin.bearer)
    assert listed.status_code == 200
    found = listed.json()["sessions"]
    assert [(each["session_id"], each["device_info"]) for each in found] == [
        (tablet.session_id, "kitchen tablet"),
        (person.session_id, None),
    ]
    assert {each["current"] for each in found} == {False}
    assert tablet.refresh_token not in listed.text
    for each in (person, tablet):  # remembered by the other service from now on
        assert (await other.client.post("/auth/validate", json={"token": each.token})).json()["valid"] is True

    ended = await one.client.delete(path, headers=admin.bearer)
    assert (ended.status_code, ended.json()) == (200, {"success": True, "user_id": person.id, "ended_sessions": 2})
    await other.app.core.change_listener.catch_up()
    for service in pair:
        for each in (person, tablet):
            assert (await service.validate(each.token))["error"] == "token_revoked"
            assert (await service.refresh(each.refresh_token)).status_code == 401
        assert (await service.validate(key.json()["secret"]))["valid"] is True
    assert (await one.client.get(path, headers=admin.bearer)).json() == {"sessions": []}
    assert (await one.client.delete(path, headers=admin.bearer)).json()["ended_sessions"] == 0
    assert await log_in(one, person.email) == 200
    assert ("session.ended", f"user:{admin.id}") in await actions(one, person.id)


async def test_the_current_session_is_marked_and_may_be_ended(service: Service) -> None:
    admin = await service.register_admin()
    path = f"{USERS}/{admin.id}/sessions"
    listed = await service.client.get(path, headers=admin.bearer)
    assert [each["current"] for each in listed.json()["sessions"]] == [True]
    assert (await service.client.delete(path, headers=admin.bearer)).json()["ended_sessions"] == 1
    assert problem(await service.me(admin.bearer)) == (401, "token_revoked")


async def test_sessions_whose_time_was_up_are_not_counted(service: Service, admin: Person) -> None:
    """What is answered is what the list shows; they are ended all the same."""
    person = await service.register()
    await service.sign_in(person)
    await service.sql(
        "UPDATE idp.user_sessions SET idle_expires_at = now() WHERE id = $1::text::uuid", person.session_id
    )
    path = f"{USERS}/{person.id}/sessions"
    assert len((await service.client.get(path, headers=admin.bearer)).json()["sessions"]) == 1
    assert (await service.client.delete(path, headers=admin.bearer)).json()["ended_sessions"] == 1
    left = await service.sql("SELECT 1 FROM idp.user_sessions WHERE user_id = $1 AND ended_at IS NULL", person.id)
    assert left == []


async def test_sessions_of_an_unknown_user_are_404(service: Service, admin: Person) -> None:
    for identifier in ("nobody", "%00", "a%2Fb", "x" * 3000):
        for method in ("GET", "DELETE"):
            answer = await service.client.request(method, f"{USERS}/{identifier}/sessions", headers=admin.bearer)
            assert answer.status_code == 404, answer.text
            assert answer.json()["code"] in {"user_not_found", "not_found"}
