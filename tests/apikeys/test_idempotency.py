"""Idempotency-Key on creations: a repeated request gets the same response, with the secret, for ten minutes (C-27)."""

import asyncio

import pytest

from apikeys.key_support import (
    ADMIN,
    KEYS,
    TOKENS,
    Json,
    bearer,
    code_of,
    get,
    later,
    make_token,
    new_name,
    post_key,
    post_token,
    problem,
)
from factories import Person, Service


async def test_the_same_request_again_gets_the_same_answer(keyed: Service, person: Person) -> None:
    """C-27: the once-shown secret included; there is one key, and it works."""
    once, body = {"Idempotency-Key": new_name()}, {"name": "laptop", "scopes": ["a"], "expires_in_days": 3}
    first, again = [await post_key(keyed, person, headers=once, **body) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert len(await get(keyed, KEYS, person.bearer)) == 1
    assert await code_of(keyed, again.json()["secret"]) == "valid"


async def test_the_same_holds_for_service_tokens(keyed: Service) -> None:
    """C-27: and a name is not taken by oneself."""
    once, name = {"Idempotency-Key": new_name()}, new_name()
    first, again = [await post_token(keyed, headers=once, name=name, metadata={"a": 1}) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()


async def test_repeats_at_the_same_moment_make_one_key(keyed: Service, person: Person) -> None:
    """C-27: also for a retry before the first response."""
    once = {"Idempotency-Key": new_name()}
    answers = await asyncio.gather(*(post_key(keyed, person, headers=once, name="k") for _ in range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert len(await get(keyed, KEYS, person.bearer)) == 1


async def test_another_request_with_the_same_key_is_refused(keyed: Service, person: Person) -> None:
    """C-27: 422, whatever differs; and nothing is made."""
    once = {"Idempotency-Key": new_name()}
    body: Json = {"name": "k", "scopes": ["a"], "expires_in_days": None}
    assert (await post_key(keyed, person, headers=once, **body)).status_code == 201
    changes: list[Json] = [{"name": "l"}, {"scopes": []}, {"scopes": ["a", "b"]}, {"expires_in_days": 1}]
    for change in changes:
        answer = await post_key(keyed, person, headers=once, **(body | change))
        assert problem(answer) == (422, "idempotency_key_reused"), change
    assert len(await get(keyed, KEYS, person.bearer)) == 1


async def test_another_users_idempotency_key_is_separate(keyed: Service, person: Person) -> None:
    """C-27: nobody gets somebody else's secret by guessing a header."""
    once, other = {"Idempotency-Key": new_name()}, await keyed.register()
    one, two = (
        await post_key(keyed, person, headers=once, name="k"),
        await post_key(keyed, other, headers=once, name="k"),
    )
    assert one.json()["secret"] != two.json()["secret"]
    manager = await make_token(keyed, scopes=["idp:manage"])
    name = new_name()
    first = await post_token(keyed, headers=once, name=name)
    foreign = await keyed.client.post(
        TOKENS, json={"name": name, "scopes": ["read"]}, headers=bearer(manager["token"]) | once
    )
    assert (first.status_code, problem(foreign)) == (201, (400, "name_taken"))


async def test_a_key_and_a_token_have_keys_of_their_own(keyed: Service) -> None:
    """C-27: an admin who makes one of each with the same header gets one of each."""
    admin, once = await keyed.register_admin(), {"Idempotency-Key": new_name()}
    body = {"name": new_name(), "scopes": []}
    key = await keyed.client.post(KEYS, json=body, headers=admin.bearer | once)
    token = await keyed.client.post(TOKENS, json=body, headers=admin.bearer | once)
    assert (key.status_code, token.status_code) == (201, 201)
    assert (key.json()["secret"][:8], token.json()["token"][:9]) == ("sk_live_", "amp_live_")


async def test_without_the_header_each_request_makes_one(keyed: Service, person: Person) -> None:
    for _ in range(2):
        assert (await post_key(keyed, person, name="k")).status_code == 201
    assert len(await get(keyed, KEYS, person.bearer)) == 2


async def test_a_refusal_is_not_remembered(keyed: Service) -> None:
    """C-27: what failed may be tried again with the same key."""
    name, once = new_name(), {"Idempotency-Key": new_name()}
    holder = await make_token(keyed, name=name)
    assert problem(await post_token(keyed, headers=once, name=name)) == (400, "name_taken")
    await keyed.client.post(f"{TOKENS}/{holder['token_id']}/revoke", headers=ADMIN)
    assert (await post_token(keyed, headers=once, name=name)).status_code == 201


async def test_stored_responses_are_encrypted(keyed: Service, person: Person) -> None:
    """C-27 SEC-17: neither the header nor the secret can be read in the table."""
    header = new_name("idempotent")
    made = (await post_key(keyed, person, headers={"Idempotency-Key": header}, name="k")).json()
    rows = await keyed.sql("SELECT t::text AS row, sealed_answer FROM idp.idempotent_answers t")
    assert rows
    for row in rows:
        for secret in (made["secret"], made["secret"][12:], header):
            assert secret not in row["row"]
    assert any(
        made["secret"].encode()
        in (keyed.app.core.sealer.open(row["sealed_answer"], purpose="idempotent-answer") or b"")
        for row in rows
    )


async def test_after_ten_minutes_it_is_forgotten(keyed: Service, person: Person) -> None:
    """C-27: the answer is gone from the table, and the same request makes another key."""
    once = {"Idempotency-Key": new_name()}
    first = await post_key(keyed, person, headers=once, name="k")
    with later(minutes=9, seconds=50):
        assert (await post_key(keyed, person, headers=once, name="k")).text == first.text
    with later(minutes=10, seconds=5):
        anew = await post_key(keyed, person, headers=once, name="k")
    assert (anew.status_code, anew.json()["key_id"] != first.json()["key_id"]) == (201, True)
    rows = await keyed.sql("SELECT sealed_answer FROM idp.idempotent_answers")
    kept = b"".join(
        keyed.app.core.sealer.open(row["sealed_answer"], purpose="idempotent-answer") or b"" for row in rows
    )
    assert first.json()["secret"].encode() not in kept
    assert len(await get(keyed, KEYS, person.bearer)) == 2


@pytest.mark.parametrize("header", ["", "k" * 256, "a b", "é"], ids=["empty", "256", "a space", "not ASCII"])
async def test_a_header_that_cannot_be_one_is_422(keyed: Service, person: Person, header: str) -> None:
    body = {"name": "k", "scopes": []}
    headers = {**person.bearer, "Idempotency-Key": header}
    sent = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    assert problem(await keyed.client.post(KEYS, json=body, headers=sent)) == (422, "validation_failed")
    assert await get(keyed, KEYS, person.bearer) == []
