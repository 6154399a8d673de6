"""Valkey unreachable, slow, read-only or full: limits hold, requests do not wait, and it contains no secrets."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from valkey.asyncio import Valkey

from factories import PASSWORD, Service, running
from idp.cache import SharedStore, StoreUnavailable, connect
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey
from idp.ops.back_off import BackOff
from idp.ops.rate_limit import counter_name

KEY = bytes(32)


@pytest.fixture
def own_valkey() -> AsyncIterator[EmbeddedValkey]:
    with EmbeddedValkey() as server:
        yield server
        server.resume()


@asynccontextmanager
async def client(server: EmbeddedValkey) -> AsyncIterator[Valkey]:
    valkey = Valkey.from_url(server.url)
    yield valkey
    await valkey.aclose()


async def make_read_only(valkey: Valkey) -> None:
    await valkey.config_set("replica-read-only", "yes")
    await valkey.config_set("replica-serve-stale-data", "yes")
    await valkey.replicaof("127.0.0.1", 1)


async def make_full(valkey: Valkey) -> None:
    await valkey.set("ballast", b"x" * 1_000_000)
    await valkey.config_set("maxmemory", "100kb")


async def refuse_scripts(valkey: Valkey) -> None:
    await valkey.execute_command("ACL", "SETUSER", "default", "-eval", "-evalsha")


async def refuse_writes(valkey: Valkey) -> None:
    await valkey.config_set("min-replicas-to-write", "1")


async def guess(service: Service, email: str) -> int:
    body = {"email": email, "password": "a wrong guess"}
    return (await service.client.post("/auth/login", json=body)).status_code


FAULTS = [make_read_only, make_full, refuse_scripts, refuse_writes]


@pytest.mark.parametrize("fault", FAULTS)
async def test_limits_hold_when_the_store_does_not_write(
    postgres: EmbeddedPostgres, own_valkey: EmbeddedValkey, fault: object
) -> None:
    """40 wrong passwords for one account, with a Valkey that reads alone; /health says so."""
    async with client(own_valkey) as valkey:
        await fault(valkey)  # type: ignore[operator]
        url = postgres.create_database(f"store_{fault.__name__}")  # type: ignore[attr-defined]
        async with running(url, valkey_url=own_valkey.url) as service:
            codes = [await guess(service, "somebody@example.com") for _ in range(14)]
            assert codes == [401] * 10 + [429] * 4
            health = (await service.client.get("/health")).json()
            assert health["status"] == "degraded"
            assert health["components"]["redis"].startswith("unhealthy: ")


async def test_a_limit_that_is_partly_used_stays_so_when_the_store_fails_and_comes_back(
    postgres: EmbeddedPostgres, own_valkey: EmbeddedValkey
) -> None:
    """This process counts always, so that no change between the stores gives attempts back."""
    url = postgres.create_database("store_comes_back")
    async with running(url, valkey_url=own_valkey.url) as service, client(own_valkey) as valkey:
        codes = [await guess(service, "somebody@example.com") for _ in range(4)]
        await refuse_writes(valkey)
        codes += [await guess(service, "somebody@example.com") for _ in range(4)]
        await valkey.config_set("min-replicas-to-write", "0")
        async with asyncio.timeout(5):
            while (await service.client.get("/health")).json()["status"] != "healthy":  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        codes += [await guess(service, "somebody@example.com") for _ in range(4)]
        assert codes == [401] * 10 + [429] * 2


@pytest.mark.alone
async def test_a_store_that_stands_still_costs_a_quarter_of_a_second_a_second(
    postgres: EmbeddedPostgres, own_valkey: EmbeddedValkey
) -> None:
    """Valkey stopped (SIGSTOP); all sign-ins together lose little, at once or one after the other."""
    url = postgres.create_database("store_stopped")
    async with running(url, valkey_url=own_valkey.url) as service:
        person = await service.register()
        body = {"email": person.email, "password": PASSWORD}

        async def sign_in() -> float:
            began = time.perf_counter()
            assert (await service.client.post("/auth/login", json=body)).status_code == 200
            return time.perf_counter() - began

        usual = min([await sign_in() for _ in range(3)])
        own_valkey.pause()
        one_by_one = [await sign_in() for _ in range(8)]
        assert max(one_by_one) < usual + 0.5
        assert sum(one_by_one) < 8 * usual + 0.6 + 0.3 * sum(one_by_one)
        own_valkey.resume()


async def test_no_request_waits_for_a_store_that_is_paused(own_valkey: EmbeddedValkey) -> None:
    """After the first failure a question takes no time, until the store has written and read."""
    store = SharedStore(connect(own_valkey.url))
    own_valkey.pause()
    began = time.monotonic()
    questions = [store.run(lambda valkey: valkey.ttl("x")) for _ in range(50)]
    answers = await asyncio.gather(*questions, return_exceptions=True)
    assert all(isinstance(answer, StoreUnavailable) for answer in answers)
    assert time.monotonic() - began < 0.4
    began = time.monotonic()
    for _ in range(100):
        with pytest.raises(StoreUnavailable):
            await store.run(lambda valkey: valkey.ttl("x"))
    assert time.monotonic() - began < 0.05
    own_valkey.resume()
    async with asyncio.timeout(3):
        while not store.available:  # noqa: ASYNC110  what the background does
            await asyncio.sleep(0.05)
    await store.close()


async def test_many_slow_responses_count_like_a_missing_one(own_valkey: EmbeddedValkey) -> None:
    """Ten answers of 0.1 s would be a second."""
    store = SharedStore(connect(own_valkey.url))
    await store.check()

    async def slowly(_: Valkey) -> None:
        await asyncio.sleep(0.1)

    began = time.monotonic()
    for _ in range(10):
        try:
            await store.run(slowly)
        except StoreUnavailable:
            continue
    assert time.monotonic() - began < 0.4
    await store.close()


async def test_the_store_holds_no_address_and_nothing_typed(
    postgres: EmbeddedPostgres, own_valkey: EmbeddedValkey
) -> None:
    """A password typed as the e-mail, addresses and clients stand in no key and no value."""
    url = postgres.create_database("store_keys")
    async with running(url, valkey_url=own_valkey.url) as service, client(own_valkey) as valkey:
        person = await service.register()
        await service.me(person.bearer)
        typed = "hunter2-my-own-password"
        assert await guess(service, typed) == 401
        await service.client.post("/api/auth/password/reset/request", json={"email": person.email})
        for _ in range(11):
            await guess(service, person.email)
        keys = await valkey.keys("*")
        dump = b"\n".join(keys)
        for key in keys:
            kind = await valkey.type(key)
            dump += await valkey.get(key) if kind == b"string" else b"".join(await valkey.lrange(key, 0, -1))
        assert len(keys) > 5
        assert any(re.match(rb"idp:limits:.*/[0-9a-f]{32}/", key) for key in keys)
        names = b"\n".join(keys)
        for private in (typed, person.email, "127.0.0.1", person.id, service.base_url):
            assert private.encode() not in names
        assert typed.encode() not in dump


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("reset", "victim@example.com/known"), ("reset", "victim@example.com", "known")),
        (("a\nb",), ("a", "b")),
        (("a", "", "b"), ("a", "b", "")),
        (("ab", "c"), ("a", "bc")),
        (("\x00\x00\x00\x01a",), ("a",)),
    ],
)
def test_no_two_lists_of_parts_have_one_counter(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    """Five resets for `victim@example.com/known` used up another counter."""
    assert counter_name(KEY, *one) != counter_name(KEY, *other)
    assert counter_name(KEY, *one) == counter_name(KEY, *one)
    assert counter_name(KEY, *one) != counter_name(bytes(31) + b"x", *one)


async def test_a_limit_that_was_closed_stays_so_when_the_store_forgets_it(own_valkey: EmbeddedValkey) -> None:
    """S4-36: an outage of the store does not shorten the back-off."""
    valkey = connect(own_valkey.url)
    assert valkey is not None
    store = SharedStore(valkey)
    back_off = BackOff(store, [600, 1200])
    await back_off.close("somebody")
    assert store.available
    await valkey.flushall()
    assert await back_off.seconds_left("somebody") > 590
    await valkey.aclose()
