"""Who must have a second factor: days of grace, and a sign-in that then waits until one is set up."""

from collections.abc import AsyncIterator

import pytest

from factories import PASSWORD, Person, Service, running
from factors.phone import Phone, password_only, prove, set_up, waiting
from flows.mail_support import verified
from idp.dev.embedded import EmbeddedPostgres
from pages.visitor import Visitor, authorization, heading, new_client, returned

DUE = "UPDATE idp.second_factor_deadlines SET due_at = now() WHERE user_id = $1"


@pytest.fixture(scope="module")
async def strict(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    """A service that requires a second factor of administrators and of the team Treasury."""
    environ = {
        "IDP_SECOND_FACTOR__REQUIRED_ROLES": "admin",
        "IDP_SECOND_FACTOR__REQUIRED_TEAMS": "Treasury",
    }
    async with running(postgres.create_database("strict"), environ=environ) as service:
        yield service


@pytest.fixture
async def admin(strict: Service) -> Person:
    person = await verified(strict)
    await strict.sql("INSERT INTO idp.user_roles (user_id, role) VALUES ($1, 'admin')", person.id)
    return person


@pytest.fixture
async def visitor(strict: Service) -> AsyncIterator[Visitor]:
    async with Visitor(strict) as visitor:
        yield visitor


async def test_the_policy_concerns_only_those_whom_it_names(strict: Service) -> None:
    person = await verified(strict)
    assert (await password_only(strict, person)).status_code == 200
    assert (await strict.client.get("/api/auth/factors", headers=person.bearer)).json()["required"] is False
    assert await strict.sql("SELECT 1 FROM idp.second_factor_deadlines WHERE user_id = $1", person.id) == []


async def test_members_of_a_team_are_concerned(strict: Service) -> None:
    person = await verified(strict)
    await strict.sql(
        "WITH t AS (INSERT INTO idp.teams (id, name, is_active, created_at, updated_at, version)"
        " VALUES (gen_random_uuid(), 'Treasury', true, now(), now(), 1) RETURNING id)"
        " INSERT INTO idp.team_memberships (id, user_id, team_id, created_at, updated_at)"
        " SELECT gen_random_uuid(), $1, id, now(), now() FROM t",
        person.id,
    )
    assert (await password_only(strict, person)).status_code == 200
    assert (await strict.client.get("/api/auth/factors", headers=person.bearer)).json()["required"] is True


async def test_within_the_days_of_grace_nothing_is_blocked_and_the_page_says_until_when(
    strict: Service, visitor: Visitor, admin: Person
) -> None:
    assert (await password_only(strict, admin)).status_code == 200
    state = (await strict.client.get("/api/auth/factors", headers=admin.bearer)).json()
    assert state["required"] is True
    page = await visitor.sign_in(admin)
    assert heading(page) == "Set up a second factor"
    assert state["due_at"][:10] in page.text
    assert "Not now" in page.text
    (row,) = await strict.sql("SELECT due_at FROM idp.second_factor_deadlines WHERE user_id = $1", admin.id)
    assert row["due_at"].isoformat()[:19] == state["due_at"][:19]  # of the first sign-in: later ones move nothing
    assert (await visitor.open("/account")).url.path == "/account"


async def test_after_them_the_api_names_the_page(strict: Service, admin: Person) -> None:
    await password_only(strict, admin)
    await strict.sql(DUE, admin.id)
    answer = await password_only(strict, admin)
    assert (answer.status_code, answer.json()["code"]) == (403, "second_factor_enrolment_required")
    assert answer.json()["page"] == f"{strict.base_url}/login"
    assert "pending_token" not in answer.json()


async def test_after_them_the_sign_in_waits_until_a_factor_is_set_up(
    strict: Service, visitor: Visitor, admin: Person
) -> None:
    await password_only(strict, admin)
    await strict.sql(DUE, admin.id)
    client_id = await new_client(strict, skip_consent=True)
    login = await visitor.open("/oauth2/authorize", **authorization(client_id))
    page = await visitor.send(login, email=admin.email, password=PASSWORD)
    assert heading(page) == "Set up a second factor"
    assert "Not now" not in page.text
    assert (await visitor.client.get("/auth/me")).status_code == 401
    assert (await visitor.open("/second-factor")).url.path == "/second-factor/set-up"
    key = page.text.partition('<code class="totp-key">')[2].partition("</code>")[0].replace(" ", "")
    phone = Phone(strict, admin, key)
    wrong = await visitor.send(page, code=phone.wrong_code())
    assert wrong.status_code == 422
    assert page.text.partition('<code class="totp-key">')[2][:30] in wrong.text
    shown = await visitor.send(wrong, code=phone.code())
    assert heading(shown) == "Keep your recovery codes"
    onward = shown.text.partition('<a class="button" href="')[2].partition('"')[0].replace("&amp;", "&")
    assert "code" in returned(await visitor.open(onward))
    await phone.wait()
    assert (await prove(strict, await waiting(strict, admin), phone.code())).status_code == 200


async def test_a_sign_in_that_waits_for_a_set_up_is_not_finished_by_a_code(strict: Service, admin: Person) -> None:
    await password_only(strict, admin)
    await strict.sql(DUE, admin.id)
    async with Visitor(strict) as visitor:
        await visitor.send(await visitor.open("/login"), email=admin.email, password=PASSWORD)
        token = visitor.client.cookies["idp_pending"]
    answer = await prove(strict, token, "123456")
    assert answer.json()["code"] == "sign_in_expired"


async def test_the_last_factor_of_one_who_must_have_it_stays(strict: Service, admin: Person) -> None:
    phone = await set_up(strict, admin)
    answer = await strict.client.delete("/api/auth/factors/totp", headers=phone.person.bearer)
    assert (answer.status_code, answer.json()["code"]) == (409, "second_factor_needed")
    assert (await prove(strict, await waiting(strict, admin), phone.code())).status_code == 200


async def test_a_reset_brings_no_new_days_of_grace(strict: Service, admin: Person) -> None:
    await password_only(strict, admin)
    await strict.sql(DUE, admin.id)
    await strict.sql("DELETE FROM idp.second_factor_deadlines WHERE user_id = $1 AND due_at > now()", admin.id)
    phone = await set_up(strict, admin)
    other = await verified(strict)
    await strict.sql("INSERT INTO idp.user_roles (user_id, role) VALUES ($1, 'admin')", other.id)
    path = f"/api/auth/admin/users/{admin.id}/factors"
    body = {"reason": "lost phone"}
    assert (await strict.client.request("DELETE", path, headers=other.bearer, json=body)).status_code == 200
    assert (await password_only(strict, phone.person)).json()["code"] == "second_factor_enrolment_required"
