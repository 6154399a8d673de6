"""Passkeys over HTTP, with a software authenticator: register, sign in, rename, remove, and what is refused."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest
import time_machine
from fido2.utils import websafe_encode

from factories import PASSWORD, Person, Service
from factors.software_authenticator import Authenticator
from idp import clock

PATH, LOGIN = "/api/auth/passkeys", "/api/auth/login/passkey"


def authenticator(service: Service, **how: Any) -> Authenticator:
    """Return an authenticator on a page of the service, which is at localhost for passkeys."""
    return Authenticator(service.base_url.replace("127.0.0.1", "localhost"), **how)


async def creation_options(service: Service, person: Person) -> dict[str, Any]:
    answer = await service.client.post(f"{PATH}/options", headers=person.bearer)
    assert answer.status_code == 200, answer.text
    options: dict[str, Any] = answer.json()["publicKey"]
    return options


async def registered(service: Service, person: Person, name: str = "Key", **how: Any) -> Authenticator:
    """Register a passkey of a new authenticator; the person's session is replaced by a stronger one."""
    device = authenticator(service, **how)
    credential = device.create(await creation_options(service, person))
    answer = await service.client.post(PATH, json={"credential": credential, "name": name}, headers=person.bearer)
    assert answer.status_code == 201, answer.text
    session = answer.json()["session"]
    person.token, person.session_id = session["access_token"], session["session_id"]
    return device


async def request_options(service: Service) -> dict[str, Any]:
    answer = await service.client.post(f"{LOGIN}/options")
    assert answer.status_code == 200
    options: dict[str, Any] = answer.json()["publicKey"]
    return options


async def sign_in(service: Service, device: Authenticator, **changed: Any) -> httpx2.Response:
    credential = device.get(await request_options(service), **changed)
    return await service.client.post(LOGIN, json={"credential": credential})


async def strong(service: Service, person: Person, device: Authenticator) -> Person:
    """Return the person in another session, which began with the passkey."""
    answer = (await sign_in(service, device)).json()
    return replace(person, token=answer["access_token"], session_id=answer["session_id"])


async def listed(service: Service, person: Person) -> dict[str, Any]:
    answer: dict[str, Any] = (await service.client.get(PATH, headers=person.bearer)).json()
    return answer


@pytest.fixture
async def person(production: Service) -> Person:
    return await production.register()


async def test_a_passkey_signs_in_without_a_name_as_two_factors(production: Service, person: Person) -> None:
    """SEC-61: amr and acr say so; the user handle tells nothing about the user."""
    options = await creation_options(production, person)
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert person.id not in str(options["user"]["id"])
    device = await registered(production, person, "Laptop")
    request = await request_options(production)
    assert (request["userVerification"], request["allowCredentials"]) == ("required", [])
    answer = await sign_in(production, device)
    assert answer.status_code == 200, answer.text
    assert answer.json()["user_id"] == person.id
    (session,) = await production.sql(
        "SELECT amr, acr FROM idp.user_sessions WHERE id = $1::uuid", answer.json()["session_id"]
    )
    assert (session["amr"], session["acr"]) == (["hwk", "user", "mfa"], "2")
    (passkey,) = (await listed(production, person))["passkeys"]
    assert (passkey["name"], passkey["backed_up"]) == ("Laptop", False)
    assert passkey["last_used_at"] is not None


async def test_a_synced_passkey_without_a_counter_signs_in_again_and_again(production: Service, person: Person) -> None:
    device = await registered(production, person, counts=False, synced=True)
    for _ in range(2):
        answer = await sign_in(production, device)
        assert answer.status_code == 200, answer.text
    amr = await production.sql("SELECT amr FROM idp.user_sessions WHERE id = $1::uuid", answer.json()["session_id"])
    assert amr[0]["amr"] == ["swk", "user", "mfa"]
    assert (await listed(production, person))["passkeys"][0]["backed_up"] is True


async def test_a_second_passkey_shares_the_handle_and_excludes_the_first(production: Service, person: Person) -> None:
    first = await registered(production, person)
    options = await creation_options(production, person)
    assert [each["id"] for each in options["excludeCredentials"]] == [websafe_encode(first.credential_id)]
    second = await registered(production, person)
    assert first.user_handle == second.user_handle == (await listed(production, person))["user_handle"]


async def test_a_copy_of_a_passkey_is_refused_and_recorded(production: Service, person: Person) -> None:
    """The counter goes back: `passkey_cloned`, an audit record, and no session."""
    device = await registered(production, person)
    assert (await sign_in(production, device)).status_code == 200
    device.counter -= 2
    refused = await sign_in(production, device)
    assert (refused.status_code, refused.json()["code"]) == (401, "passkey_cloned")
    actions = await production.sql("SELECT action FROM idp.audit_logs WHERE user_id = $1", person.id)
    assert "passkey.may_be_cloned" in {row["action"] for row in actions}


