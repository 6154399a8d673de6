"""Service tokens over HTTP: create, list, show, revoke and extend, by management only (S2-20 to S2-24, S2-39)."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from apikeys.key_support import (
    ADMIN,
    TOKENS,
    Json,
    bearer,
    code_of,
    end,
    get,
    later,
    make_key,
    make_token,
    new_name,
    post_token,
    problem,
)
from factories import Person, Service

SHOWN = {"token_id", "name", "scopes", "created_at", "expires_at", "revoked", "revoked_at", "metadata"}
MALFORMED = ("1", "abc", "key_12345", "not-a-uuid", f"{uuid4()}0", "0" * 31, "%00", "é", "*", "x" * 250)
ROUTES: dict[str, tuple[str, str, Json | None]] = {
    "show": ("GET", "", None),
    "revoke": ("POST", "/revoke", {}),
    "extend": ("POST", "/extend", {"extend_days": 1}),
}


async def call(service: Service, route: str, token_id: str, headers: dict[str, str] | None = None) -> Any:
    method, more, body = ROUTES[route]
    return await service.client.request(method, f"{TOKENS}/{token_id}{more}", json=body, headers=headers or ADMIN)


async def extend(service: Service, token: Json, days: int) -> datetime:
    path = f"{TOKENS}/{token['token_id']}/extend"
    answer = await service.client.post(path, json={"extend_days": days}, headers=ADMIN)
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"success", "token_id", "expires_at"}
    assert (answer.json()["success"], answer.json()["token_id"]) == (True, token["token_id"])
    return datetime.fromisoformat(answer.json()["expires_at"])


# --- making one ------------------------------------------------------------------------------------------------------


async def test_s2s_documented_creation_works_verbatim(keyed: Service) -> None:
    """S2-01 S2-20: 201 with token, token_id, name, scopes, created_at and expires_at."""
    name = new_name("my-service")
    body = {"name": name, "scopes": ["read", "write"], "ttl_days": 30, "metadata": {"team": "core"}}
    answer = await keyed.client.post(TOKENS, json=body, headers=ADMIN)
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    made = answer.json()
    assert made.keys() == {"token", "token_id", "name", "scopes", "created_at", "expires_at"}
    assert (made["name"], made["scopes"], str(UUID(made["token_id"]))) == (name, ["read", "write"], made["token_id"])
    created, expires = (datetime.fromisoformat(made[key]) for key in ("created_at", "expires_at"))
    assert abs(expires - created - timedelta(days=30)) < timedelta(seconds=1)
    verdict = await keyed.validate(made["token"], required_scopes=["read"], service_name="x", action_name=None)
    assert (verdict["valid"], verdict["kind"], verdict["user"]) == (True, "service_token", None)
    assert (verdict["token_id"], verdict["name"]) == (made["token_id"], name)
    assert verdict["scopes"] == ["read", "write"]


@pytest.mark.parametrize("body", [{}, {"ttl_days": None}, {"metadata": None}, {"metadata": {}}], ids=str)
async def test_days_and_metadata_may_be_left_out(keyed: Service, body: Json) -> None:
    """S2-20: and a token without days does not expire."""
    made = await make_token(keyed, **body)
    assert made["expires_at"] is None
    shown = await get(keyed, f"{TOKENS}/{made['token_id']}", ADMIN)
    assert shown["metadata"] == {}
    with later(days=20_000):
        assert await code_of(keyed, made["token"]) == "valid"


async def test_a_live_name_is_taken(keyed: Service) -> None:
    """S2-20 C-32: 400, as before; of many at once one gets it."""
    name = new_name()
    answers = await asyncio.gather(*(post_token(keyed, name=name) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [400] * 7
    for answer in answers:
        if answer.status_code == 400:
            assert problem(answer) == (400, "name_taken")


async def test_a_name_is_free_again_when_its_token_ended(keyed: Service) -> None:
    """C-32: after it was revoked, and after it expired."""
    name = new_name()
    first = await make_token(keyed, name=name)
    await call(keyed, "revoke", first["token_id"])
    second = await make_token(keyed, name=name, ttl_days=1)
    assert problem(await post_token(keyed, name=name)) == (400, "name_taken")
    with later(days=2):
        third = await make_token(keyed, name=name)
        assert problem(await call(keyed, "extend", second["token_id"])) == (400, "name_taken")
    assert len({token["token_id"] for token in (first, second, third)}) == 3


async def test_names_differ_by_their_letters(keyed: Service) -> None:
    """C-32: case counts; a user's key takes no name from a service."""
    name = new_name()
    person = await keyed.register()
    await make_key(keyed, person, name=name)
    made = [await make_token(keyed, name=variant) for variant in (name, name.upper(), f"{name} ", f"{name}é")]
    assert len({token["name"] for token in made}) == 4


