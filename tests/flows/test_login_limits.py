"""Limits on password guesses: documented headers, and the owner is not locked out (S4-36, SEC-8)."""

import re
import time
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
import time_machine
from sqlalchemy import event

from factories import PASSWORD, Person, Service, root_secret, running
from flows.mail_support import mails, mails_about, token_in, verified
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey
from idp.sessions import service as sessions
from idp.sessions.service import Device, Lifetime

PROXIED = {"IDP_TRUSTED_PROXIES": "127.0.0.0/8"}
WARNING = "new device"


async def guess(service: Service, person: Person, **headers: str) -> httpx2.Response:
    body = {"email": person.email, "password": "a wrong guess"}
    return await service.client.post("/auth/login", json=body, headers=headers)


async def log_in(service: Service, person: Person, **headers: str) -> httpx2.Response:
    return await service.client.post("/auth/login", json={"email": person.email, "password": PASSWORD}, headers=headers)


def device_of(answer: httpx2.Response) -> dict[str, str]:
    """Return the header by which this device is known again."""
    return {"Cookie": f"idp_device={answer.cookies['idp_device']}"}


def limits_of(answer: httpx2.Response) -> dict[str, tuple[int, int]]:
    """Return what is left, and for how many seconds, by the name of the limit."""
    found = re.findall(r'"(\w+)";r=(\d+);t=(\d+)', answer.headers["ratelimit"])
    return {name: (int(left), int(seconds)) for name, left, seconds in found}


async def test_the_remaining_attempts_are_reported(service: Service) -> None:
    """The IETF draft's fields: on refusals too; the account's own limit is nobody else's business."""
    person = await service.register()
    first, second = await guess(service, person), await guess(service, person)
    assert '"login_pair";q=10;w=900' in first.headers["ratelimit-policy"]
    assert '"login_address";q=100000;w=900' in first.headers["ratelimit-policy"]
    assert (limits_of(first)["login_pair"][0], limits_of(second)["login_pair"][0]) == (9, 8)
    assert 0 < limits_of(first)["login_pair"][1] <= 901
    assert limits_of(first).keys() == {"login_pair", "login_address"}
    right = await log_in(service, person)
    assert limits_of(right)["login_pair"][0] == 8, "successes are not counted"
    for _ in range(8):
        await guess(service, person)
    refused = await guess(service, person)
    assert refused.status_code == 429
    assert limits_of(refused)["login_pair"][0] == 0
    assert int(refused.headers["retry-after"]) >= 1
    assert "ratelimit" not in (await service.client.get("/health")).headers
    assert "ratelimit" not in (await service.me(person.bearer)).headers


