"""`idp clerk diff` and `repair`: equal to Clerk's list again, whatever happened to the webhooks."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from authn.issuer_support import Issuer, http, running_issuer
from clerk.clerk_support import World, running_world
from clerk.drift_support import NO_DEFAULTS, diff, live_instance, repair
from idp.clerk.api import ClerkApiError, open_api
from idp.clerk.drift import TooManyDeletions
from idp.clerk.drift_gauge import DriftGauge
from idp.dev.embedded import EmbeddedPostgres
from idp.settings import Secret


@pytest.fixture
async def world(postgres: EmbeddedPostgres, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    name = f"drift_{abs(hash(request.node.name))}"
    async with running_world(postgres.create_database(name), instance=live_instance(), **NO_DEFAULTS) as world:
        yield world


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


async def test_an_unverified_address_that_another_user_has_proved_is_a_conflict(world: World) -> None:
    owner = await world.created()
    email = (await world.row(owner))["email"]
    address = {"id": "idn_1", "email_address": email, "verification": {"status": "unverified"}}
    other = await world.created(email_addresses=[address], primary_email_address_id="idn_1")
    for found in (await diff(world), await repair(world), await repair(world)):
        assert (found.changed, found.conflicting) == (0, 1)
    assert ((await world.row(owner))["email"], (await world.row(other))["email"]) == (email, None)


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
