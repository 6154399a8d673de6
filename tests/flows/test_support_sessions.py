"""An administrator acts as a user for support: told, recorded, read only, and over with the administrator's role."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import jwt
import pytest

from factories import PASSWORD, Person, Service
from flows.mail_support import mails_about
from idp.principal.guards import policies
from idp.provider.consents import grant
from pages.visitor import CALLBACK, Visitor, authorization, form_of, heading, new_client, returned

REASON = "Ticket 4711: the export shows no data"
MAIL = "An administrator used your account for support"
# Forms and requests that a session of support may send, with the reason.
ALLOWED = {
    "POST /auth/logout": "it ends the session",
    "POST /api/auth/logout": "it ends the session",
    "POST /oauth2/logout": "it ends the session",
    "POST /oauth2/logout/confirm": "it ends the session",
    "POST /support/stop": "it ends the session",
    "POST /auth/refresh": "the cookie gets an access token with `act`, which ends with the session",
    "POST /api/auth/refresh": "the cookie gets an access token with `act`, which ends with the session",
    "POST /login": "it signs somebody in with their own credential",
    "POST /oauth2/authorize": "it saves a request, which signs in to an app with `act`",
    "POST /consent": "it refuses by itself, below",
    "POST /oauth2/userinfo": "it reads",
    "POST /oauth2/introspect": "it reads, with a credential of a service or client",
}


@dataclass
class Support:
    """An administrator who acts as a user."""

    admin: Person
    person: Person
    token: str
    session_id: str

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


async def act(service: Service, admin: Person, user_id: str, reason: str = REASON) -> Any:
    path = f"/api/auth/admin/users/{user_id}/act"
    return await service.client.post(path, json={"reason": reason}, headers=admin.bearer)


@pytest.fixture
async def support(service: Service) -> Support:
    admin, person = await service.register_admin(), await service.register()
    answer = await act(service, admin, person.id)
    assert answer.status_code == 201, answer.text
    return Support(admin, person, answer.json()["access_token"], answer.json()["session_id"])


async def test_the_person_is_told_who_acts_when_and_why(service: Service, support: Support) -> None:
    (mail,) = await mails_about(service, support.person.email, MAIL)
    assert REASON in mail["text"]
    assert "Ada Admin" in mail["text"]
    assert "UTC" in mail["text"]
    (row,) = await service.sql(
        "SELECT actor, details FROM idp.audit_logs WHERE user_id = $1 AND action = 'support.started'",
        support.person.id,
    )
    assert row["actor"] == f"user:{support.admin.id}"
    assert REASON in row["details"]


async def test_tokens_introspection_and_me_say_who_acts(service: Service, support: Support) -> None:
    """RFC 8693 section 4.1. The member is there for such sessions only."""
    claims = jwt.decode(support.token, options={"verify_signature": False})
    assert (claims["sub"], claims["act"]) == (support.person.id, {"sub": support.admin.id})
    assert claims["exp"] - claims["iat"] <= 30 * 60
    for path in ("/auth/me", "/v1/me", "/api/auth/me"):
        me = (await service.client.get(path, headers=support.bearer)).json()
        assert (me["id"], me["act"]) == (support.person.id, {"sub": support.admin.id})
        own = (await service.client.get(path, headers=support.person.bearer)).json()
        assert "act" not in own
    body = {"name": secrets.token_hex(6), "scopes": ["idp:introspect"]}
    made = (await service.client.post("/auth/tokens", json=body, headers=support.admin.bearer)).json()
    asking = {"Authorization": f"Bearer {made['token']}"}
    for token, expected in ((support.token, {"sub": support.admin.id}), (support.person.token, None)):
        found = await service.client.post("/oauth2/introspect", data={"token": token}, headers=asking)
        assert found.json().get("act") == expected
    userinfo = (await service.client.get("/oauth2/userinfo", headers=support.bearer)).json()
    assert userinfo["act"] == {"sub": support.admin.id}


async def test_the_person_sees_the_session_and_ends_it(service: Service, support: Support) -> None:
    listed = (await service.client.get("/api/auth/sessions", headers=support.person.bearer)).json()["sessions"]
    (one,) = [each for each in listed if "act" in each]
    assert (one["session_id"], one["act"]) == (support.session_id, {"sub": support.admin.id})
    async with Visitor(service) as visitor:
        await visitor.sign_in(support.person)
        page = await visitor.open("/account/sessions")
        assert "support by an administrator" in page.text
        assert REASON in page.text
        assert REASON in (await visitor.open("/account/activity")).text
        exported = (await visitor.client.get("/account/data/export")).json()["sessions"]
        assert {each["actor_reason"] for each in exported if each["actor_id"] == support.admin.id} == {REASON}
        await visitor.submit(page, "/account/sessions/end", session_id=support.session_id)
    assert (await service.me(support.bearer)).status_code == 401


@pytest.mark.parametrize("reason", ["", "too short", "x" * 501, "two\nlines of a reason"])
async def test_a_reason_is_required(service: Service, support: Support, reason: str) -> None:
    assert (await act(service, support.admin, support.person.id, reason)).status_code == 422


async def test_nobody_acts_as_an_administrator_themselves_a_disabled_user_or_nobody(
    service: Service, support: Support
) -> None:
    other, disabled = await service.register_admin(), await service.register()
    await service.sql("UPDATE idp.users SET is_active = FALSE WHERE id = $1", disabled.id)
    for user_id in (other.id, support.admin.id, disabled.id):
        refused = await act(service, support.admin, user_id)
        assert (refused.status_code, refused.json()["code"]) == (403, "cannot_act_for_user")
    assert (await act(service, support.admin, "nobody")).json()["code"] == "user_not_found"
    assert (await act(service, support.person, disabled.id)).json()["code"] == "admin_required"


async def test_acting_needs_a_fresh_login_and_a_person(service: Service, support: Support) -> None:
    body = {"name": secrets.token_hex(6), "scopes": ["idp:manage"]}
    made = (await service.client.post("/auth/tokens", json=body, headers=support.admin.bearer)).json()
    path = f"/api/auth/admin/users/{support.person.id}/act"
    by_service = await service.client.post(
        path, json={"reason": REASON}, headers={"Authorization": f"Bearer {made['token']}"}
    )
    assert by_service.status_code in {401, 403}
    old = "UPDATE idp.user_sessions SET auth_time = now() - interval '1 hour' WHERE user_id = $1"
    await service.sql(old, support.admin.id)
    again = await act(service, support.admin, support.person.id)
    assert again.json()["code"] == "fresh_login_required"


async def test_a_session_of_support_forgives_no_wrong_passwords_and_is_never_extended(
    service: Service, support: Support
) -> None:
    wrong = {"email": support.person.email, "password": "wrong one"}
    await service.client.post("/auth/login", json=wrong)
    counted = "SELECT failures FROM idp.sign_in_failures WHERE user_id = $1"
    before = await service.sql(counted, support.person.id)
    assert (await act(service, support.admin, support.person.id)).status_code == 201
    assert await service.sql(counted, support.person.id) == before != []
    (row,) = await service.sql(
        "SELECT expires_at - created_at AS length, idle_expires_at = expires_at AS fixed,"
        " (SELECT count(*) FROM idp.refresh_tokens r WHERE r.session_id = s.id) AS tokens"
        " FROM idp.user_sessions s WHERE id = $1::text::uuid",
        support.session_id,
    )
    assert (row["length"].total_seconds(), row["fixed"], row["tokens"]) == (1800, True, 0)


@pytest.mark.parametrize("how", ["role", "disabled", "deleted"])
async def test_it_ends_when_the_administrator_is_none_any_more(service: Service, support: Support, how: str) -> None:
    """Also for a verdict that is remembered."""
    assert (await service.me(support.bearer)).status_code == 200
    other = await service.register_admin()
    path = f"/api/auth/admin/users/{support.admin.id}"
    if how == "deleted":
        done = await service.client.delete(path, headers=other.bearer)
    else:
        body: dict[str, Any] = {"roles": ["user"]} if how == "role" else {"is_active": False}
        done = await service.client.patch(path, json=body, headers=other.bearer)
    assert done.status_code == 200, done.text
    refused = await service.me(support.bearer)
    assert (refused.status_code, refused.json()["code"]) == (401, "token_revoked")


async def test_every_route_that_changes_something_refuses_a_session_of_support(
    service: Service, support: Support
) -> None:
    """Walks all routes that a signed-in user may call, and all forms of pages, with the session's token and cookie."""
    async with Visitor(service) as visitor:
        await enter(visitor, support)
        csrf = {"csrf_token": visitor.client.cookies["idp_csrf"], "form_user": support.person.id}
        walked = 0
        for line in policies(service.app):
            name = f"{line.method} {line.path}"
            if line.method in {"GET", "HEAD"} or name in ALLOWED or line.policy == "public":
                continue
            if line.path.startswith("/dev/"):
                continue
            path = line.path
            for kind in ("str", "uuid", "int", "path"):
                while f":{kind}}}" in path:
                    start, end = path.index("{"), path.index("}")
                    path = path[:start] + "01990c7e-0000-7000-8000-000000000001" + path[end + 1 :]
            if line.policy is not None and line.policy.endswith("by session cookie"):
                answer = await visitor.client.post(path, data=csrf, headers={"Origin": service.base_url})
                assert (answer.status_code, heading(answer)) == (403, "You act as another user"), name
            else:
                answer = await service.client.request(line.method, path, headers=support.bearer)
                assert (answer.status_code, answer.json()["code"]) == (403, "support_session"), (name, answer.text)
            walked += 1
        assert walked > 50
    assert (await service.client.get("/v1/me/export", headers=support.bearer)).json()["code"] == "support_session"