async def test_a_response_works_once_also_of_two_at_the_same_time(production: Service, person: Person) -> None:
    device = await registered(production, person, counts=False)
    credential = device.get(await request_options(production))
    answers = await asyncio.gather(*(production.client.post(LOGIN, json={"credential": credential}) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200, 422, 422, 422, 422, 422]


async def test_a_passkey_without_user_verification_does_not_sign_in_alone(production: Service, person: Person) -> None:
    device = await registered(production, person, verifies=False)
    refused = await sign_in(production, device)
    assert (refused.status_code, refused.json()["code"]) == (422, "passkey_rejected")


async def test_what_is_not_of_this_page_user_or_purpose_is_refused(production: Service, person: Person) -> None:
    device = await registered(production, person)
    foreign = Authenticator("https://evil.example", key=device.key, credential_id=device.credential_id)
    foreign.user_handle, foreign.counter = device.user_handle, 50
    other = await registered(production, await production.register())
    unknown = authenticator(production)
    unknown.user_handle = device.user_handle
    for answer, code in (
        (await sign_in(production, foreign), "passkey_rejected"),
        (await sign_in(production, device, userHandle=other.user_handle), "passkey_rejected"),
        (await sign_in(production, device, signature="AAAA"), "passkey_rejected"),
        (await sign_in(production, device, clientDataJSON="e30"), "passkey_rejected"),
        (await sign_in(production, unknown), "passkey_unknown"),
    ):
        assert answer.json()["code"] == code, answer.text
        assert answer.status_code < 500
    options = await creation_options(production, await production.register())
    of_other_purpose = device.get({"rpId": "localhost", "challenge": options["challenge"]})
    assert (await production.client.post(LOGIN, json={"credential": of_other_purpose})).status_code == 422


@pytest.mark.parametrize(
    "credential",
    [{}, {"id": 1}, {"response": {}}, {"response": {"clientDataJSON": 5}}, {"response": "x"}, {"response": None},
     {"response": {"clientDataJSON": "!!"}}, {"response": {"clientDataJSON": "W10"}}],
)  # fmt: skip
async def test_malformed_credentials_are_refused(production: Service, person: Person, credential: Any) -> None:
    for path, headers in ((LOGIN, {}), (PATH, person.bearer)):
        answer = await production.client.post(path, json={"credential": credential}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "passkey_rejected")


async def test_an_authenticator_may_leave_the_user_handle_out(production: Service, person: Person) -> None:
    """The credential's id and signature tell who it is."""
    device = await registered(production, person)
    answer = await sign_in(production, device, userHandle=None)
    assert (answer.status_code, answer.json()["user_id"]) == (200, person.id)


async def test_a_challenge_expires(production: Service, person: Person) -> None:
    device = await registered(production, person)
    options = await request_options(production)
    with time_machine.travel(clock.now() + timedelta(minutes=31), tick=True):
        answer = await production.client.post(LOGIN, json={"credential": device.get(options)})
    assert answer.status_code == 422
    assert "expired" in answer.json()["detail"]


async def test_registering_needs_a_recent_sign_in_and_the_same_user(production: Service, person: Person) -> None:
    """C-33: and options of one user register nothing for another."""
    other = await production.register()
    options = await creation_options(production, other)
    credential = authenticator(production).create(options)
    answer = await production.client.post(PATH, json={"credential": credential}, headers=person.bearer)
    assert answer.status_code == 422
    await production.sql(
        "UPDATE idp.user_sessions SET auth_time = auth_time - interval '1 hour' WHERE id = $1::uuid", person.session_id
    )
    for method, path in (("POST", f"{PATH}/options"), ("POST", PATH)):
        answer = await production.client.request(
            method, path, json={"credential": credential} if path == PATH else None, headers=person.bearer
        )
        assert (answer.status_code, answer.json()["code"]) == (401, "fresh_login_required")


async def test_one_authenticator_is_registered_once(production: Service, person: Person) -> None:
    device = await registered(production, person)
    credential = device.create(await creation_options(production, await production.register()))
    other = await production.register()
    credential = device.create(await creation_options(production, other))
    answer = await production.client.post(PATH, json={"credential": credential}, headers=other.bearer)
    assert (answer.status_code, answer.json()["code"]) == (409, "passkey_exists")


async def test_a_passkey_is_renamed_and_removed_by_its_user_only(production: Service, person: Person) -> None:
    device = await registered(production, person)
    fresh = await strong(production, person, device)
    (passkey,) = (await listed(production, person))["passkeys"]
    path, stranger = f"{PATH}/{passkey['id']}", await production.register()
    for method, body in (("PATCH", {"name": "Mine"}), ("DELETE", None)):
        answer = await production.client.request(method, path, json=body, headers=stranger.bearer)
        assert (answer.status_code, answer.json()["code"]) == (404, "passkey_not_found")
    assert (await production.client.patch(path, json={"name": "<b>"}, headers=fresh.bearer)).json()["name"] == "<b>"
    other = await strong(production, person, device)
    await production.sql("UPDATE idp.user_sessions SET acr = '1', amr = '{pwd}' WHERE id = $1::uuid", other.session_id)
    weak = await production.client.delete(path, headers=other.bearer)
    assert (weak.status_code, weak.json()["code"]) == (401, "fresh_login_required")
    assert 'acr_values="2"' in weak.headers["WWW-Authenticate"]
    assert (await production.client.delete(path, headers=fresh.bearer)).status_code == 200
    assert await listed(production, fresh) == {"passkeys": [], "user_handle": None, "rp_id": "localhost"}
    gone = await sign_in(production, device)
    assert (gone.status_code, gone.json()["code"]) == (401, "passkey_unknown")


async def test_a_disabled_user_does_not_sign_in(production: Service, person: Person) -> None:
    device = await registered(production, person)
    admin = await production.register_admin()
    path = f"/api/auth/admin/users/{person.id}"
    assert (await production.client.patch(path, json={"is_active": False}, headers=admin.bearer)).status_code == 200
    answer = await sign_in(production, device)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")


# --- as the second factor --------------------------------------------------------------------------------------------


async def waiting(service: Service, person: Person) -> tuple[str, dict[str, Any]]:
    """Return the token of a sign-in by password that waits for the passkey, and the options."""
    answer = await service.client.post("/auth/login", json={"email": person.email, "password": PASSWORD})
    assert (answer.status_code, answer.json()["code"]) == (403, "second_factor_required"), answer.text
    assert answer.json()["methods"][0] == "passkey"
    token = answer.json()["pending_token"]
    options = await service.client.post("/api/auth/second-factor/passkey-options", json={"pending_token": token})
    assert options.status_code == 200, options.text
    return token, options.json()["publicKey"]


async def prove(service: Service, token: str, credential: dict[str, Any]) -> httpx2.Response:
    body = {"pending_token": token, "credential": credential}
    return await service.client.post("/api/auth/second-factor", json=body)


async def test_a_passkey_finishes_a_sign_in_by_password(production: Service, person: Person) -> None:
    """A key without a PIN is enough here; recovery codes came with it."""
    device = await registered(production, person, verifies=False)
    token, options = await waiting(production, person)
    assert [each["id"] for each in options["allowCredentials"]] == [websafe_encode(device.credential_id)]
    answer = await prove(production, token, device.get(options))
    assert answer.status_code == 200, answer.text
    (session,) = await production.sql(
        "SELECT amr, acr FROM idp.user_sessions WHERE id = $1::uuid", answer.json()["session_id"]
    )
    assert (session["amr"], session["acr"]) == (["pwd", "hwk", "mfa"], "2")
    again = await prove(production, token, device.get(options))
    assert (again.status_code, again.json()["code"]) == (401, "sign_in_expired")


async def test_another_users_passkey_and_a_copy_prove_nothing(production: Service, person: Person) -> None:
    device = await registered(production, person)
    other = await registered(production, await production.register())
    token, options = await waiting(production, person)
    assert (await prove(production, token, other.get(options))).json()["code"] == "second_factor_invalid"
    token, options = await waiting(production, person)
    device.counter = -1
    assert (await prove(production, token, device.get(options))).json()["code"] == "second_factor_invalid"
    actions = await production.sql("SELECT action FROM idp.audit_logs WHERE user_id = $1", person.id)
    assert "passkey.may_be_cloned" in {row["action"] for row in actions}


async def test_a_code_or_a_credential_is_sent_not_both(production: Service, person: Person) -> None:
    await registered(production, person)
    token, _ = await waiting(production, person)
    for more in ({}, {"code": "123456", "credential": {}}):
        answer = await production.client.post("/api/auth/second-factor", json={"pending_token": token, **more})
        assert answer.status_code == 422


async def test_a_step_up_requires_that_the_authenticator_verifies_its_user(production: Service, person: Person) -> None:
    device = await registered(production, person)
    for verifies, status in ((False, 401), (True, 200)):
        answer = await production.client.post("/api/auth/step-up/passkey-options", headers=person.bearer)
        options = answer.json()["publicKey"]
        assert options["userVerification"] == "required"
        device.verifies = verifies
        body = {"credential": device.get(options)}
        answer = await production.client.post("/api/auth/step-up", json=body, headers=person.bearer)
        assert answer.status_code == status, answer.text
    assert answer.json()["session_id"] != person.session_id
