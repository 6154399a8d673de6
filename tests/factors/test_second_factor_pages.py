"""The pages of the second factor, without JavaScript: signing in, setting up, removing, and steps that are over."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from factories import PASSWORD, Person, Service
from factors.phone import Phone, set_up
from flows.mail_support import verified
from idp.signing.compact import parse
from pages.visitor import Visitor, authorization, form_of, heading, new_client, returned

CONFIRM, OVER = "Confirm that it is you", "This step is over"


@pytest.fixture
async def person(service: Service) -> Person:
    return await verified(service)


@pytest.fixture
async def visitor(service: Service) -> AsyncIterator[Visitor]:
    async with Visitor(service) as visitor:
        yield visitor


@pytest.fixture
async def phone(service: Service, person: Person) -> Phone:
    return await set_up(service, person)


async def me(visitor: Visitor) -> dict[str, object]:
    """Return the claims of a token of the browser's session; empty without a session."""
    csrf = await visitor.client.get("/api/auth/csrf")
    if csrf.status_code != 200:
        return {}
    headers = {"X-CSRF-Token": csrf.json()["csrf_token"]}
    answer = await visitor.client.post("/api/auth/refresh", headers=headers)
    return dict(parse(answer.json()["access_token"]).claims)


async def password(visitor: Visitor, person: Person, **query: str) -> httpx2.Response:
    return await visitor.send(await visitor.open("/login", **query), email=person.email, password=PASSWORD)


async def test_the_code_follows_the_password(visitor: Visitor, phone: Phone) -> None:
    page = await password(visitor, phone.person, return_to="/account")
    assert heading(page) == CONFIRM
    assert str(page.url).endswith("/second-factor?return_to=%2Faccount")  # the token is in no address
    assert 'autocomplete="one-time-code"' in page.text
    assert await me(visitor) == {}
    wrong = await visitor.send(page, code=phone.wrong_code())
    assert (wrong.status_code, heading(wrong)) == (422, CONFIRM)
    assert "That code is wrong" in wrong.text
    account = await visitor.send(wrong, code=phone.code())
    assert account.url.path == "/account"
    claims = await me(visitor)
    assert (claims["amr"], claims["acr"]) == (["pwd", "otp", "mfa"], "2")
    assert "idp_pending" not in visitor.client.cookies


async def test_a_recovery_code_is_entered_on_the_same_page(visitor: Visitor, phone: Phone) -> None:
    await password(visitor, phone.person)
    page = await visitor.open("/second-factor", method="recovery_code")
    assert "Recovery code" in page.text
    done = await visitor.send(page, code=phone.recovery_codes[0])
    assert done.status_code == 200
    assert (await me(visitor))["acr"] == "2"


async def test_links_to_a_step_that_is_over_lead_to_a_clear_page(visitor: Visitor, phone: Phone) -> None:
    for path in ("/second-factor", "/second-factor/set-up"):
        page = await visitor.open(path)
        assert (page.status_code, heading(page)) == (410, OVER)
    page = await password(visitor, phone.person, return_to="/account")
    for _ in range(5):
        await visitor.post(page, code=phone.wrong_code())
    over = await visitor.send(page, code=phone.code())
    assert (over.status_code, heading(over)) == (410, OVER)
    assert "/login?return_to=%2Faccount" in over.text


async def test_the_back_button_does_no_harm(visitor: Visitor, phone: Phone) -> None:
    page = await password(visitor, phone.person, return_to="/account")
    used = phone.code()
    assert (await visitor.send(page, code=used)).url.path == "/account"
    again = await visitor.send(page, code=used)  # the form that the browser still shows
    assert again.status_code in {401, 410, 422}
    assert (await me(visitor))["acr"] == "2"
    assert (await visitor.open("/second-factor", return_to="/account")).url.path == "/account"


async def test_a_form_of_another_site_is_refused(visitor: Visitor, phone: Phone) -> None:
    page = await password(visitor, phone.person)
    foreign = await visitor.post(page, headers={"Origin": "https://evil.example"}, code=phone.code())
    assert foreign.status_code == 403
    assert (await visitor.post(page, csrf_token="x", code=phone.code())).status_code == 403


