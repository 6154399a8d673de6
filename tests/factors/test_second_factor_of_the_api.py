"""Sign-in with a second factor over the API: what waits, what is started, and what guesses and races find."""

import asyncio

import pytest

from factories import PASSWORD, Person, Service
from factors.phone import Phone, begin, confirm, password_only, prove, set_up, waiting
from flows.mail_support import mails_about, verified
from idp.signing.compact import parse
from provider_apps import Browser

CHANGED, USED = "second factor of your account was changed", "recovery code of your account was used"


@pytest.fixture
async def person(service: Service) -> Person:
    return await verified(service)


@pytest.fixture
async def phone(service: Service, person: Person) -> Phone:
    return await set_up(service, person)


async def test_who_has_no_second_factor_notices_nothing(service: Service, person: Person) -> None:
    answer = await password_only(service, person)
    assert answer.status_code == 200
    assert parse(answer.json()["access_token"]).claims["amr"] == ["pwd"]
    factors = (await service.client.get("/api/auth/factors", headers=person.bearer)).json()
    assert factors == {
        "totp": False,
        "totp_since": None,
        "totp_last_used": None,
        "passkeys": 0,
        "recovery_codes_left": 0,
        "required": False,
        "due_at": None,
    }


@pytest.mark.parametrize("path", ["/auth/login", "/api/auth/login"])
async def test_there_is_no_session_before_the_second_factor(service: Service, phone: Phone, path: str) -> None:
    counting = "SELECT count(*) FROM idp.user_sessions WHERE user_id = $1 AND ended_at IS NULL"
    before = (await service.sql(counting, phone.person.id))[0]["count"]
    answer = await password_only(service, phone.person, path=path)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["methods"], problem["expires_in"]) == (
        403, "second_factor_required", ["totp", "recovery_code"], 600)  # fmt: skip
    assert "set-cookie" not in answer.headers
    assert (await service.sql(counting, phone.person.id))[0]["count"] == before
    started = await prove(service, problem["pending_token"], phone.code())
    assert started.status_code == 200, started.text
    claims = parse(started.json()["access_token"]).claims
    assert (claims["amr"], claims["acr"]) == (["pwd", "otp", "mfa"], "2")
    assert (await service.sql(counting, phone.person.id))[0]["count"] == before + 1
    refreshed = await service.refresh(started.json()["refresh_token"])
    assert parse(refreshed.json()["access_token"]).claims["acr"] == "2"


async def test_a_sign_in_with_a_cookie_goes_on_with_a_cookie(service: Service, phone: Phone) -> None:
    answer = await service.client.post(
        "/auth/login?mode=cookie", json={"email": phone.person.email, "password": PASSWORD, "device_info": "my tablet"}
    )
    started = await prove(service, answer.json()["pending_token"], phone.code())
    assert started.json()["refresh_token"] is None
    assert started.json()["csrf_token"]
    assert "idp_session" in started.headers["set-cookie"]
    bearer = {"Authorization": f"Bearer {started.json()['access_token']}"}
    listed = (await service.client.get("/api/auth/sessions", headers=bearer)).json()["sessions"]
    assert [each["device_info"] for each in listed if each["current"]] == ["my tablet"]


async def test_setting_up_is_told_by_mail_recorded_and_published(service: Service, phone: Phone) -> None:
    assert len(phone.recovery_codes) == 10
    assert len(set(phone.recovery_codes)) == 10
    (mail,) = await mails_about(service, phone.person.email, CHANGED)
    assert "authenticator app was set up" in mail["text"]
    rows = await service.sql("SELECT details FROM idp.audit_logs WHERE user_id = $1 AND action = $2", phone.person.id,
                             "user.second_factor_changed")  # fmt: skip
    assert len(rows) == 1
    events = await service.sql("SELECT data FROM idp.outbox WHERE subject = $1 ORDER BY seq DESC", phone.person.id)
    assert any("second_factors" in str(row["data"]) for row in events)
    stored = await service.sql("SELECT secret FROM idp.totp_secrets WHERE user_id = $1", phone.person.id)
    assert phone.secret not in stored[0]["secret"]


async def test_the_session_that_set_a_factor_up_is_replaced_by_a_stronger_one(service: Service, person: Person) -> None:
    old = person.bearer
    phone = await set_up(service, person)
    assert (await service.me(old)).status_code == 401
    assert parse(phone.person.token).claims["acr"] == "2"
    renewed = await service.client.post("/api/auth/factors/recovery-codes", headers=phone.person.bearer)
    assert renewed.status_code == 200  # asks for a recent sign-in with two factors
    assert not set(renewed.json()["recovery_codes"]) & set(phone.recovery_codes)


