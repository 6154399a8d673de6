"""Attacks with addresses and passwords of other users."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpx2
import pytest
from sqlalchemy import event

from factories import PASSWORD, Person, Service, running
from flows.mail_support import RESET, VERIFY, ask_for_reset, mails, mails_about, reset, sign_up, verified
from idp.audit.record import SYSTEM
from idp.dev.embedded import EmbeddedPostgres
from idp.errors import Busy
from idp.users.password_queue import PasswordQueue

NEW = "a brand new password"
PROXIED = {"IDP_TRUSTED_PROXIES": "127.0.0.0/8"}
_TABLES = ("users", "password_reset_tokens", "email_verification_tokens", "mail_outbox", "audit_logs")
_WATCHED: ContextVar[list[str] | None] = ContextVar("watched", default=None)


# --- who has an account: SEC-9 ---------------------------------------------------------------------------------------


def kind_of(statement: str) -> str:
    """Return what a statement costs: its verb and table.

    Holding a user and making nobody are one step, and so are keeping a savepoint and undoing it.
    """
    verb = statement.split()[0]
    if verb in {"RELEASE", "ROLLBACK"}:
        return "end"
    table = next((name for name in _TABLES if f"idp.{name}" in statement), "")
    if table == "users" and (verb == "INSERT" or "FOR NO KEY" in statement):
        return "somebody"
    return f"{verb} {table}"


@contextmanager
def watching(service: Service) -> Iterator[list[str]]:
    """Collect the statements that this task sends, and none of what runs in the background."""
    engine, seen = service.app.core.database.engine.sync_engine, list[str]()

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        watched = _WATCHED.get()
        if watched is not None:
            watched.append(kind_of(statement))

    token = _WATCHED.set(seen)
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)
        _WATCHED.reset(token)


def flow(service: Service, name: str) -> Any:
    return service.app.dependencies[name].dependency()  # type: ignore[operator,union-attr]


async def work_for(service: Service, do: Callable[[str], Awaitable[None]], email: str) -> list[str]:
    with watching(service) as seen:
        await do(email)
    return seen


@pytest.fixture
async def addresses(service: Service) -> dict[str, str]:
    """One address of each kind, which must be indistinguishable."""
    waiting = service.new_email()
    await sign_up(service, waiting)
    people = {name: (await verified(service)).email for name in ("verified", "disabled", "disabled_too")}
    disabled = [people["disabled"], people["disabled_too"]]
    await service.sql("UPDATE idp.users SET is_active = false WHERE email = ANY($1)", disabled)
    await service.sql("UPDATE idp.users SET email_verified = false WHERE email = $1", people["disabled_too"])
    return people | {"waiting": waiting, "unknown": service.new_email(), "none": "no address"}


def same(work: dict[str, list[str]]) -> list[str]:
    """Return what was done in each case, where it is the same."""
    (first, *others) = work.values()
    assert all(other == first for other in others), work
    return first


async def test_a_reset_costs_the_same_for_an_unknown_address(service: Service, addresses: dict[str, str]) -> None:
    """SEC-9: the next request waits as long for any address; link, mail and record are made."""
    resetting = flow(service, "reset_password")

    async def ask(email: str) -> None:
        await resetting.send(await resetting.request_link(email, SYSTEM, cookies={}), SYSTEM)

    work = {what: await work_for(service, ask, email) for what, email in addresses.items()}
    steps = same(work)
    assert {"INSERT audit_logs", "INSERT password_reset_tokens", "INSERT mail_outbox", "somebody"} <= set(steps)
    assert len(await mails_about(service, addresses["verified"], RESET)) == 1
    assert len(await mails_about(service, addresses["waiting"], RESET)) == 1
    for what in ("disabled", "disabled_too", "unknown"):
        assert await mails(service, addresses[what]) == [], what
    assert await service.sql("SELECT 1 FROM idp.users WHERE email LIKE '%nobody.invalid'") == []
    wanted = "SELECT count(*) FROM idp.audit_logs WHERE action = 'user.password_reset_requested' AND actor = 'system'"
    assert (await service.sql(wanted))[0]["count"] == len(addresses)


async def test_another_verification_link_costs_the_same_for_an_unknown_address(
    service: Service, addresses: dict[str, str]
) -> None:
    """SEC-9."""
    verifying = flow(service, "verify_email")

    async def ask(email: str) -> None:
        await verifying.resend(await verifying.request_resend(email, SYSTEM, cookies={}))

    work = {what: await work_for(service, ask, email) for what, email in addresses.items()}
    steps = same(work)
    assert {"INSERT email_verification_tokens", "INSERT mail_outbox", "somebody"} <= set(steps)
    assert len(await mails_about(service, addresses["waiting"], VERIFY, count=2)) == 2
    for what in ("verified", "disabled", "disabled_too", "unknown"):
        assert await mails(service, addresses[what]) == [], what
    assert await service.sql("SELECT 1 FROM idp.users WHERE email LIKE '%nobody.invalid'") == []


async def test_registering_costs_the_same_for_a_known_address(service: Service, addresses: dict[str, str]) -> None:
    """SEC-9 C-30: also where the account is disabled, and its owner gets no mail."""
    registering = flow(service, "register_email")

    async def ask(email: str) -> None:
        await registering.register(email, NEW, SYSTEM)

    del addresses["none"]  # refused by its form, before anything is looked up
    work = {what: await work_for(service, ask, email) for what, email in addresses.items()}
    steps = same({what: sorted(steps) for what, steps in work.items()})  # in another order
    assert {"INSERT email_verification_tokens", "INSERT mail_outbox", "somebody"} <= set(steps)
    for what, count in (("waiting", 2), ("unknown", 1)):
        assert len(await mails_about(service, addresses[what], VERIFY, count=count)) == count
    assert len(await mails_about(service, addresses["verified"], "already have an account")) == 1
    for what in ("disabled", "disabled_too"):
        assert await mails(service, addresses[what]) == [], what
    assert await service.sql("SELECT 1 FROM idp.users WHERE email LIKE '%nobody.invalid'") == []


# --- who may not sign in because others do: SEC-7 SEC-8 --------------------------------------------------------------


async def test_one_address_does_not_take_all_places_of_the_password_queue(postgres: EmbeddedPostgres) -> None:
    """SEC-7 SEC-8: a dozen accounts with right passwords pass every limit of failures; others sign in meanwhile."""
    environ = PROXIED | {"IDP_PASSWORDS__QUEUE_LIMIT": "16", "IDP_PASSWORDS__QUEUE_LIMIT_PER_ADDRESS": "4"}
    async with running(postgres.create_database("places"), environ=environ) as service:
        people, owner = [await service.register() for _ in range(6)], await service.register()

        async def log_in(person: Person, address: str) -> httpx2.Response:
            body = {"email": person.email, "password": PASSWORD}
            return await service.client.post("/auth/login", json=body, headers={"X-Forwarded-For": address})

        for _ in range(3):
            flood = [asyncio.create_task(log_in(person, "203.0.113.1")) for person in people for _ in range(10)]
            await asyncio.sleep(0.05)
            assert (await log_in(owner, "198.51.100.1")).status_code == 200
            answers = await asyncio.gather(*flood)
            assert {answer.status_code for answer in answers} == {200, 503}
            refused = [answer for answer in answers if answer.status_code == 503]
            assert {(a.json()["code"], a.headers["retry-after"]) for a in refused} == {("busy", "1")}
        assert (await log_in(owner, "203.0.113.1")).status_code == 200, "all places are free again"


async def test_hashing_takes_a_place_of_its_address_too(postgres: EmbeddedPostgres) -> None:
    """SEC-7: registering, resetting and changing."""
    environ = {"IDP_PASSWORDS__QUEUE_LIMIT_PER_ADDRESS": "1"}
    async with running(postgres.create_database("hash_places"), environ=environ) as service:
        people = [await service.register() for _ in range(4)]
        links = [await ask_for_reset(service, (await service.register()).email) for _ in range(4)]

        async def change(person: Person) -> httpx2.Response:
            body = {"current_password": PASSWORD, "new_password": NEW}
            return await service.client.post("/api/auth/password/change", headers=person.bearer, json=body)

        async def register() -> httpx2.Response:
            body = {"email": service.new_email(), "password": PASSWORD}
            return await service.client.post("/api/auth/email/register", json=body)

        for asked in (
            (change(person) for person in people),
            (register() for _ in people),
            (reset(service, link, NEW) for link in links),
        ):
            codes = [answer.status_code for answer in await asyncio.gather(*asked)]
            assert {200, 503} >= set(codes), codes
            assert 503 in codes


def test_a_place_is_of_one_network_and_is_given_back() -> None:
    """SEC-8: all addresses of an IPv6 client share its places; our own work has none to lose."""
    queue = PasswordQueue(5, 2)
    with queue.place("2001:db8::1"), queue.place("2001:db8::2"):
        with pytest.raises(Busy), queue.place("2001:db8::3"):
            pass
        with queue.place("192.0.2.1"), queue.place(None), queue.place(None), pytest.raises(Busy), queue.place(None):
            pass
    for _ in range(3):
        with pytest.raises(ValueError, match="fails"), queue.place("2001:db8::4"):
            raise ValueError("fails")
    assert not queue._of


async def test_guesses_from_outside_do_not_keep_an_owner_from_changing_the_password(
    postgres: EmbeddedPostgres,
) -> None:
    """SEC-8: signed-in users are limited by session, with the same number of attempts."""
    environ = PROXIED | {"IDP_RATE_LIMITS__FAILED_LOGINS_PER_ACCOUNT": "5"}
    async with running(postgres.create_database("proofs_of_owners"), environ=environ) as service:
        person = await service.register()

        async def change(password: str) -> httpx2.Response:
            body = {"current_password": password, "new_password": NEW}
            return await service.client.post("/api/auth/password/change", headers=person.bearer, json=body)

        for number in range(6):
            body, headers = {"email": person.email, "password": "a guess"}, {"X-Forwarded-For": f"203.0.113.{number}"}
            guess = await service.client.post("/auth/login", json=body, headers=headers)
        assert guess.status_code == 429
        assert (await change(PASSWORD)).status_code == 200
        codes = [(await change("a wrong guess")).status_code for _ in range(11)]
        assert codes == [401] * 10 + [429]


# --- refresh tokens that nobody has: SEC-8 ---------------------------------------------------------------------------


@pytest.fixture
async def few(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    environ = PROXIED | {"IDP_RATE_LIMITS__BAD_CREDENTIALS_PER_ADDRESS_PER_MINUTE": "2"}
    async with running(postgres.create_database(f"few_{secrets.token_hex(3)}"), environ=environ) as service:
        yield service


async def test_a_flood_of_unknown_refresh_tokens_is_shed(few: Service) -> None:
    """SEC-8: malformed ones are limited early; valid ones of the address, and other addresses, are not."""
    person = await few.register()
    assert [(await few.refresh(f"rt_{'junk' * 9}{n}")).status_code for n in range(2)] == [401, 401]
    shed = await few.refresh("rt_" + "more" * 9)
    assert (shed.status_code, shed.json()["code"]) == (429, "rate_limited")
    assert 0 < int(shed.headers["retry-after"]) <= 61
    elsewhere = {"X-Forwarded-For": "203.0.113.7"}
    answer = await few.client.post("/auth/refresh", json={"refresh_token": "rt_" + "junk" * 9}, headers=elsewhere)
    assert answer.status_code == 401
    answer = await few.refresh(person.refresh_token)
    assert answer.status_code == 200
    assert (await few.refresh(answer.json()["refresh_token"])).status_code == 200, "a successor looks the same"


async def test_a_flood_of_well_formed_refresh_tokens_is_limited_later(few: Service) -> None:
    """SEC-8: a hundred times as many, since one address may be a gateway's."""
    codes = [(await few.refresh(f"rt_{secrets.token_urlsafe(32)}")).status_code for _ in range(202)]
    assert codes == [401] * 200 + [429] * 2
