"""Bans, locks, plans and roles that Clerk states (C-26), and what it may not."""

from collections.abc import AsyncIterator

import pytest

from clerk.clerk_support import World, running_world
from idp.dev.embedded import EmbeddedPostgres


@pytest.fixture(scope="module")
async def roles(postgres: EmbeddedPostgres) -> AsyncIterator[World]:
    environ = {"IDP_CLERK__METADATA_ROLES": "analyst,editor"}
    async with running_world(postgres.create_database("clerk_roles"), **environ) as world:
        yield world


async def test_a_ban_ends_keys_and_tokens_for_good_and_can_be_lifted(clerk: World) -> None:
    """SEC-19."""
    user_id = await clerk.created()
    secret = (await clerk.make_key(user_id))["secret"]
    await clerk.send(clerk.instance.update(user_id, banned=True))
    assert (await clerk.me(user_id)).json()["code"] == "user_inactive"
    await clerk.send(clerk.instance.update(user_id, banned=False))
    assert (await clerk.me(user_id)).status_code == 200
    assert (await clerk.service.validate(secret))["error"] == "token_revoked"


async def test_a_lock_suspends_and_revokes_nothing(clerk: World) -> None:
    """Failed sign-ins of a stranger lock an account; they must not destroy its keys."""
    user_id = await clerk.created()
    secret = (await clerk.make_key(user_id))["secret"]
    await clerk.send(clerk.instance.update(user_id, locked=True))
    assert (await clerk.service.validate(secret))["error"] == "user_inactive"
    await clerk.send(clerk.instance.update(user_id, locked=False))
    assert (await clerk.service.validate(secret))["valid"]
    await clerk.send(clerk.instance.update(user_id, locked=True), clerk.instance.update(user_id, banned=True))
    await clerk.send(clerk.instance.update(user_id, banned=False, locked=False))
    assert (await clerk.service.validate(secret))["error"] == "token_revoked"


async def test_clerk_does_not_enable_whom_an_administrator_disabled(clerk: World) -> None:
    user_id = await clerk.created()
    await clerk.service.sql("UPDATE idp.users SET is_active = false WHERE id = $1", user_id)
    for changes in ({"first_name": "New"}, {"banned": True}, {"banned": False}, {"locked": True}, {"locked": False}):
        await clerk.send(clerk.instance.update(user_id, **changes))
        assert (await clerk.row(user_id))["is_active"] is False, changes


@pytest.mark.parametrize("suspension", ["locked", "banned"])
async def test_clerk_does_not_enable_whom_an_administrator_disabled_during_a_suspension(
    clerk: World, suspension: str
) -> None:
    """SEC-19: anyone can have an account locked at Clerk, and wait until the lock ends."""
    user_id, admin = await clerk.created(), await clerk.service.register_admin()
    await clerk.send(clerk.instance.update(user_id, **{suspension: True}))
    url = f"/api/auth/admin/users/{user_id}"
    answer = await clerk.service.client.patch(url, headers=admin.bearer, json={"is_active": False})
    assert answer.status_code == 200, answer.text
    for changes in ({"first_name": "New"}, {suspension: False}):
        await clerk.send(clerk.instance.update(user_id, **changes))
        assert (await clerk.row(user_id))["is_active"] is False, changes
    records = "SELECT actor FROM idp.audit_logs WHERE action = 'user.disabled' AND user_id = $1"
    assert f"user:{admin.id}" in {row["actor"] for row in await clerk.service.sql(records, user_id)}


async def test_the_plan_comes_from_public_metadata(clerk: World) -> None:
    """C-26 S0-30: unknown ones are not believed; without one the plan is the administrator's."""
    user_id = await clerk.created(unsafe_metadata={"plan": "PRO", "role": "admin"})
    assert (await clerk.row(user_id))["plan"] == "FREE"
    await clerk.service.sql("UPDATE idp.users SET plan = 'BASIC' WHERE id = $1", user_id)
    for metadata, plan in (({}, "BASIC"), ({"plan": "pro"}, "PRO"), ({"plan": "GOLD"}, "FREE"), ({"plan": 7}, "FREE")):
        await clerk.send(clerk.instance.update(user_id, public_metadata=metadata))
        assert (await clerk.row(user_id))["plan"] == plan, metadata


async def test_only_listed_roles_are_granted_and_withdrawn(roles: World) -> None:
    """`clerk.metadata_roles`, which is empty by default; a role of an administrator here stays."""
    user_id = await roles.created(public_metadata={"role": "analyst"})
    await roles.service.sql("INSERT INTO idp.roles VALUES ('local', '') ON CONFLICT DO NOTHING")
    await roles.service.sql("INSERT INTO idp.user_roles VALUES ($1, 'local')", user_id)

    async def held() -> set[str]:
        return set((await roles.me(user_id)).json()["roles"])

    assert await held() == {"user", "analyst", "local"}
    rows = await roles.service.sql("SELECT source FROM idp.user_roles WHERE user_id = $1 AND role = 'analyst'", user_id)
    assert [row["source"] for row in rows] == ["clerk"]
    for metadata, expected in (
        ({"role": "Editor"}, {"editor"}),
        ({"role": "admin"}, set()),
        ({"role": ["editor"]}, set()),
        ({"role": "editor"}, {"editor"}),
        ([], set()),
    ):
        await roles.send(roles.instance.update(user_id, public_metadata=metadata))
        assert await held() == {"user", "local"} | expected, metadata


async def test_no_role_is_granted_by_default(clerk: World) -> None:
    user_id = await clerk.created(public_metadata={"role": "admin"})
    assert (await clerk.me(user_id)).json()["roles"] == ["user"]
