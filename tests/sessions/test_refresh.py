"""Refresh tokens over HTTP: rotation, the grace window, reuse, races, and invalid requests."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
import time_machine

from factories import Person, Service, root_secret, running
from idp.dev.embedded import EmbeddedPostgres

SESSION = {
    "access_token", "refresh_token", "token_type", "expires_in", "user_id", "session_id", "message", "user"
}  # fmt: skip


def later(**how_much: float) -> time_machine.travel:
    return time_machine.travel(datetime.now(UTC) + timedelta(**how_much), tick=True)


async def refreshed(service: Service, token: str) -> dict[str, Any]:
    answer = await service.refresh(token)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(answer: httpx2.Response, code: str) -> None:
    assert answer.status_code == 401, answer.text
    assert answer.json()["code"] == code
    assert "Bearer" in answer.headers["www-authenticate"]


async def reason_of(service: Service, person: Person) -> str | None:
    (row,) = await service.sql(
        "SELECT ended_reason FROM idp.user_sessions WHERE id = $1::text::uuid", person.session_id
    )
    return row["ended_reason"]


@pytest.mark.parametrize("path", ["/auth/refresh", "/api/auth/refresh"])
async def test_a_refresh_token_is_exchanged_for_new_tokens_of_the_same_session(service: Service, path: str) -> None:
    """S3-57 S4-03 S4-19 S4-34 C-08: opaque, rotated at each use, the same session; answers the whole session object."""
    person = await service.register()
    assert 32 <= len(person.refresh_token) <= 512
    assert "." not in person.refresh_token
    answer = await service.client.post(path, json={"refresh_token": person.refresh_token})
    body = answer.json()
    assert answer.status_code == 200
    assert body.keys() == SESSION
    assert body["session_id"] == person.session_id
    assert body["user_id"] == person.id
    assert body["refresh_token"] != person.refresh_token
    assert answer.headers["cache-control"] == "no-store"
    me = await service.me({"Authorization": f"Bearer {body['access_token']}"})
    assert me.json()["id"] == person.id


async def test_the_database_holds_no_refresh_token(service: Service) -> None:
    """S4-32 SEC-49: digests only; successors are derived and stored nowhere."""
    person = await service.register()
    second = (await refreshed(service, person.refresh_token))["refresh_token"]
    rows = await service.sql(
        "SELECT t::text AS whole FROM idp.refresh_tokens t WHERE session_id = $1::text::uuid", person.session_id
    )
    assert len(rows) == 2
    for row in rows:
        for token in (person.refresh_token, second):
            assert token not in row["whole"]
            assert token[3:] not in row["whole"]


async def test_a_repeat_within_the_grace_window_leads_to_the_tip_of_the_chain(service: Service) -> None:
    """C-08: two tabs with one stored token never sign each other out, however far the other has gone meanwhile."""
    person = await service.register()
    tip = person.refresh_token
    for _ in range(5):
        tip = (await refreshed(service, tip))["refresh_token"]
    again = await refreshed(service, person.refresh_token)
    assert again["refresh_token"] == tip
    assert again["session_id"] == person.session_id
    assert (await refreshed(service, tip))["refresh_token"] != tip


async def test_the_grace_window_is_counted_from_the_rotation_of_that_very_token(service: Service) -> None:
    """C-08: a token that rotated nine seconds ago is forgiven, and its predecessor of eleven seconds ago is reuse."""
    person = await service.register()
    second = (await refreshed(service, person.refresh_token))["refresh_token"]
    with later(seconds=6):
        third = (await refreshed(service, second))["refresh_token"]
    with later(seconds=12):
        assert (await refreshed(service, second))["refresh_token"] == third
        refused(await service.refresh(person.refresh_token), "refresh_token_reused")
        refused(await service.refresh(third), "refresh_token_invalid")


async def test_refresh_token_reuse_ends_the_family_and_the_session_and_is_reported(service: Service) -> None:
    """S4-34 SEC-49 C-08: a stolen old token kills everything that came of it, and audit, event and metric say so."""
    person, other = await service.register(), await service.register()
    elsewhere = await service.sign_in(person)
    second = await refreshed(service, person.refresh_token)
    bearer = {"Authorization": f"Bearer {second['access_token']}"}
    assert (await service.me(bearer)).status_code == 200
    before = await reuses(service)
    third = await refreshed(service, second["refresh_token"])
    with later(seconds=11):
        refused(await service.refresh(person.refresh_token), "refresh_token_reused")
        refused(await service.refresh(person.refresh_token), "refresh_token_invalid")  # reported once
        refused(await service.refresh(third["refresh_token"]), "refresh_token_invalid")
        assert (await service.me(bearer)).json()["code"] == "token_revoked"
        assert (await service.me(person.bearer)).json()["code"] == "token_revoked"
        assert (await service.me(elsewhere.bearer)).status_code == 200
        assert (await service.me(other.bearer)).status_code == 200
    assert await reason_of(service, person) == "refresh_token_reused"
    assert await reuses(service) == before + 1
    audit = await service.sql(
        "SELECT details::text AS details FROM idp.audit_logs WHERE action = 'session.ended' AND user_id = $1", person.id
    )
    assert [person.session_id in row["details"] and "refresh_token_reused" in row["details"] for row in audit] == [True]
    events = await service.sql(
        "SELECT data::text AS data FROM idp.outbox WHERE type = 'idp.session.revoked' AND subject = $1", person.id
    )
    assert [person.session_id in row["data"] for row in events] == [True]


async def reuses(service: Service) -> float:
    metrics = (await service.client.get("/metrics")).text
    wanted = 'idp_auth_attempts_total{method="refresh_token",outcome="refresh_token_reused"}'
    return sum(float(line.rpartition(" ")[2]) for line in metrics.splitlines() if line.startswith(wanted))


async def test_a_race_of_32_on_one_token_has_one_successor(service: Service) -> None:
    """SEC-49 SEC-77: all 32 are answered, and the chain has exactly one more link."""
    person = await service.register()
    answers = await asyncio.gather(*(service.refresh(person.refresh_token) for _ in range(32)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1
    rows = await service.sql(
        "SELECT generation, rotated_at FROM idp.refresh_tokens WHERE session_id = $1::text::uuid ORDER BY generation",
        person.session_id,
    )
    assert [(row["generation"], row["rotated_at"] is None) for row in rows] == [(0, False), (1, True)]


async def test_racing_refreshes_and_a_logout_leave_nothing_alive(service: Service) -> None:
    """SEC-58 SEC-77: whoever refreshes while the session ends gets nothing that outlives it."""
    for _ in range(10):
        person = await service.register()
        ending = service.client.post("/api/auth/logout", headers=person.bearer)
        racing = [service.refresh(person.refresh_token) for _ in range(8)]
        logout, *answers = await asyncio.gather(ending, *racing)
        assert logout.status_code == 200
        for answer in answers:
            if answer.status_code == 200:
                refused(await service.refresh(answer.json()["refresh_token"]), "refresh_token_invalid")
                me = await service.me({"Authorization": f"Bearer {answer.json()['access_token']}"})
                assert me.json()["code"] == "token_revoked"
            else:
                refused(answer, "refresh_token_invalid")


async def test_a_refresh_token_ends_after_seven_days_without_use(service: Service) -> None:
    """C-08 S4-28 SEC-71: the idle end moves with each use."""
    person = await service.register()
    with later(days=6, hours=23):
        tip = (await refreshed(service, person.refresh_token))["refresh_token"]
    with later(days=13):
        tip = (await refreshed(service, tip))["refresh_token"]
    with later(days=20, hours=1):
        refused(await service.refresh(tip), "refresh_token_invalid")


async def test_remember_me_keeps_a_session_for_sixty_days_without_use(service: Service) -> None:
    """S4-10: 60 days with remember_me, 7 without."""
    person = await service.register()
    remembered = await service.sign_in(person, remember_me=True)
    with later(days=59):
        refused(await service.refresh(person.refresh_token), "refresh_token_invalid")
        await refreshed(service, remembered.refresh_token)


async def test_a_session_ends_however_much_it_is_used(service: Service) -> None:
    """C-08 SEC-50 SEC-71: the absolute end is 30 days by default; the last access token does not outlive it."""
    person = await service.register()
    tip = person.refresh_token
    for days in (6, 12, 18, 24):
        with later(days=days):
            tip = (await refreshed(service, tip))["refresh_token"]
    with later(days=29, hours=23, minutes=50):
        last = await refreshed(service, tip)
        assert last["expires_in"] <= 600
    with later(days=30, minutes=1):
        refused(await service.refresh(last["refresh_token"]), "refresh_token_invalid")
        answer = await service.me({"Authorization": f"Bearer {last['access_token']}"})
        assert answer.json()["code"] == "token_expired"


@pytest.mark.parametrize(
    "token",
    [
        "rt_" + "Zb4-_" * 8 + "Zb4",
        "x" * 32,
        "é" * 40,
        "rt_" + "A" * 509,
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.AAAAAAAAAAAAAAAA",
    ],
)
async def test_a_foreign_token_is_refused_without_a_reason(service: Service, token: str) -> None:
    """SEC-56: unknown, whatever it looks like."""
    refused(await service.refresh(token), "refresh_token_invalid")


async def test_a_damaged_token_is_refused_and_revokes_nothing(service: Service) -> None:
    """SEC-49: cut short, altered, in other letters, or with something around it."""
    person = await service.register()
    token = person.refresh_token
    for damaged in (token[:-1], token + "A", token[:10] + "_" + token[11:], token.swapcase(), f" {token}", token[3:]):
        refused(await service.refresh(damaged), "refresh_token_invalid")
    await refreshed(service, token)


@pytest.mark.parametrize("body", [{}, {"refresh_token": None}, {"refresh_token": 7}, {"refresh_token": "short"},
                                  {"refresh_token": "x" * 513}, [], "x"])  # fmt: skip
async def test_a_body_without_a_token_is_422(service: Service, body: Any) -> None:
    """S4-19: 32 to 512 characters."""
    answer = await service.client.post("/api/auth/refresh", json=body)
    assert answer.status_code == 422
    assert answer.json()["code"] == "validation_failed"


async def test_an_access_token_is_no_refresh_token_and_the_other_way_round(service: Service) -> None:
    """SEC-25."""
    person = await service.register()
    answer = await service.refresh(person.token)
    assert answer.status_code in {401, 422}  # it may be longer than any refresh token
    assert (await service.me({"Authorization": f"Bearer {person.refresh_token}"})).status_code == 401
    assert (await service.validate(person.refresh_token))["valid"] is False


async def test_another_clients_refresh_token_is_unknown(service: Service) -> None:
    """SEC-50 C-08: a token is bound to its client; the grace window too."""
    person = await service.register()
    await service.sql(
        "UPDATE idp.refresh_tokens SET client_id = 'other' WHERE session_id = $1::text::uuid", person.session_id
    )
    refused(await service.refresh(person.refresh_token), "refresh_token_invalid")


async def test_a_disabled_user_refreshes_nothing(service: Service) -> None:
    """SEC-19 S4-35: disabling ends the sessions; enabling again brings none back."""
    admin, person = await service.register_admin(), await service.register()
    for active in (False, True):
        answer = await service.client.patch(
            f"/api/auth/admin/users/{person.id}", json={"is_active": active}, headers=admin.bearer
        )
        assert answer.status_code == 200
        refused(await service.refresh(person.refresh_token), "refresh_token_invalid")
    assert await reason_of(service, person) == "user disabled"


async def test_a_chain_survives_the_rotation_of_the_root_secret(postgres: EmbeddedPostgres) -> None:
    """C-06c C-08: tokens and the grace window, on both sides of it; without the earlier secret the chain is unknown."""
    url, old, new = postgres.create_database("refresh_roots"), root_secret(), root_secret()
    async with running(url, environ={"IDP_SECRET_KEY": old}) as service:
        person, stays = await service.register(), await service.register()
        second = (await refreshed(service, person.refresh_token))["refresh_token"]
    environ = {"IDP_SECRET_KEY": new, "IDP_PREVIOUS_SECRET_KEYS": old}
    async with running(url, environ=environ, migrate=False) as service:
        third = (await refreshed(service, second))["refresh_token"]
        assert (await refreshed(service, person.refresh_token))["refresh_token"] == third
        fourth = (await refreshed(service, third))["refresh_token"]
        assert (await refreshed(service, person.refresh_token))["refresh_token"] == fourth
        await service.app.core.keyring.rotate(at_once=True)  # no signing key depends on the earlier secret any more
    async with running(url, environ={"IDP_SECRET_KEY": new}, migrate=False) as service:
        await refreshed(service, fourth)
        refused(await service.refresh(stays.refresh_token), "refresh_token_invalid")


# --- a lost answer (decision 0031) ------------------------------------------------------------------


async def test_a_lost_response_is_repeated_until_its_token_is_used(service: Service) -> None:
    """C-08: the phone asks again after 12 s, after an hour and after two days, and the session goes on."""
    person = await service.register()
    lost = (await refreshed(service, person.refresh_token))["refresh_token"]
    for wait in ({"seconds": 12}, {"hours": 1}, {"days": 2}):
        with later(**wait):
            again = await refreshed(service, person.refresh_token)
            assert again["refresh_token"] == lost
            assert (await service.me({"Authorization": f"Bearer {again['access_token']}"})).status_code == 200
    with later(days=2, seconds=1):
        assert (await refreshed(service, lost))["refresh_token"] not in {lost, person.refresh_token}
    assert await reason_of(service, person) is None


@pytest.mark.parametrize("thief_first", [True, False])
async def test_a_stolen_token_is_found_out_at_the_first_use_of_both(service: Service, thief_first: bool) -> None:
    """SEC-49: owner and thief have one token; each gets the successor, and whoever uses it second ends the session."""
    person = await service.register()
    with later(seconds=1):
        await refreshed(service, person.refresh_token)
    with later(seconds=15):
        successor = (await refreshed(service, person.refresh_token))["refresh_token"]
    with later(seconds=20):
        newest = (await refreshed(service, successor))["refresh_token"]
    with later(seconds=40):
        stale = successor if thief_first else person.refresh_token
        refused(await service.refresh(stale), "refresh_token_reused")
        refused(await service.refresh(newest), "refresh_token_invalid")
    assert await reason_of(service, person) == "refresh_token_reused"


async def test_a_repeat_of_an_older_token_is_reuse(service: Service) -> None:
    """SEC-49: only the last token's own predecessor may come again."""
    person = await service.register()
    second = (await refreshed(service, person.refresh_token))["refresh_token"]
    await refreshed(service, second)
    with later(seconds=12):
        refused(await service.refresh(person.refresh_token), "refresh_token_reused")