async def enter(visitor: Visitor, support: Support) -> None:
    """Sign the administrator in, and act as the person in this browser."""
    await visitor.sign_in(support.admin)
    page = await visitor.open(f"/admin/users/{support.person.id}/act")
    shown = await visitor.submit(page, f"/admin/users/{support.person.id}/act", reason=REASON)
    assert (shown.status_code, shown.url.path) == (200, "/account"), shown.text


async def test_it_ends_itself_and_no_other_session(service: Service, support: Support) -> None:
    other = await service.client.post(
        f"/api/auth/logout?session_id={support.person.session_id}", headers=support.bearer
    )
    assert (other.status_code, other.json()["code"]) == (403, "support_session")
    assert (await service.me(support.person.bearer)).status_code == 200
    assert (await service.client.post("/api/auth/logout", headers=support.bearer)).status_code == 200
    assert (await service.me(support.bearer)).status_code == 401


@pytest.fixture
async def browser(service: Service, support: Support) -> AsyncIterator[Visitor]:
    """The browser of an administrator who acts as the person."""
    async with Visitor(service) as visitor:
        await enter(visitor, support)
        yield visitor


async def test_the_browser_shows_the_account_under_a_banner_and_comes_back(
    service: Service, support: Support, browser: Visitor
) -> None:
    page = await browser.open("/account")
    assert "You act as Pat Person for support" in page.text
    assert '<fieldset class="reads" disabled>' in page.text
    for path in ("/account/profile", "/account/sessions", "/account/keys", "/account/apps", "/account/activity",
                 "/account/identities", "/account/data"):  # fmt: skip
        assert (await browser.open(path)).status_code == 200, path
    for path in ("/account/password", "/account/email", "/account/delete", "/account/data/export", "/admin"):
        assert (await browser.open(path)).status_code == 403, path
    back = await browser.submit(page, "/support/stop")
    assert (back.url.path, back.status_code) == (f"/admin/users/{support.person.id}", 200)
    assert (await browser.client.get("/auth/me")).json()["id"] == support.admin.id
    assert "idp_kept_session" not in browser.client.cookies
    (row,) = await service.sql(
        "SELECT count(*) AS live FROM idp.user_sessions WHERE actor_id = $1 AND ended_at IS NULL AND cookie_digest"
        " IS NOT NULL",
        support.admin.id,
    )
    assert row["live"] == 0