@pytest.mark.parametrize(
    "metadata",
    [
        {"blob": "x" * 8192},
        {"nul": "a\x00b"},
        {"a\x00b": "nul in a name"},
        {"deep": [{"nul": ["\x00"]}]},
        [],
        "text",
        1,
    ],
    ids=["too large", "NUL", "NUL in a name", "NUL deep inside", "a list", "a text", "a number"],
)
async def test_metadata_that_cannot_be_kept_is_422(keyed: Service, metadata: Any) -> None:
    """S2-20: at most 8 KiB of a JSON object, without NUL."""
    answer = await post_token(keyed, metadata=metadata)
    assert problem(answer) == (422, "validation_failed")
    assert answer.json()["errors"][0]["loc"] == ["body", "metadata"]


async def test_metadata_is_returned_unchanged(keyed: Service) -> None:
    """S2-22: any JSON object, also one that looks dangerous, as long as its text is seen as it is."""
    metadata = {
        "team": "core",
        "n": [1, 2.5, None, True, {"deep": {"er": []}}],
        "текст": "\U0001f511 \u200d ' \" \\ <b>",
        "an escape that is none": "\\u0000",
        "large": 2**60,
        "room": "x" * 7900,
    }
    made = await make_token(keyed, metadata=metadata)
    assert (await get(keyed, f"{TOKENS}/{made['token_id']}", ADMIN))["metadata"] == metadata


@pytest.mark.parametrize("depth", [5, 31, 40, 930, 4000])
async def test_nested_metadata_is_kept_or_refused(keyed: Service, depth: int) -> None:
    """SEC-28 SEC-76: never 5xx, however deep."""
    body = f'{{"name": "{new_name()}", "scopes": [], "metadata": {{"x": {"[" * depth}{"]" * depth}}}}}'
    headers = ADMIN | {"Content-Type": "application/json"}
    answer = await keyed.client.post(TOKENS, content=body.encode(), headers=headers)
    assert answer.status_code == (201 if depth < 32 else 422), answer.text
    listed = await keyed.client.get(TOKENS, headers=ADMIN)
    assert listed.status_code == 200


# --- reading them ----------------------------------------------------------------------------------------------------


async def test_the_list_is_tokens_and_total_newest_first(keyed: Service) -> None:
    """S2-21 S2-22."""
    made = [await make_token(keyed) for _ in range(3)]
    answer = await get(keyed, TOKENS, ADMIN)
    assert answer.keys() == {"tokens", "total"}
    assert answer["total"] == len(answer["tokens"])
    ours = [token["token_id"] for token in answer["tokens"] if token["token_id"] in {each["token_id"] for each in made}]
    assert ours == [token["token_id"] for token in reversed(made)]
    times = [token["created_at"] for token in answer["tokens"]]
    assert times == sorted(times, reverse=True)
    for token in answer["tokens"]:
        assert token.keys() >= SHOWN
        assert "token" not in token
    (first,) = [token for token in answer["tokens"] if token["token_id"] == made[0]["token_id"]]
    assert await get(keyed, f"{TOKENS}/{made[0]['token_id']}", ADMIN) == first


async def test_revoked_tokens_are_listed_when_asked_for(keyed: Service) -> None:
    """S2-21: `include_revoked=true|false`, in lower case as the old client sends it; false by default."""
    kept, gone = await make_token(keyed), await make_token(keyed)
    await call(keyed, "revoke", gone["token_id"])
    for query, expected in (("", False), ("?include_revoked=false", False), ("?include_revoked=true", True)):
        tokens = {token["token_id"]: token for token in (await get(keyed, f"{TOKENS}{query}", ADMIN))["tokens"]}
        assert kept["token_id"] in tokens
        assert (gone["token_id"] in tokens) is expected
    shown = tokens[gone["token_id"]]
    assert (shown["revoked"], shown["revoked_at"] is not None) == (True, True)