async def test_an_attacker_never_locks_the_owner_out(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> None:
    """SEC-8: the account's limit stops guesses from everywhere, but not a device that has signed in before."""
    environ = PROXIED | {"IDP_RATE_LIMITS__FAILED_LOGINS_PER_ACCOUNT": "20"}
    url = postgres.create_database("owner")
    async with running(url, valkey_url=valkey.url, environ=environ) as service:
        person = await service.register()
        device = device_of(await log_in(service, person, **{"X-Forwarded-For": "198.51.100.1"}))
        answers = [await guess(service, person, **{"X-Forwarded-For": f"203.0.113.{n}"}) for n in range(25)]
        assert [answer.status_code for answer in answers] == [401] * 20 + [429] * 5
        new_device = {"X-Forwarded-For": "198.51.100.2"}
        assert (await log_in(service, person, **new_device)).status_code == 429
        known_device = new_device | device
        assert (await log_in(service, person, **known_device)).status_code == 200
        # The exemption is the device's own: it guesses no more often than any other.
        codes = [(await guess(service, person, **known_device)).status_code for _ in range(11)]
        assert codes == [401] * 10 + [429]


async def test_a_device_is_known_to_the_accounts_that_it_signed_in_to(service: Service) -> None:
    """SEC-8: another account's cookie, a forged one and an altered one give no exemption."""

    def found(cookie: str, person: Person, *, version: int = 1) -> str | None:
        return service.app.core.devices.find({"idp_device": cookie}, person.id, password_version=version)

    one, two = await service.register(), await service.register()
    first = await log_in(service, one)
    assert "HttpOnly" in first.headers["set-cookie"]
    value = first.cookies["idp_device"]
    assert found(value, one) is not None
    assert found(value, two) is None
    assert found(value, one, version=2) is None
    both = (await log_in(service, two, **device_of(first))).cookies["idp_device"]
    assert found(both, one) == found(both, two) is not None
    for bad in ("", "x", value[:-1], value[:-1] + ("A" if value[-1] != "A" else "B"), value + ".", "é" * 22, "." * 50):
        assert found(bad, one) is None
    for _ in range(8):
        both = (await log_in(service, await service.register(), Cookie=f"idp_device={both}")).cookies["idp_device"]
    assert len(both.split(".")) == 6


async def test_a_new_password_makes_strangers_of_all_devices(
    postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    """SEC-8: devices known by the old password give no exemption for the new one."""
    environ = PROXIED | {"IDP_RATE_LIMITS__FAILED_LOGINS_PER_ACCOUNT": "15"}
    async with running(postgres.create_database("strangers"), valkey_url=valkey.url, environ=environ) as service:
        person = await service.register()
        devices = [device_of(await log_in(service, person)) for _ in range(3)]
        changed = await service.client.post(
            "/api/auth/password/change",
            json={"current_password": PASSWORD, "new_password": "another long password"},
            headers=person.bearer,
        )
        assert changed.status_code == 200
        codes = [
            (await guess(service, person, **device, **{"X-Forwarded-For": f"203.0.113.{n}"})).status_code
            for n, device in enumerate(devices * 6)
        ]
        assert codes == [401] * 15 + [429] * 3


async def test_forwarded_addresses_count_only_from_trusted_proxies(service: Service) -> None:
    """SEC-8: otherwise every guess would come from another address."""
    person = await service.register()
    answers = [await guess(service, person, **{"X-Forwarded-For": f"203.0.113.{n}"}) for n in range(11)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]


@pytest.mark.parametrize("path", ["/auth/login", "/api/auth/login"])
async def test_an_address_is_refused_before_its_body_is_read(postgres: EmbeddedPostgres, path: str) -> None:
    """SEC-8: a flood costs the price of its heads; what the body holds does not matter any more."""
    environ = {"IDP_RATE_LIMITS__FAILED_LOGINS_PER_ADDRESS": "3"}
    async with running(postgres.create_database(f"unread{len(path)}"), environ=environ) as service:
        person = await service.register()
        assert [(await guess(service, person)).status_code for _ in range(3)] == [401] * 3
        for body in (b"not json", b"{}", b"x" * 900_000):
            answer = await service.client.post(path, content=body, headers={"Content-Type": "application/json"})
            assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert (await log_in(service, person)).status_code == 429


async def test_repeated_failures_wait_longer_each_time(postgres: EmbeddedPostgres) -> None:
    """S4-36: 60 s, 5 min, 15 min, an hour, a day; a day without it begins anew."""
    async with running(postgres.create_database("back_off")) as service:
        person = await service.register()
        waits = []
        began, passed = datetime.now(UTC), 0
        for _ in range(6):
            with time_machine.travel(began + timedelta(seconds=passed), tick=True):
                codes = [(await guess(service, person)).status_code for _ in range(11)]
                assert codes == [401] * 10 + [429]
                waits.append(int((await guess(service, person)).headers["retry-after"]))
                passed += waits[-1] + 5
        # The window itself is a quarter of an hour.
        assert [round(wait, -1) for wait in waits] == [900, 900, 900, 3600, 86400, 900]
        with time_machine.travel(began + timedelta(seconds=passed + 3 * 86_400), tick=True):
            assert (await log_in(service, person)).status_code == 200


async def test_the_back_off_is_shared_by_all_processes(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> None:
    """S4-36: what one process closed, the next one keeps closed, also when the window is over."""
    environ = {
        "RATE_LIMIT_WINDOW": "1",
        "MAX_LOGIN_ATTEMPTS": "2",
        "IDP_RATE_LIMITS__BACK_OFF_SECONDS": "1,30",
        "IDP_SECRET_KEY": root_secret(),
    }
    url = postgres.create_database("shared_back_off")
    async with (
        running(url, valkey_url=valkey.url, environ=environ) as one,
        running(url, valkey_url=valkey.url, environ=environ, migrate=False) as two,
    ):
        person = await one.register()
        assert [(await guess(one, person)).status_code for _ in range(3)] == [401, 401, 429]
        time.sleep(2.1)  # noqa: ASYNC251  Valkey's clock cannot be moved
        assert [(await guess(two, person)).status_code for _ in range(3)] == [401, 401, 429]
        time.sleep(1.5)  # noqa: ASYNC251
        refused = await guess(one, person)
        assert refused.status_code == 429
        assert limits_of(refused)["login_pair"][0] == 0


async def test_a_sign_in_from_a_new_device_is_mailed_to_the_owner(service: Service) -> None:
    """The issue's new-device notice: not for the first, not for a known one, not for the same program and address."""
    person = await verified(service)
    phone = {"User-Agent": "Mozilla/5.0 (Android 16; Mobile; rv:145.0) Gecko/145.0 Firefox/145.0"}
    assert (await log_in(service, person)).status_code == 200
    known = device_of(await log_in(service, person, **phone))
    (mail,) = await mails_about(service, person.email, WARNING)
    assert "Firefox" in mail["text"]
    assert "127.0.0.1" in mail["text"]
    assert (await log_in(service, person, **phone)).status_code == 200
    assert (await log_in(service, person, **{"User-Agent": "an updated browser"}, **known)).status_code == 200
    unverified = await service.register()
    assert (await log_in(service, unverified, **phone)).status_code == 200
    assert len([each for each in await mails(service, person.email) if WARNING in each["subject"]]) == 1
    assert await mails(service, unverified.email) == []


async def test_a_hundred_failures_in_a_row_lock_unknown_devices_out_whatever_the_pace(
    postgres: EmbeddedPostgres,
) -> None:
    """SEC-8: guesses at the pace of a short window; a restart and another process count on."""
    environ = PROXIED | {
        "RATE_LIMIT_WINDOW": "1",
        "MAX_LOGIN_ATTEMPTS": "1000",
        "IDP_RATE_LIMITS__CONSECUTIVE_FAILURES_PER_ACCOUNT": "6",
        "IDP_SECRET_KEY": root_secret(),
    }
    url = postgres.create_database("consecutive")
    elsewhere = {"X-Forwarded-For": "203.0.113.7"}
    async with running(url, environ=environ) as service:
        person = await verified(service)
        device = device_of(await log_in(service, person))
        for _ in range(3):
            assert (await guess(service, person, **elsewhere)).status_code == 401
    async with running(url, environ=environ, migrate=False) as service:
        for _ in range(3):
            assert (await guess(service, person, **elsewhere)).status_code == 401
        wrong, right = await guess(service, person, **elsewhere), await log_in(service, person, **elsewhere)
        assert right.status_code == wrong.status_code == 401, "the password is right, and nobody learns that"
        assert right.json()["detail"] == wrong.json()["detail"]
        assert (await log_in(service, person, **elsewhere)).status_code == 401
        (told,) = await mails_about(service, person.email, "locked")
        assert told["links"][0].endswith("/reset-password")
        # The owner's own device goes on, and its success ends the row.
        assert (await log_in(service, person, **elsewhere | device)).status_code == 200
        assert (await log_in(service, person, **elsewhere)).status_code == 200


async def test_the_mailed_link_opens_a_locked_account_again(postgres: EmbeddedPostgres) -> None:
    """SEC-8: an owner without a known device is not locked out permanently."""
    environ = {"IDP_RATE_LIMITS__CONSECUTIVE_FAILURES_PER_ACCOUNT": "3"}
    async with running(postgres.create_database("opened_again"), environ=environ) as service:
        person = await verified(service)
        for _ in range(3):
            assert (await guess(service, person)).status_code == 401
        assert (await log_in(service, person)).status_code == 401
        await service.client.post("/api/auth/password/reset/request", json={"email": person.email})
        (mail,) = await mails_about(service, person.email, "Choose a new password")
        new = {"token": token_in(mail), "new_password": "another horse battery"}
        assert (await service.client.post("/api/auth/password/reset/confirm", json=new)).status_code == 200
        body = {"email": person.email, "password": "another horse battery"}
        assert (await service.client.post("/auth/login", json=body)).status_code == 200


async def test_of_guesses_at_once_none_is_let_in_late(service: Service) -> None:
    """SEC-8: what was checked before the others failed is decided by what is counted at the end."""
    person = await service.register()
    device, lifetime = Device(None, None, None), Lifetime(idle_seconds=60, seconds=60)
    await service.sql("INSERT INTO idp.sign_in_failures VALUES ($1, 3, now())", person.id)
    for most, begins in ((3, False), (2, False), (4, True)):
        async with service.app.core.database.transaction() as session:
            started = await sessions.start(
                session, person.id, device, lifetime, password_version=1, amr=("pwd",), max_failures=most
            )
            assert (started is not None) is begins
    assert await service.sql("SELECT FROM idp.sign_in_failures WHERE user_id = $1", person.id) == []


async def test_a_stolen_session_does_not_guess_at_the_password_for_ever(postgres: EmbeddedPostgres) -> None:
    """SEC-8: where the password is asked for once more, wrong ones in a row count as at sign-in."""
    environ = PROXIED | {
        "RATE_LIMIT_WINDOW": "1",
        "MAX_LOGIN_ATTEMPTS": "1000",
        "IDP_RATE_LIMITS__CONSECUTIVE_FAILURES_PER_ACCOUNT": "3",
    }
    elsewhere = {"X-Forwarded-For": "203.0.113.7"}
    async with running(postgres.create_database("stolen_session"), environ=environ) as service:
        person = await verified(service)
        again = await service.sign_in(person)

        async def change(password: str) -> int:
            body = {"current_password": password, "new_password": "another horse battery"}
            answer = await service.client.post("/api/auth/password/change", headers=again.bearer, json=body)
            return answer.status_code

        assert [await change("a guess") for _ in range(3)] == [401] * 3
        assert (await service.me(again.bearer)).status_code == 401, "the session has ended"
        assert (await service.me(person.bearer)).status_code == 200, "and no other one"
        assert len(await mails_about(service, person.email, "locked")) == 1
        assert (await log_in(service, person, **elsewhere)).status_code == 401


async def test_guesses_from_outside_take_no_session_from_an_owner_who_knows_the_password(
    postgres: EmbeddedPostgres,
) -> None:
    """SEC-8: the account is locked for strangers, and its owner changes the password in a session."""
    environ = PROXIED | {"IDP_RATE_LIMITS__CONSECUTIVE_FAILURES_PER_ACCOUNT": "3"}
    async with running(postgres.create_database("owner_in_session"), environ=environ) as service:
        person = await verified(service)
        again = await service.sign_in(person)
        for _ in range(4):
            await guess(service, person, **{"X-Forwarded-For": "203.0.113.7"})
        body = {"current_password": PASSWORD, "new_password": "another horse battery"}
        answer = await service.client.post("/api/auth/password/change", headers=again.bearer, json=body)
        assert answer.status_code == 200
        assert (await service.me(again.bearer)).status_code == 200


async def test_every_refusal_asks_the_database_the_same(postgres: EmbeddedPostgres) -> None:
    """SEC-9: one statement more for who has an account would tell it by the time."""
    environ = {"IDP_RATE_LIMITS__CONSECUTIVE_FAILURES_PER_ACCOUNT": "3"}
    async with running(postgres.create_database("same_statements"), environ=environ) as service:
        person, disabled, locked = [await service.register() for _ in range(3)]
        await service.sql("UPDATE idp.users SET is_active = false WHERE id = $1", disabled.id)
        await service.sql("INSERT INTO idp.sign_in_failures VALUES ($1, 3, now())", locked.id)
        said: list[str] = []
        written = ("INSERT INTO idp.audit_logs", "INSERT INTO idp.sign_in_failures")  # others work in the background
        engine = service.app.core.database.engine.sync_engine
        event.listen(engine, "before_cursor_execute", lambda *arguments: said.append(arguments[2]))
        heard = []
        for email, password in (
            ("nobody@example.com", PASSWORD),
            (person.email, "a wrong guess"),
            (disabled.email, PASSWORD),
            (disabled.email, "a wrong guess"),
            (locked.email, PASSWORD),
            (locked.email, "a wrong guess"),
        ):
            said.clear()
            answer = await service.client.post("/auth/login", json={"email": email, "password": password})
            assert answer.status_code == 401
            heard.append([each for each in said if each.strip().startswith(written)])
        assert len(heard[0]) == 2
        assert heard == [heard[0]] * 6
        counted = await service.sql("SELECT user_id, failures FROM idp.sign_in_failures")
        assert {(row["user_id"], row["failures"]) for row in counted} == {
            (person.id, 1), (disabled.id, 1), (locked.id, 4)
        }  # fmt: skip
