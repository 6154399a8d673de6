"""Listing and ending sessions, and the credentials that end with them."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import time_machine

from factories import PASSWORD, Person, Service, running
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey


async def sessions_of(service: Service, person: Person) -> list[dict[str, Any]]:
    answer = await service.client.get("/api/auth/sessions", headers=person.bearer)
    assert answer.status_code == 200, answer.text
    return answer.json()["sessions"]


async def code_of(service: Service, person: Person) -> str | None:
    return (await service.me(person.bearer)).json().get("code")


async def test_sessions_are_listed_with_device_and_address(service: Service) -> None:
    """S4-06 S4-20 C-32: the newest first, each with what the client said of itself, an object or a text."""
    person = await service.register()
    await service.sign_in(person, device_info={"os": "Linux", "model": None})
    third = await service.sign_in(person, device_info="kitchen tablet")
    listed = await sessions_of(service, third)
    assert [each["device_info"] for each in listed] == ["kitchen tablet", {"os": "Linux", "model": None}, None]
    assert [each["current"] for each in listed] == [True, False, False]
    for each in listed:
        assert {"session_id", "created_at", "last_activity", "device_info", "ip_address"} <= each.keys()
        assert each["ip_address"] == "127.0.0.1"
        assert each["amr"] == ["pwd"]
        assert "httpx" in each["user_agent"]
    assert listed[2]["session_id"] == person.session_id


async def test_the_access_token_says_which_session_and_how_it_began(service: Service) -> None:
    """SEC-61: `sid`, `auth_time`, `amr` and `acr` are true, and stay those of the sign-in after a refresh."""
    import jwt

    person = await service.register()
    began = jwt.decode(person.token, options={"verify_signature": False})
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=20), tick=True):
        answer = await service.refresh(person.refresh_token)
    later = jwt.decode(answer.json()["access_token"], options={"verify_signature": False})
    assert began["sid"] == later["sid"] == person.session_id
    assert began["auth_time"] == later["auth_time"] == pytest.approx(began["iat"], abs=2)
    assert began["amr"] == later["amr"] == ["pwd"]
    assert began["acr"] == later["acr"] == "1"
    assert later["iat"] - began["iat"] >= 1200


async def test_logout_ends_the_current_session_at_once(service: Service) -> None:
    """S4-17 S4-35 SEC-70: its access token, its refresh token, and nothing else."""
    person = await service.register()
    other = await service.sign_in(person)
    assert (await service.validate(person.token))["valid"] is True
    answer = await service.client.post("/api/auth/logout", headers=person.bearer)
    assert (answer.status_code, answer.json()) == (200, {"message": "Logged out successfully"})
    assert await code_of(service, person) == "token_revoked"
    verdict = await service.validate(person.token)
    assert (verdict["valid"], verdict["error"]) == (False, "token_revoked")
    assert (await service.refresh(person.refresh_token)).json()["code"] == "refresh_token_invalid"
    assert await code_of(service, other) is None
    assert [each["session_id"] for each in await sessions_of(service, other)] == [other.session_id]


async def test_logout_takes_a_session_id_a_refresh_token_or_nothing(service: Service) -> None:
    """S4-17: the old service's query, the OpenAPI variant's body, and neither."""
    person = await service.register()
    by_query, by_body = await service.sign_in(person), await service.sign_in(person)
    path = f"/auth/logout?session_id={by_query.session_id}"
    assert (await service.client.post(path, headers=person.bearer)).status_code == 200
    body = {"refresh_token": by_body.refresh_token}
    assert (await service.client.post("/api/auth/logout", headers=person.bearer, json=body)).status_code == 200
    assert await code_of(service, by_query) == await code_of(service, by_body) == "token_revoked"
    assert await code_of(service, person) is None
    assert (await service.client.post("/auth/logout", headers=person.bearer, json={})).status_code == 200
    assert await code_of(service, person) == "token_revoked"


async def test_a_user_cannot_end_another_users_session(service: Service) -> None:
    """S4-21: a session id or a refresh token of someone else is not found, and goes on."""
    person, other = await service.register(), await service.register()
    asked = [
        ("DELETE", f"/api/auth/sessions/{other.session_id}", None),
        ("POST", f"/api/auth/logout?session_id={other.session_id}", None),
        ("POST", "/api/auth/logout", {"refresh_token": other.refresh_token}),
        ("POST", "/api/auth/logout", {"refresh_token": "rt_" + "A" * 43}),
        ("DELETE", f"/api/auth/sessions/{uuid4()}", None),
    ]
    for method, path, body in asked:
        answer = await service.client.request(method, path, json=body, headers=person.bearer)
        assert answer.status_code == 404, path
        assert answer.json()["code"] == "session_not_found"
        assert answer.json()["detail"] == "Session not found"
    assert await code_of(service, other) is None
    assert await code_of(service, person) is None


async def test_a_user_ends_their_own_session(service: Service) -> None:
    """S4-21: 200 once, and 404 for one that has ended."""
    person = await service.register()
    lost_laptop = await service.sign_in(person)
    path = f"/api/auth/sessions/{lost_laptop.session_id}"
    answer = await service.client.delete(path, headers=person.bearer)
    assert (answer.status_code, answer.json()) == (200, {"message": "Session revoked successfully"})
    assert await code_of(service, lost_laptop) == "token_revoked"
    assert (await service.client.delete(path, headers=person.bearer)).status_code == 404
    assert (await service.client.delete("/api/auth/sessions/nonsense", headers=person.bearer)).status_code == 404


@pytest.mark.parametrize("path", ["/auth/logout-all", "/api/auth/logout-all"])
async def test_logout_all_ends_every_session(service: Service, path: str) -> None:
    """S4-18."""
    person = await service.register()
    others = [await service.sign_in(person) for _ in range(3)]
    answer = await service.client.post(path, headers=person.bearer)
    assert (answer.status_code, answer.json()) == (200, {"message": "Logged out from all devices successfully"})
    for each in (person, *others):
        assert await code_of(service, each) == "token_revoked"
        assert (await service.refresh(each.refresh_token)).status_code == 401


async def test_session_routes_want_a_person_who_signed_in(service: Service) -> None:
    """C-29 S4-24: nobody is 401, an API key is 403."""
    person = await service.register()
    made = await service.client.post("/v1/api-keys", headers=person.bearer, json={"name": "k", "scopes": ["read"]})
    for method, path in (
        ("GET", "/api/auth/sessions"),
        ("DELETE", f"/api/auth/sessions/{person.session_id}"),
        ("POST", "/api/auth/logout"),
        ("POST", "/auth/logout-all"),
    ):
        assert (await service.client.request(method, path)).status_code == 401
        answer = await service.client.request(method, path, headers={"X-API-Key": made.json()["secret"]})
        assert (answer.status_code, answer.json()["code"]) == (403, "credential_not_accepted")


async def test_a_session_is_refused_by_every_process_at_once(
    postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    """SEC-59: two processes that both remember its token as good."""
    url = postgres.create_database("two_processes_of_sessions")
    secret = {"IDP_SECRET_KEY": "k" * 16 + "0123456789abcdefghijklmnop"}
    async with running(url, valkey_url=valkey.url, environ=secret) as one:
        same = secret | {"IDP_PUBLIC_URL": one.base_url}
        async with running(url, valkey_url=valkey.url, environ=same, migrate=False) as two:
            person = await one.register()
            for _ in range(3):
                assert (await two.validate(person.token))["valid"] is True
                assert (await one.validate(person.token))["valid"] is True
            assert (await one.client.post("/auth/logout", headers=person.bearer)).status_code == 200
            assert (await one.validate(person.token))["valid"] is False
            async with asyncio.timeout(1):
                while (await two.validate(person.token))["valid"]:  # noqa: ASYNC110  it is asked, over and over
                    await asyncio.sleep(0.002)


async def test_a_login_that_races_a_disabling_never_outlives_it(service: Service) -> None:
    """SEC-19: whoever is disabled while their password is checked gets no session, or one that has ended."""
    admin = await service.register_admin()
    for _ in range(6):
        person = await service.register()
        login = service.client.post("/auth/login", json={"email": person.email, "password": PASSWORD})
        disable = service.client.patch(
            f"/api/auth/admin/users/{person.id}", json={"is_active": False}, headers=admin.bearer
        )
        signed_in, disabled = await asyncio.gather(login, disable)
        assert disabled.status_code == 200
        assert signed_in.status_code in {200, 401}
        alive = await service.sql("SELECT id FROM idp.user_sessions WHERE user_id = $1 AND ended_at IS NULL", person.id)
        assert alive == []


async def test_using_a_session_is_noted_once_a_minute(service: Service) -> None:
    """C-10 S4-20: the hot path writes nothing; what is noted moves `last_activity` and the idle end."""
    person = await service.register()
    (before,) = await sessions_of(service, person)
    introspector = service.app.middleware[0].introspector  # type: ignore[union-attr]
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=5), tick=True):
        await service.validate(person.token)
        assert (await sessions_of(service, person))[0]["last_activity"] == before["last_activity"]
        await introspector._activity.flush()
        (after,) = await sessions_of(service, person)
    assert after["last_activity"] > before["last_activity"]
    assert after["expires_at"] > before["expires_at"]


async def test_sessions_ended_long_ago_are_deleted(service: Service) -> None:
    """A month after its latest end, a session and its chain are deleted; a live one stays."""
    gone, stays = await service.register(), await service.register()
    await service.sql(
        "UPDATE idp.user_sessions SET expires_at = now() - interval '31 days' WHERE id = $1::text::uuid",
        gone.session_id,
    )
    introspector = service.app.middleware[0].introspector  # type: ignore[union-attr]
    await introspector._activity.forget()
    left = await service.sql(
        "SELECT s.id::text AS id FROM idp.user_sessions s JOIN idp.refresh_tokens t ON t.session_id = s.id "
        "WHERE s.user_id = ANY($1)",
        [gone.id, stays.id],
    )
    assert [row["id"] for row in left] == [stays.session_id]
