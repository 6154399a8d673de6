"""Signed messages that say little or nonsense: 400 or ignored, nothing half-written, never a server error."""

import json
import time
from typing import Any

from clerk.clerk_support import RECEIVED, World
from idp.dev.clerk_delivery import Outgoing
from table_tests import table


async def test_signed_nonsense_is_never_a_server_error(clerk: World) -> None:
    """Nothing is half-written: 400 for what is no event, 200 and counted for events that say nothing usable."""
    refused = [b"null", b"[]", b'"text"', b"{", b"1", b"", b"{}", b'{"type": 1}', b'{"type": ""}', b"[" * 20_000]
    ignored: list[Any] = [
        {"type": "user.created"},
        {"type": "user.created", "data": None},
        {"type": "user.created", "data": []},
        {"type": "user.created", "data": {"id": ""}},
        {"type": "user.created", "data": {"id": 7}},
        {"type": "user.created", "data": {"id": "user_\u0000"}},
        {"type": "user.created", "data": {"id": "u" * 256}},
        {"type": "user.created", "data": {"id": "user_\U0001f600"}},
        {"type": "user.updated", "data": {"id": {"a": 1}}},
        {"type": "user.deleted", "data": {"deleted": True}},
        {"type": "session.created", "data": {"id": "sess_1"}},
        {"type": "organizationMembership.created", "data": {}},
        {"type": "x" * 64, "data": {}},
    ]
    with table() as row:
        for body in refused:
            with row(f"refused {body[:20]!r}"):
                answer = await clerk.deliver(Outgoing(f"msg_nonsense_{len(body)}_{body[:3]!r}", body))
                assert (answer.status_code, answer.text) == (400, "Error occured")
        for event in ignored:
            with row(f"ignored {json.dumps(event)[:60]}"):
                assert (await clerk.deliver(Outgoing.of(event))).json() == RECEIVED


async def test_every_member_of_a_user_may_have_any_type(clerk: World) -> None:
    values: list[Any] = [None, 0, 1e308, "", "\u0000", [None], [{}], {"a": []}, True, "\ud800"]
    members = ("email_addresses", "primary_email_address_id", "first_name", "last_name", "username", "image_url",
               "public_metadata", "banned", "locked", "updated_at", "created_at")  # fmt: skip
    entries: list[Any] = [7, {}, {"id": [], "verification": 1}]
    entries += [{"email_address": address} for address in (7, "no address", "a@example.com" * 90)]
    with table() as row:
        for member in members:
            for number, value in enumerate(values):
                with row(f"{member} = {value!r}"):
                    event = clerk.instance.create(user_id=f"user_{member}{number}", **{member: value})
                    answer = await clerk.deliver(Outgoing.of(event))
                    assert (answer.status_code, answer.text) == (200, json.dumps(RECEIVED, separators=(",", ":")))
        for number, entry in enumerate(entries):
            with row(f"address {entry!r}"):
                event = clerk.instance.create(user_id=f"user_address{number}", email_addresses=[entry])
                assert (await clerk.deliver(Outgoing.of(event))).status_code == 200
    strange = [each for each in clerk.instance.state.users if each.startswith(("user_ban", "user_lock"))]
    assert strange  # `banned` is believed only as the boolean
    for number, value in enumerate(values):
        assert (await clerk.row(f"user_banned{number}"))["is_active"] is (value is not True)


async def test_metadata_of_any_depth_does_not_keep_a_user_from_being_banned(clerk: World) -> None:
    """Users write `unsafe_metadata` themselves."""
    user_id = await clerk.created()
    event = clerk.instance.update(user_id, banned=True)
    raw = json.dumps(event).replace(
        '"unsafe_metadata": {}', '"unsafe_metadata": {"x": ' + "[" * 4000 + "]" * 4000 + "}"
    )
    assert "[[[[" in raw
    assert (await clerk.deliver(Outgoing("msg_deep", raw.encode()))).json() == RECEIVED
    assert (await clerk.row(user_id))["is_active"] is False


async def test_names_of_emoji_nul_and_hidden_characters(clerk: World) -> None:
    user_id = await clerk.created(first_name="\U0001f469\u200d\U0001f680", last_name="a\u0000b\u202e\ud800c")
    assert (await clerk.row(user_id))["name"] == "\U0001f469\u200d\U0001f680 ab?c"
    endless = await clerk.created(first_name="n" * 900, last_name="m" * 900)
    assert len((await clerk.row(endless))["name"]) == 200


async def test_ids_of_two_hundred_characters(clerk: World) -> None:
    user_id = await clerk.created(user_id="user_" + "x" * 195)
    assert (await clerk.me(user_id)).json()["id"] == user_id
    await clerk.send(clerk.instance.delete(user_id))
    assert (await clerk.row(user_id))["deleted_at"] is not None


async def test_a_user_without_an_address(clerk: World) -> None:
    """Sign-up by phone or user name: C-13, an address is optional."""
    user_id = await clerk.created(email=None, username="phoebe")
    row = await clerk.row(user_id)
    assert (row["email"], row["email_verified"], row["name"]) == (None, False, "phoebe")
    assert (await clerk.me(user_id)).status_code == 200
    await clerk.send(clerk.instance.update(user_id, email=(email := clerk.new_email())))
    assert (await clerk.row(user_id))["email"] == email
    await clerk.send(clerk.instance.update(user_id, email_addresses=[], primary_email_address_id=None))
    assert (await clerk.row(user_id))["email"] is None


async def test_a_message_without_times_is_ordered_by_its_delivery(clerk: World) -> None:
    user_id = f"user_timeless{time.time_ns()}"
    body = {"type": "user.created", "data": {"id": user_id, "first_name": "Ti"}}
    await clerk.send(body)
    assert (await clerk.row(user_id))["name"] == "Ti"
    await clerk.send({"type": "user.deleted", "data": {"id": user_id}})
    assert (await clerk.row(user_id))["deleted_at"] is not None
