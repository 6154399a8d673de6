"""Sessions of apps begin in a browser's session, are listed with it, and end with it."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from test_session_cookie import cookies_of

from app_sessions import INSERT_APP, create_client, notifications, reason_of, start_app
from factories import PASSWORD, Service, running
from idp.audit.record import Origin
from idp.dev.embedded import EmbeddedPostgres
from idp.sessions import service as sessions

COOKIE = "/auth/login?mode=cookie"
ORIGIN = Origin(actor="system:test")


async def listed(service: Service, headers: dict[str, str]) -> list[dict[str, Any]]:
    answer = await service.client.get("/api/auth/sessions", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["sessions"]


async def test_a_session_lists_its_apps(service: Service) -> None:
    """S4-20: one entry an app, however many sessions it has there; its sessions are none of the user's own."""
    person = await service.register()
    other = await service.sign_in(person)
    wiki, chat = await create_client(service, name="Wiki"), await create_client(service, name="Chat")
    _, sid = await start_app(service, person.session_id, wiki)
    await start_app(service, person.session_id, wiki, sid=sid)
    await start_app(service, person.session_id, chat)
    newest, first = await listed(service, other.bearer)
    assert (newest["session_id"], newest["apps"], newest["current"]) == (other.session_id, [], True)
    assert first["session_id"] == person.session_id
    assert [(each["client_id"], each["client_name"]) for each in first["apps"]] == [(chat, "Chat"), (wiki, "Wiki")]
    assert first["apps"][1]["sid"] == str(sid)
    assert {"signed_in_at", "last_activity"} <= first["apps"][0].keys()
    admin = await service.register_admin()
    path = f"/api/auth/admin/users/{person.id}/sessions"
    shown = (await service.client.get(path, headers=admin.bearer)).json()["sessions"]
    assert [each["apps"] for each in shown] == [[], first["apps"]]
    export = (await service.client.get("/v1/me/export", headers=other.bearer)).json()
    assert [each["apps"] for each in export["sessions"]] == [[], first["apps"]]


async def test_an_app_is_listed_after_its_client_was_deleted_and_its_browser_session_expired(service: Service) -> None:
    """A user must see what can still be ended."""
    person = await service.register()
    browser = await service.sign_in(person)
    client_id = await create_client(service)
    await start_app(service, browser.session_id, client_id)
    await service.sql("DELETE FROM idp.oauth_clients WHERE client_id = $1", client_id)
    expire = "UPDATE idp.user_sessions SET idle_expires_at = now() WHERE id = $1::text::uuid"
    await service.sql(expire, browser.session_id)
    (found,) = [each for each in await listed(service, person.bearer) if each["session_id"] == browser.session_id]
    assert [(each["client_id"], each["client_name"]) for each in found["apps"]] == [(client_id, None)]


async def test_ending_a_browser_session_ends_its_apps(service: Service) -> None:
    """SEC-70: those of this session, and of no other."""
    person = await service.register()
    other = await service.sign_in(person)
    client_id = await create_client(service, backchannel="https://app.example/logout")
    ended, sid = await start_app(service, other.session_id, client_id)
    kept, _ = await start_app(service, person.session_id, client_id)
    answer = await service.client.delete(f"/api/auth/sessions/{other.session_id}", headers=person.bearer)
    assert answer.status_code == 200
    assert await reason_of(service, ended) == "logged_out"
    assert await reason_of(service, kept) is None
    assert await notifications(service, client_id) == [sid]


async def test_an_app_is_ended_by_its_sid_or_one_of_its_sessions(service: Service) -> None:
    person = await service.register()
    client_id = await create_client(service, backchannel="https://app.example/logout")
    first, sid = await start_app(service, person.session_id, client_id)
    second, _ = await start_app(service, person.session_id, client_id, sid=sid)
    assert (await service.client.delete(f"/api/auth/sessions/{first}", headers=person.bearer)).status_code == 200
    assert await reason_of(service, second) is None
    assert await notifications(service, client_id) == []  # it is still signed in there
    assert (await service.client.delete(f"/api/auth/sessions/{sid}", headers=person.bearer)).status_code == 200
    assert await reason_of(service, second) == "logged_out"
    assert await notifications(service, client_id) == [sid]
    assert (await service.me(person.bearer)).status_code == 200
    assert (await service.client.delete(f"/api/auth/sessions/{sid}", headers=person.bearer)).status_code == 404


