"""`idp clerk diff` and `repair`: equal to Clerk's list again, whatever happened to the webhooks."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from authn.issuer_support import Issuer, http, running_issuer
from clerk.clerk_support import ISSUER, World, running_world
from idp.audit.record import BY_CLERK
from idp.clerk.api import ClerkApiError, open_api
from idp.clerk.comparison import Findings
from idp.clerk.drift import Drift, TooManyDeletions
from idp.clerk.drift_gauge import DriftGauge
from idp.clerk.inbox import Inbox, read_message
from idp.clerk.signature import readers, verify
from idp.dev.clerk_delivery import Outgoing, Trouble, on_the_way
from idp.dev.clerk_instance import ClerkInstance, new_state
from idp.dev.embedded import EmbeddedPostgres
from idp.settings import Secret

EVENTS = 10_000
_OVER_SOCKETS = 200  # the other deliveries enter behind the HTTP layer, so that the test takes a minute
_NO_DEFAULTS = {"IDP_ACCOUNTS__DEFAULT_TEAMS": "", "IDP_ACCOUNTS__DEFAULT_DOMAINS": "", "LOG_LEVEL": "warning"}


def live_instance() -> ClerkInstance:
    """Return an instance with the rate limits of production."""
    state = new_state()
    state.secret_key = state.secret_key.replace("sk_test_", "sk_live_")
    return ClerkInstance(ISSUER, state)


@asynccontextmanager
async def drift(world: World, roles: tuple[str, ...] = ()) -> AsyncIterator[Drift]:
    """Open the comparison with the stand-in's list, over its socket."""
    url = f"{world.service.base_url}/dev/clerk"
    async with open_api(url, Secret(world.instance.state.secret_key)) as api:
        yield Drift(api, world.service.app.core.clerk_users, roles)


async def diff(world: World) -> Findings:
    async with drift(world) as comparison:
        return await comparison.find()


async def repair(world: World, *, max_deletions: int = 10_000) -> Findings:
    async with drift(world) as comparison:
        return await comparison.repair(max_deletions=max_deletions)


