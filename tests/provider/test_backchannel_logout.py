"""Back-channel logout: clients are told when their users' sessions end (SEC-73)."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import jwt
import pytest
import time_machine

from app_sessions import create_client, notifications, start_app
from factories import Person, Service, running
from idp.dev.embedded import EmbeddedPostgres
from idp.provider import logout_notifications
from webhooks.receiver import HANG, Posted, Receiver, receiving

EVENT = "http://schemas.openid.net/event/backchannel-logout"


@pytest.fixture
async def party() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def token_of(posted: Posted) -> str:
    """The one parameter of the form."""
    assert posted.method == "POST"
    assert posted.headers["content-type"] == "application/x-www-form-urlencoded"
    form = parse_qs(posted.body.decode(), strict_parsing=True)
    assert list(form) == ["logout_token"]
    return form["logout_token"][0]


async def verified(service: Service, token: str, client_id: str) -> dict[str, Any]:
    """Verify as a client does, with the published keys."""
    keys = jwt.PyJWKSet.from_dict((await service.client.get("/.well-known/jwks.json")).json())
    header = jwt.get_unverified_header(token)
    return jwt.decode(token, keys[header["kid"]], algorithms=[header["alg"]], audience=client_id)


async def sign_in_to(service: Service, client_id: str) -> tuple[Person, UUID]:
    person = await service.register()
    _, sid = await start_app(service, person.session_id, client_id)
    return person, sid


async def until_told(service: Service, client_id: str, *, seconds: float = 10) -> None:
    """Wait until nothing is left to tell a client."""
    async with asyncio.timeout(seconds):
        while await notifications(service, client_id):  # noqa: ASYNC110  rows, not an event
            await asyncio.sleep(0.05)


async def until_noted(service: Service, client_id: str) -> Any:
    """Wait until an attempt has failed, and return the row."""
    statement = "SELECT * FROM idp.logout_notifications WHERE client_id = $1 AND last_error IS NOT NULL"
    async with asyncio.timeout(10):
        while not (rows := await service.sql(statement, client_id)):  # noqa: ASYNC110  rows, not an event
            await asyncio.sleep(0.05)
    return rows[0]


async def due_now(service: Service, client_id: str, *, age: str = "0 seconds") -> None:
    await service.sql(
        "UPDATE idp.logout_notifications SET next_attempt_at = now(), created_at = created_at - $2::text::interval"
        " WHERE client_id = $1",
        client_id,
        age,
    )


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_a_logout_token_has_the_claims_of_the_standard(service: Service, party: Receiver, algorithm: str) -> None:
    """SEC-73, Back-Channel Logout 1.0 section 2.4: `typ`, `events`, `sub`, `sid`, `jti`; short-lived; no `nonce`."""
    client_id = await create_client(service, backchannel=party.url, algorithm=algorithm)
    person, sid = await sign_in_to(service, client_id)
    await service.client.post("/auth/logout", headers=person.bearer)
    (posted,) = await party.wait_for(1)
    token = token_of(posted)
    header = jwt.get_unverified_header(token)
    assert (header["typ"], header["alg"]) == ("logout+jwt", algorithm)
    claims = await verified(service, token, client_id)
    discovered = (await service.client.get("/.well-known/oauth-authorization-server")).json()
    assert claims["iss"] == discovered["issuer"]
    assert (claims["sub"], claims["aud"], claims["sid"]) == (person.id, client_id, str(sid))
    assert claims["events"] == {EVENT: {}}
    assert 0 < claims["exp"] - claims["iat"] <= 120
    assert abs(claims["iat"] - time.time()) < 10
    assert len(claims["jti"]) >= 32
    assert "nonce" not in claims
    await until_told(service, client_id)
    assert len(party.posts) == 1


async def test_a_logout_token_is_no_access_token(service: Service, party: Receiver) -> None:
    """SEC-25."""
    client_id = await create_client(service, backchannel=party.url)
    person, _ = await sign_in_to(service, client_id)
    await service.client.post("/auth/logout", headers=person.bearer)
    (posted,) = await party.wait_for(1)
    assert (await service.validate(token_of(posted)))["valid"] is False


async def test_each_app_of_each_session_is_told_once(service: Service, party: Receiver) -> None:
    """One token for each `sid`; only what belongs to the ended user."""
    client_id = await create_client(service, backchannel=party.url)
    person, first = await sign_in_to(service, client_id)
    await start_app(service, person.session_id, client_id, sid=first)
    second_browser = await service.sign_in(person)
    _, second = await start_app(service, second_browser.session_id, client_id)
    await sign_in_to(service, client_id)
    await service.client.post("/auth/logout-all", headers=person.bearer)
    posts = await party.wait_for(2)
    await until_told(service, client_id)
    told = [jwt.decode(token_of(each), options={"verify_signature": False}) for each in posts]
    assert {each["sid"] for each in told} == {str(first), str(second)}
    assert {each["sub"] for each in told} == {person.id}
    assert len({each["jti"] for each in told}) == 2


@pytest.mark.parametrize("status", [500, 404, 302, HANG])
async def test_a_client_that_fails_is_told_again(
    service: Service, party: Receiver, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a new token each time, because an old one expires; redirects are not followed (SEC-66)."""
    monkeypatch.setattr("idp.provider.backchannel.TIMEOUT_SECONDS", 0.5)
    party.answer = lambda _: (status, {"Location": party.url + "/elsewhere"})
    client_id = await create_client(service, backchannel=party.url)
    person, _ = await sign_in_to(service, client_id)
    await service.client.post("/auth/logout", headers=person.bearer)
    await party.wait_for(1)
    row = await until_noted(service, client_id)
    assert timedelta(0) < row["next_attempt_at"] - datetime.now(UTC) < timedelta(seconds=3)
    party.answer = lambda _: 204
    await due_now(service, client_id)
    posts = await party.wait_for(2)
    await until_told(service, client_id)
    jtis = {jwt.decode(token_of(each), options={"verify_signature": False})["jti"] for each in posts}
    assert len(jtis) == 2
    assert {each.path for each in posts} == {"/hook"}