async def test_an_app_is_signed_in_to_after_the_code(service: Service, visitor: Visitor, phone: Phone) -> None:
    client_id = await new_client(service, skip_consent=True)
    login = await visitor.open("/oauth2/authorize", **authorization(client_id))
    page = await visitor.send(login, email=phone.person.email, password=PASSWORD)
    assert heading(page) == CONFIRM
    assert "Notes" in page.text
    assert "code" in returned(await visitor.send(page, code=phone.code()))


async def test_an_app_that_asks_for_two_factors_makes_the_session_stronger(
    service: Service, visitor: Visitor, person: Person
) -> None:
    await visitor.sign_in(person)
    phone = await set_up(service, person)
    assert (await me(visitor))["acr"] == "1"
    client_id = await new_client(service, skip_consent=True)
    plain = await visitor.open("/oauth2/authorize", **authorization(client_id))
    assert "code" in returned(plain)
    silent = await visitor.open("/oauth2/authorize", **authorization(client_id, acr_values="2", prompt="none"))
    assert returned(silent)["error"] == "interaction_required"
    page = await visitor.open("/oauth2/authorize", **authorization(client_id, acr_values="2"))
    assert heading(page) == CONFIRM
    before = visitor.client.cookies["idp_session"]
    assert "code" in returned(await visitor.send(page, code=phone.code()))
    assert visitor.client.cookies["idp_session"] != before
    assert (await me(visitor))["amr"] == ["pwd", "otp", "mfa"]


async def test_a_step_up_long_after_the_sign_in_begins_with_the_password(
    service: Service, visitor: Visitor, person: Person
) -> None:
    await visitor.sign_in(person)
    phone = await set_up(service, person)
    old = "UPDATE idp.user_sessions SET auth_time = now() - interval '1 day' WHERE user_id = $1"
    await service.sql(old, person.id)
    client_id = await new_client(service, skip_consent=True)
    page = await visitor.open("/oauth2/authorize", **authorization(client_id, acr_values="2"))
    assert page.url.path == "/login"
    page = await visitor.send(page, email=person.email, password=PASSWORD)
    assert "code" in returned(await visitor.send(page, code=phone.code()))


async def test_an_essential_second_factor_that_nobody_has_is_an_error(
    service: Service, visitor: Visitor, person: Person
) -> None:
    await visitor.sign_in(person)
    client_id = await new_client(service, skip_consent=True)
    wish = await visitor.open("/oauth2/authorize", **authorization(client_id, acr_values="2"))
    assert "code" in returned(wish)  # a wish: the ID token says what there is
    claims = '{"id_token": {"acr": {"essential": true, "values": ["2"]}}}'
    answer = await visitor.open("/oauth2/authorize", **authorization(client_id, claims=claims))
    assert returned(answer)["error"] == "unmet_authentication_requirements"


async def test_an_essential_second_factor_is_asked_for(service: Service, visitor: Visitor, person: Person) -> None:
    await visitor.sign_in(person)
    phone = await set_up(service, person)
    client_id = await new_client(service, skip_consent=True)
    claims = '{"id_token": {"acr": {"essential": true, "values": ["2"]}}}'
    page = await visitor.open("/oauth2/authorize", **authorization(client_id, claims=claims))
    assert "code" in returned(await visitor.send(page, code=phone.code()))


async def test_apps_go_on_after_a_step_up(service: Service, visitor: Visitor, person: Person) -> None:
    await visitor.sign_in(person)
    phone = await set_up(service, person)
    await service.sql(
        "INSERT INTO idp.user_sessions (id, user_id, created_at, last_seen_at, idle_seconds, idle_expires_at,"
        " expires_at, amr, acr, auth_time, parent_id, client_id, client_sid)"
        " SELECT gen_random_uuid(), user_id, now(), now(), idle_seconds, idle_expires_at, expires_at, amr, acr,"
        " auth_time, id, $2, gen_random_uuid() FROM idp.user_sessions WHERE user_id = $1 AND cookie_digest IS NOT NULL",
        person.id,
        await new_client(service),
    )
    page = await visitor.open("/second-factor", return_to="/account")
    assert (await visitor.send(page, code=phone.code())).url.path == "/account"
    rows = await service.sql(
        "SELECT a.ended_at, p.acr FROM idp.user_sessions a JOIN idp.user_sessions p ON p.id = a.parent_id"
        " WHERE a.user_id = $1",
        person.id,
    )
    assert [(row["ended_at"], row["acr"]) for row in rows] == [(None, "2")]