async def test_an_expired_token_is_still_listed(keyed: Service) -> None:
    """S2-21: it can be extended."""
    made = await make_token(keyed)
    await end(keyed, made["token_id"])
    assert made["token_id"] in [token["token_id"] for token in (await get(keyed, TOKENS, ADMIN))["tokens"]]


async def test_the_list_can_be_paged(keyed: Service) -> None:
    await make_token(keyed)
    whole = await get(keyed, TOKENS, ADMIN)
    page = await get(keyed, f"{TOKENS}?limit=1&offset=0", ADMIN)
    assert (page["tokens"], page["total"]) == (whole["tokens"][:1], whole["total"])
    assert problem(await keyed.client.get(f"{TOKENS}?limit=0", headers=ADMIN)) == (422, "validation_failed")


@pytest.mark.parametrize("route", ROUTES)
async def test_a_malformed_id_is_400_and_an_unknown_one_404(keyed: Service, person: Person, route: str) -> None:
    """S2-22 S2-23 S2-24: with the old texts; a user's key is no service token."""
    for malformed in MALFORMED:
        answer = await call(keyed, route, malformed)
        if answer.status_code != 404:
            assert problem(answer) == (400, "invalid_token_id"), malformed
            assert answer.json()["detail"] == "Invalid token_id format (must be a UUID)"
        else:
            assert malformed == "%00", "a path that nothing can have"
    key = (await make_key(keyed, person))["key_id"].removeprefix("key_")
    for unknown in (str(uuid4()), str(UUID(key)), uuid4().hex):
        answer = await call(keyed, route, unknown)
        assert problem(answer) == (404, "service_token_not_found")
        assert answer.json()["detail"] == "Token not found"


# --- the end of one --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [None, b"", b"{}", b"null", b'{"reason": null}', b'{"reason": "leaked"}'])
async def test_a_revoked_token_is_refused_from_the_next_request_on(keyed: Service, body: bytes | None) -> None:
    """S2-23: whatever the old clients send as body."""
    made = await make_token(keyed, scopes=["idp:manage"])
    assert (await keyed.client.get(TOKENS, headers=bearer(made["token"]))).status_code == 200
    headers = ADMIN | ({"Content-Type": "application/json"} if body is not None else {})
    answer = await keyed.client.post(f"{TOKENS}/{made['token_id']}/revoke", content=body, headers=headers)
    assert answer.status_code == 200
    assert answer.json().keys() == {"success", "token_id", "revoked_at"}
    assert (answer.json()["success"], answer.json()["token_id"]) == (True, made["token_id"])
    verdict = await keyed.validate(made["token"])
    assert (verdict["error"], verdict["detail"], verdict["scopes"]) == ("token_revoked", "Token has been revoked", [])
    assert problem(await keyed.client.get(TOKENS, headers=bearer(made["token"]))) == (401, "token_revoked")
    again = await call(keyed, "revoke", made["token_id"])
    assert (again.status_code, again.json()) == (200, answer.json())


@pytest.mark.parametrize("reason", ["x" * 501, "a\x00b", 1, []], ids=["too long", "NUL", "a number", "a list"])
async def test_a_reason_that_cannot_be_kept_is_422(keyed: Service, reason: Any) -> None:
    """The token stays live: after 422 nothing was changed."""
    made = await make_token(keyed)
    path = f"{TOKENS}/{made['token_id']}/revoke"
    answer = await keyed.client.post(path, json={"reason": reason}, headers=ADMIN)
    assert problem(answer) == (422, "validation_failed")
    assert await code_of(keyed, made["token"]) == "valid"


# --- longer lives ----------------------------------------------------------------------------------------------------


async def test_a_token_is_extended_from_its_end(keyed: Service) -> None:
    """S2-24: coalesce(expires_at, now) + days; the same token, at once."""
    made = await make_token(keyed, ttl_days=10)
    ends = datetime.fromisoformat(made["expires_at"])
    assert await extend(keyed, made, 5) == ends + timedelta(days=5)
    assert await extend(keyed, made, 1) == ends + timedelta(days=6)
    assert datetime.fromisoformat((await keyed.validate(made["token"]))["expires_at"]) == ends + timedelta(days=6)
    with later(days=15):
        assert await code_of(keyed, made["token"]) == "valid"


async def test_a_token_without_end_is_extended_from_now(keyed: Service) -> None:
    """S2-24: it gets an end by this."""
    made = await make_token(keyed)
    expires = await extend(keyed, made, 7)
    assert abs(expires - datetime.now(UTC) - timedelta(days=7)) < timedelta(seconds=10)