async def test_a_wrong_an_old_and_a_used_code_have_the_same_error(service: Service, phone: Phone) -> None:
    used = phone.code()
    assert (await prove(service, await waiting(service, phone.person), used)).status_code == 200
    token = await waiting(service, phone.person)
    answers = [
        await prove(service, token, code) for code in (used, phone.wrong_code(), phone.code(steps=-3), "no code")
    ]
    assert {(answer.status_code, answer.json()["code"], answer.json()["detail"]) for answer in answers} == {
        (401, "second_factor_invalid", "The code is wrong, expired or used.")
    }
    assert (await prove(service, token, phone.code(steps=1))).status_code == 200  # one step of drift
    failed = await service.sql("SELECT details FROM idp.audit_logs WHERE user_id = $1 AND action = $2", phone.person.id,
                               "user.sign_in_failed")  # fmt: skip
    assert len(failed) == 4


async def test_of_twenty_requests_with_one_code_one_signs_in(service: Service, phone: Phone) -> None:
    tokens = [await waiting(service, phone.person) for _ in range(8)]
    code = phone.code()
    answers = await asyncio.gather(*(prove(service, token, code) for token in tokens))
    assert sorted(answer.status_code for answer in answers) == [200, *[401] * 7]


async def test_a_sign_in_that_waits_is_good_for_one_session(service: Service, phone: Phone) -> None:
    token = await waiting(service, phone.person)
    code, other = phone.recovery_codes[:2]
    answers = await asyncio.gather(*(prove(service, token, each) for each in (code, other)))
    assert sorted(answer.status_code for answer in answers) == [200, 401]
    assert (await prove(service, token, phone.code())).json()["code"] == "sign_in_expired"


async def test_five_wrong_codes_end_the_sign_in_that_waits(service: Service, phone: Phone) -> None:
    token = await waiting(service, phone.person)
    for _ in range(5):
        assert (await prove(service, token, phone.wrong_code())).json()["code"] == "second_factor_invalid"
    assert (await prove(service, token, phone.code())).json()["code"] == "sign_in_expired"


async def test_it_waits_ten_minutes(service: Service, phone: Phone) -> None:
    token = await waiting(service, phone.person)
    await service.sql("UPDATE idp.pending_sign_ins SET expires_at = now() WHERE user_id = $1", phone.person.id)
    assert (await prove(service, token, phone.code())).json()["code"] == "sign_in_expired"
    rows = "SELECT count(*) FROM idp.pending_sign_ins WHERE user_id = $1"
    async with service.app.core.database.transaction() as session:
        await service.app.core.session_starter.pending_sign_ins.clean_up(session, limit=1000)
    assert (await service.sql(rows, phone.person.id))[0]["count"] == 0


@pytest.mark.parametrize("change", ["is_active = false", "password_version = password_version + 1"])
async def test_a_user_who_is_disabled_or_changes_the_password_between_the_factors_gets_no_session(
    service: Service, phone: Phone, change: str
) -> None:
    token = await waiting(service, phone.person)
    await service.sql(f"UPDATE idp.users SET {change} WHERE id = $1", phone.person.id)
    assert (await prove(service, token, phone.code())).json()["code"] == "sign_in_expired"


async def test_a_recovery_code_works_once_and_its_use_is_told(service: Service, phone: Phone) -> None:
    code = phone.recovery_codes[3]
    entered = f" {code.upper().replace('-', ' ')} "
    started = await prove(service, await waiting(service, phone.person), entered)
    assert started.status_code == 200
    assert (await prove(service, await waiting(service, phone.person), code)).status_code == 401
    (mail,) = await mails_about(service, phone.person.email, USED)
    assert "Codes left:  9" in mail["text"]
    bearer = {"Authorization": f"Bearer {started.json()['access_token']}"}
    assert (await service.client.get("/api/auth/factors", headers=bearer)).json()["recovery_codes_left"] == 9


