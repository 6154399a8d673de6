"""Sign-out with each credential of a session; a sign-in ends the previous session of the browser."""

from datetime import UTC, datetime, timedelta

import httpx2
import pytest
import time_machine

from factories import PASSWORD, Person, Service

LOGOUTS = ["/auth/logout", "/api/auth/logout"]
EVERYWHERE = ["/auth/logout-all", "/api/auth/logout-all"]


def an_hour_later() -> time_machine.travel:
    return time_machine.travel(datetime.now(UTC) + timedelta(hours=1), tick=True)


async def lives(service: Service, person: Person) -> bool:
    rows = await service.sql("SELECT ended_at FROM idp.user_sessions WHERE id = $1::text::uuid", person.session_id)
    return rows[0]["ended_at"] is None


async def with_cookie(service: Service, person: Person, **headers: str) -> tuple[str, dict[str, str]]:
    """Sign in with a cookie; return the session's id, and the headers that a page of ours sends."""
    body = {"email": person.email, "password": PASSWORD}
    answer = await service.client.post("/auth/login?mode=cookie", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    cookie = f"idp_session={answer.cookies['idp_session']}"
    return answer.json()["session_id"], {"Cookie": cookie, "X-CSRF-Token": answer.json()["csrf_token"]}


@pytest.mark.parametrize("path", [*LOGOUTS, *EVERYWHERE])
async def test_a_lapsed_access_token_and_the_refresh_token_sign_out(service: Service, path: str) -> None:
    """S4-17 S4-18: the client that slept signs out all the same."""
    person = await service.register()
    with an_hour_later():
        assert (await service.me(person.bearer)).json()["code"] == "token_expired"
        body = {"refresh_token": person.refresh_token}
        answer = await service.client.post(path, json=body, headers=person.bearer)
        assert answer.status_code == 200, answer.text
        assert (await service.refresh(person.refresh_token)).json()["code"] == "refresh_token_invalid"
    assert not await lives(service, person)


@pytest.mark.parametrize("path", [*LOGOUTS, *EVERYWHERE])
async def test_the_refresh_token_alone_signs_out(service: Service, path: str) -> None:
    """S4-17 S4-18: without any header."""
    person = await service.register()
    elsewhere = await service.sign_in(person)
    answer = await service.client.post(path, json={"refresh_token": person.refresh_token})
    assert answer.status_code == 200, answer.text
    assert not await lives(service, person)
    assert await lives(service, elsewhere) == (path in LOGOUTS)
    assert (await service.me(person.bearer)).json()["code"] == "token_revoked"
    (row,) = await service.sql(
        "SELECT actor FROM idp.audit_logs WHERE action = 'session.ended' AND user_id = $1", person.id
    )
    assert row["actor"] == f"user:{person.id}"


@pytest.mark.parametrize("path", [*LOGOUTS, *EVERYWHERE])
@pytest.mark.parametrize("lapsed", [True, False])
async def test_the_cookie_signs_out_alone_and_beside_a_lapsed_access_token(
    service: Service, path: str, lapsed: bool
) -> None:
    """S4-17 SEC-44: with its CSRF token, and the browser forgets it."""
    person = await service.register()
    session_id, headers = await with_cookie(service, person)
    with an_hour_later():
        bearer = person.bearer if lapsed else {}
        forged = {name: value for name, value in headers.items() if name != "X-CSRF-Token"}
        answer = await service.client.post(path, headers=bearer | forged)
        assert (answer.status_code, answer.json()["code"]) == (403, "csrf_rejected")
        answer = await service.client.post(path, headers=bearer | headers)
    assert answer.status_code == 200, answer.text
    assert "idp_session" in answer.headers["set-cookie"]
    rows = await service.sql("SELECT ended_at FROM idp.user_sessions WHERE id = $1::text::uuid", session_id)
    assert rows[0]["ended_at"] is not None


async def test_signing_out_again_is_no_error_and_ends_nothing_else(service: Service) -> None:
    """A used or ended refresh token still names its session; it ends all sessions only while it could be exchanged."""
    person = await service.register()
    elsewhere = await service.sign_in(person)
    body = {"refresh_token": person.refresh_token}
    for _ in range(2):
        assert (await service.client.post("/auth/logout", json=body)).status_code == 200
    answer = await service.client.post("/auth/logout-all", json=body)
    assert (answer.status_code, answer.json()["code"]) == (401, "refresh_token_invalid")
    assert await lives(service, elsewhere)


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize("path", [*LOGOUTS, *EVERYWHERE])
async def test_a_request_without_proof_of_a_session_signs_no_user_out(service: Service, path: str) -> None:
    """SEC-14: an unknown token, none, a lapsed one by itself, a machine's."""
    person, other = await service.register(), await service.register()
    unknown = {"refresh_token": "rt_" + "x" * 43}
    assert code(await service.client.post(path)) == (401, "unauthenticated")
    assert code(await service.client.post(path, json=unknown)) == (401, "refresh_token_invalid")
    made = await service.client.post("/v1/api-keys", json={"name": "k", "scopes": ["read"]}, headers=person.bearer)
    key = {"X-API-Key": made.json()["secret"]}
    assert code(await service.client.post(path, headers=key)) == (403, "credential_not_accepted")
    if path in LOGOUTS:
        body = {"refresh_token": other.refresh_token}
        assert code(await service.client.post(path, json=body, headers=person.bearer)) == (404, "session_not_found")
        named = f"{path}?session_id={other.session_id}"
        body = {"refresh_token": person.refresh_token}
        assert code(await service.client.post(named, json=body)) == (404, "session_not_found")
    assert await lives(service, person)
    assert await lives(service, other)
    with an_hour_later():
        assert code(await service.client.post(path, headers=person.bearer)) == (401, "token_expired")


@pytest.mark.parametrize("same", [True, False])
async def test_a_new_cookie_sign_in_ends_the_session_that_the_browser_brought_along(
    service: Service, same: bool
) -> None:
    """SEC-70: of this user or another one; other sessions go on, and so does what no cookie named."""
    person, other = await service.register(), await service.register()
    first, headers = await with_cookie(service, person)
    second, _ = await with_cookie(service, person if same else other, Cookie=headers["Cookie"])
    rows = await service.sql(
        "SELECT id::text AS id, ended_reason FROM idp.user_sessions WHERE user_id = ANY($1)", [person.id, other.id]
    )
    assert {row["id"]: row["ended_reason"] for row in rows} == {
        person.session_id: None,
        other.session_id: None,
        first: "signed_in_again",
        second: None,
    }
    answer = await service.client.get("/auth/me", headers=headers)
    assert code(answer) == (401, "token_revoked")


async def test_a_sign_in_for_tokens_leaves_the_browsers_session_alone(service: Service) -> None:
    """It replaces no cookie."""
    person = await service.register()
    _, headers = await with_cookie(service, person)
    body = {"email": person.email, "password": PASSWORD}
    assert (await service.client.post("/auth/login", json=body, headers=headers)).status_code == 200
    assert (await service.client.get("/auth/me", headers=headers)).status_code == 200


async def test_a_malformed_session_id_is_no_session(service: Service) -> None:
    """S4-21: `DELETE /api/auth/sessions/abc` says what a foreign id says."""
    person = await service.register()
    for name in ("abc", "0", "%20", "01990c7e-0000-7000-8000-000000000001", "x" * 100):
        answer = await service.client.delete(f"/api/auth/sessions/{name}", headers=person.bearer)
        assert code(answer) == (404, "session_not_found"), name
        assert answer.json()["detail"] == "Session not found"