async def test_another_users_app_is_not_found(service: Service) -> None:
    """S4-21."""
    person, other = await service.register(), await service.register()
    session_id, sid = await start_app(service, other.session_id, await create_client(service))
    for each in (session_id, sid):
        answer = await service.client.delete(f"/api/auth/sessions/{each}", headers=person.bearer)
        assert answer.json()["code"] == "session_not_found"
    assert await reason_of(service, session_id) is None


async def test_a_changed_password_keeps_the_apps_of_the_session_that_changed_it(service: Service) -> None:
    """SEC-6: and ends those of all others; each client is told once."""
    person = await service.register()
    other = await service.sign_in(person)
    client_id = await create_client(service, backchannel="https://app.example/logout")
    kept, _ = await start_app(service, person.session_id, client_id)
    ended, sid = await start_app(service, other.session_id, client_id)
    body = {"current_password": PASSWORD, "new_password": "another battery staple"}
    answer = await service.client.post("/api/auth/password/change", headers=person.bearer, json=body)
    assert answer.status_code == 200, answer.text
    assert await reason_of(service, kept) is None
    assert await reason_of(service, ended) == "password changed"
    assert await notifications(service, client_id) == [sid]


async def test_an_administrator_signs_a_user_out_of_all_apps(service: Service) -> None:
    """The answer counts the sessions that the list shows."""
    person, admin = await service.register(), await service.register_admin()
    wiki = await create_client(service, backchannel="https://wiki.example/logout")
    quiet = await create_client(service)
    for client_id in (wiki, quiet):
        await start_app(service, person.session_id, client_id)
    path = f"/api/auth/admin/users/{person.id}/sessions"
    answer = await service.client.delete(path, headers=admin.bearer)
    assert answer.json()["ended_sessions"] == 1
    assert len(await notifications(service, wiki)) == 1
    assert await notifications(service, quiet) == []  # no URI to tell it at


async def test_a_disabled_user_is_signed_out_of_apps(service: Service) -> None:
    """SEC-19."""
    person, admin = await service.register(), await service.register_admin()
    client_id = await create_client(service, backchannel="https://app.example/logout")
    session_id, sid = await start_app(service, person.session_id, client_id)
    path = f"/api/auth/admin/users/{person.id}"
    answer = await service.client.patch(path, headers=admin.bearer, json={"is_active": False})
    assert answer.status_code == 200, answer.text
    assert await reason_of(service, session_id) is not None
    assert await notifications(service, client_id) == [sid]


async def test_signing_in_again_keeps_the_apps(service: Service) -> None:
    """The same user with the same browser (`prompt=login`): they move to the new session. Another user's end."""
    person, stranger = await service.register(), await service.register()
    client_id = await create_client(service, backchannel="https://app.example/logout")

    async def enter(email: str, cookies: dict[str, str]) -> tuple[str, dict[str, str]]:
        header = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())} if cookies else {}
        body = {"email": email, "password": PASSWORD}
        answer = await service.client.post(COOKIE, json=body, headers=header)
        assert answer.status_code == 200, answer.text
        return answer.json()["session_id"], {name: morsel.value for name, morsel in cookies_of(answer).items()}

    old, cookies = await enter(person.email, {})
    session_id, sid = await start_app(service, old, client_id)
    new, cookies = await enter(person.email, cookies)
    assert await reason_of(service, old) == "signed_in_again"
    assert await reason_of(service, session_id) is None
    rows = await service.sql("SELECT parent_id FROM idp.user_sessions WHERE id = $1", session_id)
    assert rows[0]["parent_id"] == UUID(new)
    assert await notifications(service, client_id) == []
    await enter(stranger.email, cookies)
    assert await reason_of(service, session_id) == "signed_in_again"
    assert await notifications(service, client_id) == [sid]


async def test_apps_do_not_count_as_sessions_of_a_user(postgres: EmbeddedPostgres) -> None:
    """The surplus session ends with its apps; a session with many apps is one."""
    environ = {"IDP_ACCOUNTS__MAX_SESSIONS_PER_USER": "2"}
    async with running(postgres.create_database("surplus"), environ=environ) as service:
        first = await service.register()
        client_id = await create_client(service)
        started = [(await start_app(service, first.session_id, client_id))[0] for _ in range(5)]
        second = await service.sign_in(first)
        assert [await reason_of(service, each) for each in started] == [None] * 5
        assert len(await listed(service, second.bearer)) == 2
        await service.sign_in(first)
        assert [await reason_of(service, each) for each in started] == ["too_many_sessions"] * 5