async def test_an_expired_token_is_valid_again_when_extended(keyed: Service) -> None:
    """S2-24: also where a process remembers the refusal."""
    made = await make_token(keyed, ttl_days=1)
    with later(days=3):
        assert await code_of(keyed, made["token"]) == "token_expired"
        await extend(keyed, made, 1)
        assert await code_of(keyed, made["token"]) == "token_expired", "a day is not enough"
        await extend(keyed, made, 5)
        assert await code_of(keyed, made["token"]) == "valid"


async def test_a_revoked_token_stays_revoked(keyed: Service) -> None:
    made = await make_token(keyed, ttl_days=1)
    await call(keyed, "revoke", made["token_id"])
    assert problem(await call(keyed, "extend", made["token_id"])) == (409, "key_revoked")
    assert await code_of(keyed, made["token"]) == "token_revoked"


async def test_no_token_outlives_the_calendar(keyed: Service) -> None:
    """S2-24: the year 9999 is the last one that there is."""
    made = await make_token(keyed)
    far = "UPDATE idp.api_keys SET expires_at = '9999-06-01Z' WHERE id = $1::text::uuid"
    await keyed.sql(far, made["token_id"])
    path = f"{TOKENS}/{made['token_id']}/extend"
    answer = await keyed.client.post(path, json={"extend_days": 3650}, headers=ADMIN)
    assert problem(answer) == (422, "validation_failed")
    assert await code_of(keyed, made["token"]) == "valid"


# --- who may ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ["create", "list", *ROUTES])
async def test_only_those_who_manage_touch_service_tokens(keyed: Service, person: Person, route: str) -> None:
    """S2-39 C-09: ADMIN_TOKEN, an admin, a token with idp:manage; `admin` and the like imply nothing."""
    victim = await make_token(keyed)

    async def attempt(headers: dict[str, str]) -> Any:
        if route == "create":
            return await keyed.client.post(TOKENS, json={"name": new_name(), "scopes": []}, headers=headers)
        if route == "list":
            return await keyed.client.get(TOKENS, headers=headers)
        return await call(keyed, route, victim["token_id"], headers)

    free = await make_token(keyed, scopes=["admin", "manage", "idp", "*", "idp:introspect"])
    key = await make_key(keyed, await keyed.register_admin(), scopes=["admin"])
    for headers, refusal in (
        (person.bearer, (403, "admin_required")),
        (bearer(free["token"]), (403, "admin_required")),
        ({"X-API-Key": key["secret"]}, (403, "credential_not_accepted")),
        (bearer(ADMIN["Authorization"] + "x"), (401, "credential_unrecognised")),
    ):
        assert problem(await attempt(headers)) == refusal
    nobody = await keyed.client.request("POST" if route == "create" else "GET", TOKENS)
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, "Bearer")
    assert await code_of(keyed, victim["token"]) == "valid"
    manager = await make_token(keyed, scopes=["idp:manage"])
    for headers in (ADMIN, (await keyed.register_admin()).bearer, bearer(manager["token"])):
        assert (await attempt(headers)).status_code in {200, 201} or route == "extend", "S2-24 after a revocation"


async def test_everything_done_to_a_token_is_on_record(keyed: Service) -> None:
    """S0-44 S2-43: who did it, which token by its prefix, why; never the token."""
    manager = await make_token(keyed, scopes=["idp:manage"])
    answer = await keyed.client.post(
        TOKENS, json={"name": new_name(), "scopes": ["read"]}, headers=bearer(manager["token"])
    )
    made = answer.json()
    await extend(keyed, made, 3)
    path = f"{TOKENS}/{made['token_id']}/revoke"
    for reason in ("leaked", "again"):
        await keyed.client.post(path, json={"reason": reason}, headers=ADMIN)
    records = await keyed.sql(
        "SELECT action, actor, details::text AS details FROM idp.audit_logs WHERE target = $1 ORDER BY timestamp, id",
        f"service_token:{made['token_id']}",
    )
    assert [(record["action"], record["actor"]) for record in records] == [
        ("service_token.created", f"service:{manager['token_id']}"),
        ("service_token.extended", "service:admin-token"),
        ("service_token.revoked", "service:admin-token"),
    ]
    assert re.search(r'"reason": ?"leaked"', records[2]["details"])
    assert all(made["token"][:12] in record["details"] for record in records)
    assert all(made["token"] not in record["details"] for record in records)