async def test_a_form_shows_its_reason_again(service: Service, support: Support) -> None:
    async with Visitor(service) as visitor:
        await visitor.sign_in(support.admin)
        path = f"/admin/users/{support.person.id}/act"
        bad = await visitor.submit(await visitor.open(path), path, reason="too short")
        assert (bad.status_code, ">too short</textarea>" in bad.text) == (422, True)
        other = await service.register_admin()
        path = f"/admin/users/{other.id}/act"
        refused = await visitor.submit(await visitor.open(path), path, reason=REASON)
        assert refused.status_code == 422
        assert (await visitor.open("/admin/users/nobody/act")).status_code == 404


async def test_a_kept_cookie_comes_back_only_to_its_administrator(
    service: Service, support: Support, browser: Visitor
) -> None:
    """Another session that somebody puts into the cookie is not entered: not the person's, nor another admin's."""
    page = await browser.open("/account")
    async with Visitor(service) as other:
        await other.sign_in(await service.register_admin())
        foreign = other.client.cookies["idp_session"]
    browser.client.cookies.set("idp_kept_session", foreign, domain="127.0.0.1")
    for name in [each for each in browser.client.cookies.jar if each.name == "idp_kept_session"]:
        if name.value != foreign:
            browser.client.cookies.jar.clear(name.domain, name.path, name.name)
    out = await browser.submit(page, "/support/stop")
    assert out.url.path == "/login"
    assert (await browser.client.get("/auth/me")).status_code == 401