async def test_sessions_of_a_client_and_of_a_grant_end(service: Service) -> None:
    """A deleted client, a withdrawn consent: the browser's sessions go on."""
    one, two = await service.register(), await service.register()
    client_id, other = await create_client(service), await create_client(service)
    of_one, _ = await start_app(service, one.session_id, client_id)
    of_two, _ = await start_app(service, two.session_id, client_id)
    elsewhere, _ = await start_app(service, one.session_id, other)
    async with service.app.core.database.transaction() as session:
        assert await sessions.end_of_grant(session, ORIGIN, one.id, client_id, reason="consent_withdrawn") == 1
    assert await reason_of(service, of_one) == "consent_withdrawn"
    assert await reason_of(service, of_two) is None
    async with service.app.core.database.transaction() as session:
        assert await sessions.end_of_client(session, ORIGIN, client_id, reason="client_deleted") == 1
    assert await reason_of(service, of_two) == "client_deleted"
    assert await reason_of(service, elsewhere) is None
    assert (await service.me(one.bearer)).status_code == 200


@pytest.mark.parametrize("everything", [False, True])
async def test_an_app_that_starts_beside_the_end_of_its_browser_session_ends_too(
    service: Service, everything: bool
) -> None:
    """The app's transaction holds its parent; the end waits for it, and then sees what it started."""
    person = await service.register()
    client_id, session_id = await create_client(service), uuid4()
    exchanging = await asyncpg.connect(service.database_url)
    try:
        async with exchanging.transaction():
            await exchanging.fetch(
                "SELECT FROM idp.user_sessions WHERE id = $1::text::uuid FOR SHARE", person.session_id
            )
            await exchanging.execute(INSERT_APP, session_id, UUID(person.session_id), client_id, uuid4())
            path = "/api/auth/logout-all" if everything else "/api/auth/logout"
            ending = asyncio.create_task(service.client.post(path, headers=person.bearer))
            await asyncio.sleep(0.3)
            assert not ending.done()
        assert (await ending).status_code == 200
    finally:
        await exchanging.close()
    assert await reason_of(service, session_id) is not None


async def test_sessions_that_many_requests_end_at_once_end_once(service: Service) -> None:
    """No deadlock, and one notification for each `sid`."""
    person = await service.register()
    client_id = await create_client(service, backchannel="https://app.example/logout")
    browsers = [person, *[await service.sign_in(person) for _ in range(3)]]
    for each in browsers:
        for _ in range(3):
            await start_app(service, each.session_id, client_id)

    async def end(count: int) -> None:
        async with service.app.core.database.transaction() as session:
            if count % 3 == 0:
                await sessions.end_all(session, ORIGIN, person.id, reason="test")
            elif count % 3 == 1:
                await sessions.end_of_client(session, ORIGIN, client_id, reason="test")
            else:
                which = UUID(browsers[count % 4].session_id)
                await sessions.end(session, ORIGIN, which, user_id=person.id, reason="test")

    await asyncio.gather(*(end(count) for count in range(24)))
    told = await notifications(service, client_id)
    assert len(told) == len(set(told)) == 12


async def test_old_sessions_are_deleted_with_their_apps(service: Service) -> None:
    """A browser's session stays as long as one of its apps lasts, and an app that was not ended as long as it."""
    person = await service.register()
    client_id = await create_client(service)
    gone, lasting = await service.sign_in(person), await service.sign_in(person)
    of_gone, _ = await start_app(service, gone.session_id, client_id)
    of_lasting, _ = await start_app(service, lasting.session_id, client_id)
    expired, _ = await start_app(service, person.session_id, client_id)
    long_ago = "UPDATE idp.user_sessions SET expires_at = now() - interval '31 days' WHERE id = ANY($1::uuid[])"
    await service.sql(long_ago, [gone.session_id, lasting.session_id, str(of_gone), str(expired)])
    await service.app.core.activity.forget()
    rows = await service.sql("SELECT id FROM idp.user_sessions WHERE user_id = $1", person.id)
    left = {str(row["id"]) for row in rows}
    assert left == {person.session_id, lasting.session_id, str(of_lasting), str(expired)}


async def test_an_app_whose_tokens_expired_is_listed_while_its_browser_session_lives(service: Service) -> None:
    """The app may still have a session of its own: ending the browser's session tells it."""
    person = await service.register()
    client_id = await create_client(service, backchannel="https://app.example/logout")
    session_id, sid = await start_app(service, person.session_id, client_id)
    await service.sql(
        "UPDATE idp.user_sessions SET expires_at = now(), idle_expires_at = now() WHERE id = $1", session_id
    )
    (found,) = await listed(service, person.bearer)
    assert [each["sid"] for each in found["apps"]] == [str(sid)]
    await service.client.post("/auth/logout", headers=person.bearer)
    assert await notifications(service, client_id) == [sid]