async def test_a_late_repeat_and_a_first_use_at_once_never_leave_two_chains(service: Service) -> None:
    """SEC-49: a race of 16 repeats with 16 first uses leaves one last token, or none."""
    person = await service.register()
    successor = (await refreshed(service, person.refresh_token))["refresh_token"]
    with later(seconds=12):
        tokens = [person.refresh_token, successor] * 16
        answers = await asyncio.gather(*(service.refresh(token) for token in tokens))
    assert {answer.status_code for answer in answers} <= {200, 401}
    rows = await service.sql(
        "SELECT count(*) AS open FROM idp.refresh_tokens WHERE session_id = $1::text::uuid AND rotated_at IS NULL",
        person.session_id,
    )
    assert rows[0]["open"] == 1


async def test_a_setting_ends_the_session_at_any_late_repeat(postgres: EmbeddedPostgres) -> None:
    """RFC 9700 section 4.14.2 in its strictest reading."""
    environ = {"IDP_TOKENS__REFRESH_REPEAT_WHILE_UNUSED": "false"}
    async with running(postgres.create_database("strict_repeat"), environ=environ) as service:
        person = await service.register()
        successor = (await refreshed(service, person.refresh_token))["refresh_token"]
        with later(seconds=11):
            refused(await service.refresh(person.refresh_token), "refresh_token_reused")
            assert (await service.refresh(successor)).status_code == 401, "the session has ended"


async def test_a_lost_answer_of_an_ended_session_is_not_given_again(service: Service) -> None:
    """SEC-59: signing out ends the unused successor, too."""
    person = await service.register()
    second = await refreshed(service, person.refresh_token)
    bearer = {"Authorization": f"Bearer {second['access_token']}"}
    assert (await service.client.post("/auth/logout", headers=bearer)).status_code == 200
    with later(seconds=12):
        refused(await service.refresh(person.refresh_token), "refresh_token_invalid")