async def set_up_by_page(visitor: Visitor, person: Person) -> tuple[Phone, httpx2.Response]:
    page = await visitor.open("/account/security/authenticator")
    fields = form_of(page).fields
    secret = page.text.partition('<code class="totp-key">')[2].partition("</code>")[0].replace(" ", "")
    phone = Phone(visitor.service, person, secret)
    assert fields["sealed_secret"]
    return phone, await visitor.send(page, code=phone.code())


async def test_the_account_sets_up_an_app_and_shows_recovery_codes_once(visitor: Visitor, person: Person) -> None:
    await visitor.sign_in(person)
    security = await visitor.open("/account/security")
    assert "Authenticator app" in security.text
    page = await visitor.open("/account/security/authenticator")
    assert "<svg" in page.text
    phone, shown = await set_up_by_page(visitor, person)
    assert heading(shown) == "Keep your recovery codes"
    assert shown.text.count("<li><code>") == 10
    assert (await me(visitor))["acr"] == "2"
    security = await visitor.open("/account/security")
    assert "Unused codes: 10" in security.text
    renew = await visitor.open("/account/security/recovery-codes")
    assert "<li><code>" not in renew.text
    renewed = await visitor.send(renew)
    assert renewed.text.count("<li><code>") == 10
    await phone.wait()
    async with Visitor(visitor.service) as other:
        page = await password(other, person, return_to="/account")
        assert (await other.send(page, code=phone.code())).url.path == "/account"


async def test_a_wrong_code_shows_the_same_secret_again(visitor: Visitor, person: Person) -> None:
    await visitor.sign_in(person)
    page = await visitor.open("/account/security/authenticator")
    key = page.text.partition('<code class="totp-key">')[2].partition("</code>")[0]
    again = await visitor.send(page, code="000000")
    assert again.status_code == 422
    assert key in again.text
    assert "That code is wrong" in again.text


async def test_a_set_up_in_two_tabs_is_stored_once(visitor: Visitor, person: Person) -> None:
    await visitor.sign_in(person)
    tabs = [await visitor.open("/account/security/authenticator") for _ in range(2)]
    keys = [tab.text.partition('<code class="totp-key">')[2].partition("</code>")[0].replace(" ", "") for tab in tabs]
    phones = [Phone(visitor.service, person, key) for key in keys]
    assert (await visitor.send(tabs[0], code=phones[0].code())).status_code == 200
    late = await visitor.send(tabs[1], code=phones[1].code())
    assert "An authenticator app is set up" in late.text  # the form was of the session before: its page is shown again


async def test_a_factor_that_another_tab_removed_is_said_to_be_gone(visitor: Visitor, person: Person) -> None:
    await visitor.sign_in(person)
    await set_up_by_page(visitor, person)
    page = await visitor.open("/account/security/authenticator")
    removal = page.text.partition('<section class="panel danger">')[2]
    assert "last second factor" in removal
    token = removal.partition('name="csrf_token" value="')[2].partition('"')[0]
    for expected in ("/account/security", "/account/security/authenticator/remove"):
        answer = await visitor.client.post(
            "/account/security/authenticator/remove",
            data={"csrf_token": token, "form_user": person.id},
            headers={"Origin": visitor.service.base_url},
        )
        answer = await visitor.follow(answer)
        assert answer.url.path == expected
    assert (answer.status_code, "removed in another place" in answer.text) == (422, True)


async def test_the_pages_of_the_account_need_a_recent_sign_in_with_both_factors(
    service: Service, visitor: Visitor, person: Person
) -> None:
    await visitor.sign_in(person)
    phone = await set_up(service, person)  # in another browser
    page = await visitor.open("/account/security/authenticator")
    assert page.url.path == "/login"
    page = await visitor.send(page, email=person.email, password=PASSWORD)
    assert heading(page) == CONFIRM
    assert (await visitor.send(page, code=phone.code())).url.path == "/account/security/authenticator"