@pytest.mark.parametrize(("status", "age"), [(400, "0 seconds"), (503, "25 hours")])
async def test_a_client_that_refuses_or_fails_for_a_day_is_given_up_with_a_record(
    service: Service, party: Receiver, status: int, age: str
) -> None:
    """400 is final (section 2.8), and so is a day."""
    party.answer = lambda _: 503
    client_id = await create_client(service, backchannel=party.url)
    person, sid = await sign_in_to(service, client_id)
    await service.client.post("/auth/logout", headers=person.bearer)
    await until_noted(service, client_id)
    party.answer = lambda _: status
    await due_now(service, client_id, age=age)
    await party.wait_for(2)
    await until_told(service, client_id)
    (found,) = await service.sql("SELECT * FROM idp.audit_logs WHERE target = $1", f"client:{client_id}")
    assert (found["action"], found["user_id"]) == ("client.not_told_of_logout", person.id)
    assert str(sid) in str(found["details"])
    assert f"answered {status}" in str(found["details"])


async def test_a_slow_client_delays_no_other(service: Service, party: Receiver) -> None:
    """SEC-73: one that never answers, with many users, takes only its own few connections."""
    async with receiving() as dead:
        dead.answer = lambda _: HANG
        slow = await create_client(service, backchannel=dead.url)
        quick = await create_client(service, backchannel=party.url)
        person = await service.register()
        for _ in range(40):
            await start_app(service, person.session_id, slow)
        await service.client.post("/auth/logout", headers=person.bearer)
        await dead.wait_for(1)
        for _ in range(3):
            other, _ = await sign_in_to(service, quick)
            await service.client.post("/auth/logout", headers=other.bearer)
        began = time.monotonic()
        await party.wait_for(3)
        assert time.monotonic() - began < 5
        assert 4 <= len(dead.posts) < 12
        await service.sql("DELETE FROM idp.oauth_clients WHERE client_id = $1", slow)


async def test_a_client_without_a_uri_any_more_is_not_told(service: Service, party: Receiver) -> None:
    """Nor is one that was deleted; nothing waits for them."""
    party.answer = lambda _: 503
    client_id = await create_client(service, backchannel=party.url)
    person, _ = await sign_in_to(service, client_id)
    await service.client.post("/auth/logout", headers=person.bearer)
    await until_noted(service, client_id)
    await service.sql("UPDATE idp.oauth_clients SET backchannel_logout_uri = NULL WHERE client_id = $1", client_id)
    await due_now(service, client_id)
    await until_told(service, client_id)
    assert len(party.posts) == 1


async def test_private_addresses_are_not_posted_to(production: Service) -> None:
    """SEC-66: in production not even loopback; the attempt fails like one that is not answered."""
    async with receiving() as party:
        client_id = await create_client(production, backchannel=party.url.replace("http:", "https:"))
        person, _ = await sign_in_to(production, client_id)
        await production.client.post("/auth/logout", headers=person.bearer)
        row = await until_noted(production, client_id)
        assert "not public" in row["last_error"]
        assert party.posts == []
        await production.sql("DELETE FROM idp.oauth_clients WHERE client_id = $1", client_id)


async def test_many_processes_never_take_the_same_row(service: Service) -> None:
    """A race: each row is taken once, until its lease runs out; then it is sent again (at least once)."""
    # In the future, so that the service's own background task does not take them.
    client_id = await create_client(service, backchannel="https://app.example/logout")
    later = datetime.now(UTC) + timedelta(days=400)
    await service.sql(
        "INSERT INTO idp.logout_notifications (id, client_id, user_id, sid, created_at, next_attempt_at, attempts)"
        " SELECT gen_random_uuid(), $1, 'someone', gen_random_uuid(), now(), $2, 0 FROM generate_series(1, 40)",
        client_id,
        later,
    )

    async def take() -> list[UUID]:
        async with service.app.core.database.transaction() as session:
            taken = await logout_notifications.take(session, most=10, of_client=10, busy=[])
            await asyncio.sleep(0.05)
        return [each.id for each in taken if each.client_id == client_id]

    with time_machine.travel(later + timedelta(seconds=1), tick=True):
        taken = [each for some in await asyncio.gather(*(take() for _ in range(8))) for each in some]
        while rest := await take():  # what a concurrent statement skipped because it was locked
            taken += rest
        assert len(taken) == len(set(taken)) == 40
    with time_machine.travel(later + timedelta(seconds=40), tick=True):
        assert len(await take()) == 10
    await service.sql("DELETE FROM idp.oauth_clients WHERE client_id = $1", client_id)


async def test_what_a_dead_process_had_taken_another_sends(postgres: EmbeddedPostgres, party: Receiver) -> None:
    """As after `kill -9`: the row stays taken, then its lease runs out."""
    async with running(postgres.create_database("backchannel")) as service:
        client_id = await create_client(service, backchannel=party.url)
        await service.sql(
            "INSERT INTO idp.logout_notifications (id, client_id, user_id, sid, created_at, next_attempt_at, attempts)"
            " VALUES (gen_random_uuid(), $1, 'someone', gen_random_uuid(), now(), now() + interval '30 seconds', 1)",
            client_id,
        )
        await asyncio.sleep(1.2)
        assert party.posts == []
        with time_machine.travel(datetime.now(UTC) + timedelta(seconds=31), tick=True):
            await party.wait_for(1)
            await until_told(service, client_id)