async def test_of_two_enrolments_at_once_one_wins(service: Service, person: Person) -> None:
    first, second = [await begin(service, person) for _ in range(2)]
    phones = [Phone(service, person, begun["secret"]) for begun in (first, second)]
    other = await service.sign_in(person)
    answers = await asyncio.gather(
        confirm(service, person, first, phones[0].code()), confirm(service, other, second, phones[1].code())
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    lost = next(answer for answer in answers if answer.status_code == 409)
    assert lost.json()["code"] == "second_factor_changed"


async def test_an_enrolment_belongs_to_its_user_and_is_confirmed_by_a_code(service: Service, person: Person) -> None:
    begun, other = await begin(service, person), await service.register()
    phone = Phone(service, person, begun["secret"])
    wrong = await confirm(service, person, begun, phone.wrong_code())
    assert (wrong.status_code, wrong.json()["code"]) == (401, "second_factor_invalid")
    stolen = await confirm(service, other, begun, phone.code())
    assert (stolen.status_code, stolen.json()["code"]) == (410, "enrolment_expired")
    assert (await confirm(service, person, begun, phone.code())).status_code == 200


async def test_an_app_is_replaced_by_another_which_then_works_alone(service: Service, phone: Phone) -> None:
    second = await set_up(service, phone.person)
    assert second.recovery_codes == []  # the ones that there are stay
    token = await waiting(service, phone.person)
    assert (await prove(service, token, phone.code())).status_code == 401
    assert (await prove(service, token, second.code())).status_code == 200


async def test_removing_the_last_factor_removes_the_recovery_codes(service: Service, phone: Phone) -> None:
    gone = await service.client.delete("/api/auth/factors/totp", headers=phone.person.bearer)
    assert gone.json() == {"success": True}
    again = await service.client.delete("/api/auth/factors/totp", headers=phone.person.bearer)
    assert (again.status_code, again.json()["code"]) == (404, "factor_not_found")
    assert (await password_only(service, phone.person)).status_code == 200
    left = await service.sql("SELECT count(*) FROM idp.recovery_codes WHERE user_id = $1", phone.person.id)
    assert left[0]["count"] == 0
    codes = await service.client.post("/api/auth/factors/recovery-codes", headers=phone.person.bearer)
    assert (codes.status_code, codes.json()["code"]) == (409, "no_second_factor")


async def test_a_session_steps_up_with_a_code(service: Service, person: Person) -> None:
    weak = await service.sign_in(person)
    phone = await set_up(service, person)
    refused = await service.client.delete("/api/auth/factors/totp", headers=weak.bearer)
    assert (refused.status_code, refused.json()["code"]) == (401, "fresh_login_required")
    assert 'acr_values="2"' in refused.headers["WWW-Authenticate"]
    wrong = await service.client.post("/api/auth/step-up", headers=weak.bearer, json={"code": phone.wrong_code()})
    assert (wrong.status_code, wrong.json()["code"]) == (401, "second_factor_invalid")
    answer = await service.client.post("/api/auth/step-up", headers=weak.bearer, json={"code": phone.code()})
    assert answer.status_code == 200, answer.text
    claims = parse(answer.json()["access_token"]).claims
    assert (claims["amr"], claims["acr"]) == (["pwd", "otp", "mfa"], "2")
    assert answer.json()["session_id"] != weak.session_id
    assert (await service.me(weak.bearer)).status_code == 401
    strong = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert (await service.client.delete("/api/auth/factors/totp", headers=strong)).status_code == 200


async def test_a_session_steps_up_only_with_a_factor_and_soon_after_the_sign_in(
    service: Service, person: Person
) -> None:
    none = await service.client.post("/api/auth/step-up", headers=person.bearer, json={"code": "123456"})
    assert (none.status_code, none.json()["code"]) == (409, "no_second_factor")
    async with Browser(service) as browser:
        await browser.sign_in(person)
        await service.sql(
            "UPDATE idp.user_sessions SET auth_time = now() - interval '1 day' WHERE user_id = $1", person.id
        )
        csrf = {"X-CSRF-Token": (await browser.client.get("/api/auth/csrf")).json()["csrf_token"]}
        late = await browser.client.post("/api/auth/step-up", headers=csrf, json={"code": "123456"})
    assert (late.status_code, late.json()["code"]) == (401, "fresh_login_required")


async def test_an_administrator_resets_lost_factors_with_a_reason(service: Service, phone: Phone) -> None:
    admin = await service.register_admin()
    path = f"/api/auth/admin/users/{phone.person.id}/factors"
    seen = (await service.client.get(path, headers=admin.bearer)).json()
    assert (seen["totp"], seen["recovery_codes_left"]) == (True, 10)
    without = await service.client.request("DELETE", path, headers=admin.bearer, json={})
    assert without.status_code == 422
    token = await waiting(service, phone.person)
    body = {"reason": "Lost phone, met in person"}
    answer = await service.client.request("DELETE", path, headers=admin.bearer, json=body)
    assert answer.json() == {"success": True, "user_id": phone.person.id, "ended_sessions": 1}
    assert (await service.me(phone.person.bearer)).status_code == 401
    assert (await prove(service, token, phone.code())).json()["code"] == "sign_in_expired"
    assert (await password_only(service, phone.person)).status_code == 200
    mail = (await mails_about(service, phone.person.email, CHANGED, count=2))[0]
    assert "administrator removed all second factors" in mail["text"]
    (row,) = await service.sql(
        "SELECT actor, details FROM idp.audit_logs WHERE user_id = $1 AND details->>'change' = 'reset'", phone.person.id
    )
    assert row["actor"] == f"user:{admin.id}"
    assert "met in person" in row["details"]
    again = await service.client.request("DELETE", path, headers=admin.bearer, json=body)
    assert (again.status_code, again.json()["code"]) == (404, "factor_not_found")


async def test_a_stranger_who_registered_an_address_leaves_no_factor_behind(service: Service) -> None:
    """C-11: an account that is claimed has nothing of whoever had it before."""
    stranger = await service.register()
    await set_up(service, stranger)
    body = {"email": stranger.email}
    assert (await service.client.post("/api/auth/password/reset/request", json=body)).status_code == 200
    mail = (await mails_about(service, stranger.email, "Choose a new password"))[0]
    token = mail["links"][0].partition("token=")[2]
    body = {"token": token, "new_password": "another good password"}
    assert (await service.client.post("/api/auth/password/reset/confirm", json=body)).status_code == 200
    answer = await service.client.post("/auth/login", json={"email": stranger.email, "password": body["new_password"]})
    assert answer.status_code == 200
