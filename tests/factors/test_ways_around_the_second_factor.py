"""Ways around the second factor, which must be closed."""

import json
from collections.abc import AsyncIterator

import pytest

from factories import PASSWORD, Person, Service, running
from factors.phone import Phone, password_only, set_up
from factors.software_authenticator import Authenticator
from flows.mail_support import verified
from idp.dev.embedded import EmbeddedPostgres
from pages.visitor import Visitor, form_of

KEY = '<code class="totp-key">'
DUE = "UPDATE idp.second_factor_deadlines SET due_at = now() WHERE user_id = $1"


def phone_of(service: Service, person: Person, text: str) -> Phone:
    return Phone(service, person, text.partition(KEY)[2].partition("</code>")[0].replace(" ", ""))


async def add_passkey(service: Service, person: Person) -> None:
    options = (await service.client.post("/api/auth/passkeys/options", headers=person.bearer)).json()
    options = options.get("publicKey", options.get("options", options))
    credential = Authenticator(service.base_url.replace("127.0.0.1", "localhost")).create(options)
    body = {"credential": credential, "name": "Key"}
    answer = await service.client.post("/api/auth/passkeys", headers=person.bearer, json=body)
    assert answer.status_code == 201, answer.text


async def test_a_session_with_one_factor_adds_no_app_by_the_page_of_the_set_up(service: Service) -> None:
    """C-33: the owner has set up a passkey meanwhile; a stranger's session with the password alone adds nothing."""
    person = await verified(service)
    async with Visitor(service) as stranger:
        await stranger.sign_in(person)
        page = await stranger.open("/second-factor/set-up")
        await add_passkey(service, person)
        account = await stranger.open("/account/security/authenticator")
        assert account.url.path == "/login"  # the page of the account refuses
        await stranger.send(page, code=phone_of(service, person, page.text).code())
        rows = await service.sql("SELECT 1 FROM idp.totp_secrets WHERE user_id = $1", person.id)
        assert rows == []


@pytest.fixture(scope="module")
async def strict(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    environ = {"IDP_SECOND_FACTOR__REQUIRED_ROLES": "admin"}
    async with running(postgres.create_database("strict_ways"), environ=environ) as service:
        yield service


async def test_a_sign_in_that_waits_for_a_set_up_is_over_when_the_owner_has_a_factor(strict: Service) -> None:
    person = await verified(strict)
    await strict.sql("INSERT INTO idp.user_roles (user_id, role) VALUES ($1, 'admin')", person.id)
    await password_only(strict, person)
    await strict.sql(DUE, person.id)
    async with Visitor(strict) as stranger:
        page = await stranger.send(await stranger.open("/login"), email=person.email, password=PASSWORD)
        assert page.url.path == "/second-factor/set-up"
        await add_passkey(strict, person)  # in a session from before the deadline
        await stranger.send(page, code=phone_of(strict, person, page.text).code())
        assert await strict.sql("SELECT 1 FROM idp.totp_secrets WHERE user_id = $1", person.id) == []


async def test_nested_json_of_a_passkey_is_no_error_of_the_service(service: Service) -> None:
    nested = '{"a":' + "[" * 5000
    async with Visitor(service) as visitor:
        page = await visitor.open("/login")
        fields = form_of(page, "/login").fields
        headers = {"Origin": service.base_url}
        data = {"csrf_token": fields["csrf_token"], "credential": nested}
        answer = await visitor.client.post("/login/passkey", data=data, headers=headers)
        assert answer.status_code < 500


async def test_signing_out_everywhere_ends_what_waits(service: Service) -> None:
    person = await verified(service)
    phone = await set_up(service, person)
    answer = await password_only(service, person)
    token = answer.json()["pending_token"]
    for path in ("/api/auth/logout-all", "/api/auth/sessions/logout-all", "/auth/logout-all"):
        gone = await service.client.post(path, headers=person.bearer, json={})
        if gone.status_code < 300:
            break
    assert gone.status_code < 300, gone.text
    body = {"pending_token": token, "code": phone.code()}
    late = await service.client.post("/api/auth/second-factor", json=body)
    assert late.status_code == 401, json.dumps(late.json())[:200]