async def test_an_own_session_that_ended_meanwhile_does_not_come_back(
    service: Service, support: Support, browser: Visitor
) -> None:
    page = await browser.open("/account")
    await service.sql(
        "UPDATE idp.user_sessions SET ended_at = now(), ended_reason = 'test' WHERE user_id = $1", support.admin.id
    )
    assert (await browser.submit(page, "/support/stop")).url.path == "/login"


async def test_signing_out_leaves_no_cookie_of_the_administrator_in_the_browser(browser: Visitor) -> None:
    """Neither does signing in as another person give it back."""
    assert "idp_kept_session" in browser.client.cookies
    await browser.send(await browser.open("/oauth2/logout"))
    assert {"idp_session", "idp_kept_session"} & set(browser.client.cookies) == set()


async def test_an_expired_session_of_support_still_leads_back(
    service: Service, support: Support, browser: Visitor
) -> None:
    page = await browser.open("/account")
    await service.sql(
        "UPDATE idp.user_sessions SET expires_at = now(), idle_expires_at = now() WHERE actor_id = $1", support.admin.id
    )
    assert (await browser.open("/account")).url.path == "/login"
    assert (await browser.submit(page, "/support/stop")).url.path.startswith("/admin/users/")


async def test_stopping_needs_the_token_of_the_session_and_our_own_page(browser: Visitor) -> None:
    """SEC-44."""
    fields = form_of(await browser.open("/account"), "/support/stop").fields
    for data, origin in ((fields, "https://evil.example"), (fields | {"csrf_token": "x"}, browser.service.base_url)):
        answer = await browser.client.post("/support/stop", data=data, headers={"Origin": origin})
        assert answer.status_code == 403
    assert "You act as" in (await browser.open("/account")).text


async def test_apps_are_entered_with_act_and_no_consent_is_given(
    service: Service, support: Support, browser: Visitor
) -> None:
    """A new app would need the person's consent, which nobody gives for them."""
    client_id = await new_client(service)
    asked = await browser.open("/oauth2/authorize", **authorization(client_id))
    assert (asked.status_code, heading(asked)) == (403, "You act as another user")
    request_id = str(asked.url.params["request"])
    path, data = (
        f"/consent?request={request_id}",
        {"decision": "allow", "csrf_token": browser.client.cookies["idp_csrf"]},
    )
    allowed = await browser.client.post(path, data=data, headers={"Origin": service.base_url})
    assert (allowed.status_code, heading(allowed)) == (403, "You act as another user")
    assert await service.sql("SELECT FROM idp.consents WHERE user_id = $1", support.person.id) == []
    async with service.app.core.database.transaction() as session:
        await grant(session, support.person.id, client_id, ["openid", "email"])
    code = returned(await browser.client.get("/oauth2/authorize", params=authorization(client_id)))["code"]
    form = {"grant_type": "authorization_code", "client_id": client_id, "code": code, "redirect_uri": CALLBACK,
            "code_verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"}  # fmt: skip
    tokens = (await service.client.post("/oauth2/token", data=form)).json()
    for name in ("access_token", "id_token"):
        claims = jwt.decode(tokens[name], options={"verify_signature": False})
        assert claims["act"] == {"sub": support.admin.id}, name
    assert "refresh_token" not in tokens
    (row,) = await service.sql(
        "SELECT details FROM idp.audit_logs WHERE user_id = $1 AND action = 'authorization.granted'", support.person.id
    )
    assert support.admin.id in row["details"]


async def test_the_person_may_sign_in_and_out_meanwhile(service: Service, support: Support) -> None:
    body = {"email": support.person.email, "password": PASSWORD}
    assert (await service.client.post("/auth/login", json=body)).status_code == 200
    assert (await service.me(support.bearer)).status_code == 200
    await service.client.post("/auth/logout-all", headers=support.person.bearer)
    assert (await service.me(support.bearer)).status_code == 401