@pytest.fixture
async def world(postgres: EmbeddedPostgres, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    name = f"drift_{abs(hash(request.node.name))}"
    async with running_world(postgres.create_database(name), instance=live_instance(), **_NO_DEFAULTS) as world:
        yield world


# --- 10,000 events ---------------------------------------------------------------------------------------------------


class _Story:
    """A seeded history at Clerk: sign-ups, changes, addresses that move between users, bans, deletions."""

    def __init__(self, instance: ClerkInstance, seed: int) -> None:
        self._instance = instance
        self._chance = random.Random(seed)
        self._number = 0

    def create(self) -> dict[str, Any]:
        self._number += 1
        email = f"story-{self._number}@example.com" if self._number % 7 else None
        return self._instance.create(user_id=f"user_{self._number:06}", email=email, first_name=f"N{self._number}")

    def next(self) -> list[dict[str, Any]]:
        ids, chance = list(self._instance.state.users), self._chance
        kind = chance.choices(["create", "delete", "change", "ban", "move"], [4, 4, 78, 4, 10])[0]
        if kind == "create" or len(ids) < 10:
            return [self.create()]
        first, second = chance.sample(ids, 2)
        match kind:
            case "delete":
                return [self._instance.delete(first)]
            case "ban":
                banned = self._instance.state.users[first]["banned"]
                return [self._instance.update(first, banned=not banned)]
            case "move":  # an address from one user to another, within a moment
                address = self._email_of(first)
                self._number += 1
                freed = self._instance.update(first, email=f"story-{self._number}@example.com")
                return [freed, *([self._instance.update(second, email=address)] if address else [])]
        plan = chance.choice(["FREE", "BASIC", "pro", "nonsense", None])
        return [self._instance.update(first, last_name=f"L{chance.random()}", public_metadata={"plan": plan})]

    def _email_of(self, user_id: str) -> str | None:
        listed = self._instance.state.users[user_id]["email_addresses"]
        return listed[0]["email_address"] if listed else None


@pytest.mark.slow
@pytest.mark.timeout(600)  # a minute on two idle cores
async def test_ten_thousand_events_dropped_doubled_and_shuffled(world: World) -> None:
    """S0-11 S0-12 S0-13 S1-02 C-14: after a repair both sides are equal, no deleted user lives, each key ended once."""
    story = _Story(world.instance, seed=11)
    early = [story.create() for _ in range(150)]
    await _deliver(world, [Outgoing.of(event) for event in early])
    keys = {}
    for event in early[:60]:
        keys[event["data"]["id"]] = (await world.make_key(event["data"]["id"]))["secret"]
    later: list[dict[str, Any]] = []
    while len(early) + len(later) < EVENTS:
        later += story.next()
    arriving = on_the_way(
        [Outgoing.of(event) for event in later], Trouble(drop=0.15, double=0.15, shuffle=True, seed=11)
    )
    assert len(arriving) != len(later)
    await _deliver(world, arriving)

    before = await diff(world)
    assert before.missing > 0
    assert before.changed > 10
    assert before.deleted > 10
    repaired = await repair(world)
    assert (repaired.missing, repaired.changed, repaired.deleted) == (before.missing, before.changed, before.deleted)
    assert (await diff(world)).differing == 0
    await _check_equal(world)
    await _check_keys(world, keys)
    assert (await repair(world)).differing == 0
    await _deliver(world, arriving[:200])  # by hand, days later
    assert (await diff(world)).differing == 0


async def _deliver(world: World, messages: list[Outgoing]) -> None:
    """Deliver signed messages: the first ones as requests, the others to what answers requests."""
    for message in messages[:_OVER_SOCKETS]:
        answer = await world.deliver(message)
        assert answer.status_code == 200, answer.text
    secret = world.instance.state.webhook_secret
    inbox, webhooks = Inbox(world.service.app.core.clerk_users), readers([Secret(secret)])
    for message in messages[_OVER_SOCKETS:]:
        delivery = verify(message.body, message.headers(secret), webhooks)
        await inbox.receive(read_message(message.body, delivery), BY_CLERK)
    await world.service.app.core.change_listener.catch_up()


async def _check_equal(world: World) -> None:
    rows = await world.service.sql(
        "SELECT id, email, name, is_active FROM idp.users WHERE login_type = 'clerk' AND deleted_at IS NULL"
    )
    there = {}
    for user_id, user in world.instance.state.users.items():
        listed = user["email_addresses"]
        name = " ".join(part for part in (user["first_name"], user["last_name"]) if part)
        there[user_id] = (listed[0]["email_address"] if listed else None, name, not user["banned"])
    assert {row["id"]: (row["email"], row["name"], row["is_active"]) for row in rows} == there
    tombstones = await world.service.sql("SELECT clerk_id FROM idp.clerk_users WHERE deleted_at_ms IS NOT NULL")
    assert {row["clerk_id"] for row in tombstones}.isdisjoint(there)


async def _check_keys(world: World, keys: dict[str, str]) -> None:
    ended = await world.service.sql(
        "SELECT user_id, count(*) AS times FROM idp.audit_logs WHERE action = 'api_key.revoked' GROUP BY user_id"
    )
    times = {row["user_id"]: row["times"] for row in ended}
    assert set(times.values()) == {1}
    gone = keys.keys() - world.instance.state.users.keys()
    assert len(gone) > 10
    assert gone <= times.keys()
    for user_id in list(gone)[:10]:
        assert not (await world.service.validate(keys[user_id]))["valid"]


# --- one at a time ---------------------------------------------------------------------------------------------------


async def test_each_kind_of_difference_is_found_and_repaired(world: World) -> None:
    same, renamed, gone = [await world.created(first_name="Pat") for _ in range(3)]
    world.instance.update(renamed, first_name="Renamed", public_metadata={"plan": "BASIC"})
    world.instance.delete(gone)
    missing = world.instance.create(email=world.new_email())["data"]["id"]
    found = await diff(world)
    assert (found.compared, found.missing, found.changed, found.deleted, found.conflicting) == (3, 1, 1, 1, 0)
    listed = {each.clerk_id: (each.kind, each.members) for each in found.examples}
    assert listed == {
        renamed: ("changed", ("name", "plan")),
        missing: ("missing", ()),
        gone: ("deleted", ()),
    }
    assert (await world.row(renamed))["name"] == "Pat"  # a comparison changes nothing
    await repair(world)
    assert (await world.row(renamed))["name"] == "Renamed"
    assert (await world.row(gone))["deleted_at"] is not None
    assert (await world.row(missing))["email"]
    assert (await world.row(same))["name"] == "Pat"
    assert (await diff(world)).differing == 0


async def test_the_gauge_shows_the_last_comparison(world: World) -> None:
    await world.created()
    world.instance.create(email=world.new_email())
    await diff(world)
    await DriftGauge(world.service.app.core.database).read()
    text = (await world.service.client.get("/metrics")).text
    assert 'idp_sync_drift{kind="missing"} 1.0' in text
    assert 'idp_sync_drift{kind="deleted"} 0.0' in text


async def test_nobody_is_deleted_by_the_list_of_another_instance(world: World) -> None:
    """A wrong CLERK_SECRET_KEY shows none of our users."""
    user_ids = [await world.created() for _ in range(5)]
    kept, world.instance.state.users = world.instance.state.users, {}
    with pytest.raises(TooManyDeletions):
        await repair(world, max_deletions=4)
    for user_id in user_ids:
        assert (await world.row(user_id))["deleted_at"] is None
    world.instance.state.users = kept
    assert (await repair(world)).differing == 0


async def test_a_user_whom_the_list_skipped_is_not_deleted(world: World) -> None:
    """Pages move while they are read: whom they do not show is asked for once more."""
    user_id = await world.created()
    listed, world.instance.listed = world.instance.listed, lambda **_: []  # type: ignore[method-assign]
    assert (await repair(world)).deleted == 0
    world.instance.listed = listed  # type: ignore[method-assign]
    assert (await world.row(user_id))["deleted_at"] is None


async def test_an_interrupted_repair_continues(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a page failed: the pages before it are not read again, but for one of overlap."""
    monkeypatch.setattr("idp.clerk.drift.PAGE", 2)
    for _ in range(9):
        world.instance.create(email=world.new_email())
    asked: list[int] = []
    listed = world.instance.listed

    def failing(*, limit: int, offset: int) -> list[dict[str, Any]]:
        asked.append(offset)
        if offset == 6 and asked.count(6) == 1:
            return {"errors": []}  # type: ignore[return-value]
        return listed(limit=limit, offset=offset)

    world.instance.listed = failing  # type: ignore[method-assign]
    with pytest.raises(ClerkApiError):
        await repair(world)
    assert (await repair(world)).missing == 3
    assert asked == [0, 2, 4, 6, 4, 6, 8]
    assert (await diff(world)).differing == 0


async def test_an_address_that_another_account_keeps_is_a_conflict(world: World) -> None:
    """A verified account of another sign-in keeps it; a repair says so instead of trying for ever."""
    user_id = await world.created()
    person = await world.service.register()
    await world.service.sql("UPDATE idp.users SET email_verified = true WHERE id = $1", person.id)
    world.instance.update(user_id, email=person.email)
    await repair(world)
    found = await repair(world)
    assert (found.changed, found.conflicting) == (0, 1)
    assert (await world.row(user_id))["email"] is None
    assert (await world.row(person.id))["email"] == person.email


# --- Clerk's API -----------------------------------------------------------------------------------------------------


async def test_the_rate_limit_of_the_api_is_respected() -> None:
    """429 with Retry-After, then 500, then the page; the key is in the header only."""
    answers = [
        http(b"{}", status="429 Too Many Requests", more="Retry-After: 1\r\n"),
        http(b"{}", status="503 Service Unavailable", more="Retry-After: 0\r\n"),
        http(json.dumps([{"id": "user_1"}]).encode()),
        http(b"{}", status="404 Not Found"),
        http(b"{}", status="401 Unauthorized"),
        http(b"<html>"),
    ]

    async def answer(_issuer: Issuer, _path: str) -> bytes:
        return answers.pop(0)

    async with running_issuer() as server, open_api(server.url, Secret("sk_live_key")) as api:
        server.answer = answer
        began = asyncio.get_running_loop().time()
        assert await api.users(limit=500, offset=0) == [{"id": "user_1"}]
        assert asyncio.get_running_loop().time() - began >= 1
        assert server.asked == ["/v1/users?limit=500&offset=0&order_by=%2Bcreated_at"] * 3
        assert "Bearer sk_live_key" in server.heads[0]
        assert await api.user("user_1/../..") is None
        assert server.asked[-1] == "/v1/users/user_1%2F..%2F.."
        with pytest.raises(ClerkApiError, match="CLERK_SECRET_KEY"):
            await api.users(limit=1, offset=0)
        with pytest.raises(ClerkApiError, match="not answer JSON"):
            await api.users(limit=1, offset=0)


async def test_a_development_instance_is_asked_five_times_a_second() -> None:
    """Half of Clerk's 100 requests in 10 s; of a production instance 50 a second."""

    async def answer(_issuer: Issuer, _path: str) -> bytes:
        return http(b"[]")

    async with running_issuer() as server:
        server.answer = answer
        for key, least, most in (("sk_test_key", 0.8, 5.0), ("sk_live_key", 0.08, 2.0)):
            async with open_api(server.url, Secret(key)) as api:
                began = asyncio.get_running_loop().time()
                await asyncio.gather(*(api.users(limit=1, offset=0) for _ in range(5)))
                assert least <= asyncio.get_running_loop().time() - began < most
