"""Guessing is limited, its limits are told, and nobody who guesses locks an owner out (S4-36, SEC-8)."""

import re
import time
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
import time_machine

from factories import PASSWORD, Person, Service, running
from flows.mail_support import mails, mails_about, verified
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey

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


async def test_what_is_left_is_told(service: Service) -> None:
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
    """SEC-8: another account's cookie, a made up one and an altered one exempt nobody."""

    def found(cookie: str, person: Person, *, version: int = 1) -> str | None:
        return service.app.parts.devices.find({"idp_device": cookie}, person.id, password_version=version)

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
    """SEC-8: whoever knew the old password and made devices with it guesses at the new one like anybody else."""
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


async def test_whoever_comes_again_and_again_waits_longer_each_time(postgres: EmbeddedPostgres) -> None:
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
        "IDP_RATE_LIMITS__BACK_OFF_SECONDS": "1,3",
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


async def test_a_sign_in_from_a_new_device_is_told_to_its_owner(service: Service) -> None:
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
