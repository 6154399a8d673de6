"""10,000 events dropped, doubled and shuffled: after a repair both sides are equal."""

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from clerk.clerk_support import World, running_world
from clerk.drift_support import NO_DEFAULTS, diff, live_instance, repair
from idp.audit.record import BY_CLERK
from idp.clerk.inbox import Inbox, read_message
from idp.clerk.signature import readers, verify
from idp.dev.clerk_delivery import Outgoing, Trouble, on_the_way
from idp.dev.clerk_instance import ClerkInstance
from idp.dev.embedded import EmbeddedPostgres
from idp.settings import Secret

EVENTS = 10_000
_OVER_SOCKETS = 200  # the other deliveries enter behind the HTTP layer, so that the test takes a minute


@pytest.fixture
async def world(postgres: EmbeddedPostgres) -> AsyncIterator[World]:
    async with running_world(postgres.create_database("events"), instance=live_instance(), **NO_DEFAULTS) as world:
        yield world


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
        kind = chance.choices(["create", "delete", "change", "ban", "move"], [2, 2, 81, 4, 11])[0]
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
    while len(early) + len(later) < EVENTS - 30:
        later += story.next()
    later += [story.create() for _ in range(30)]
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
