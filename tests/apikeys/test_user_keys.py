"""A user's own keys over HTTP: create, list, rotate, rename, revoke, and audit records (S0-14 to S0-26, S0-44)."""

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from apikeys.key_support import (
    ADMIN,
    KEYS,
    Json,
    bearer,
    code_of,
    disable,
    end,
    get,
    later,
    make_key,
    make_token,
    new_name,
    post_key,
    problem,
)
from factories import Person, Service, running
from idp.dev.embedded import EmbeddedPostgres

SOURCES = Path(__file__).parents[2] / "src" / "idp"
LISTED = {
    "key_id",
    "name",
    "prefix",
    "scopes",
    "created_at",
    "last_used_at",
    "expires_at",
    "is_revoked",
    "revoked_at",
}
UNKNOWN: dict[str, Callable[[], str]] = {
    "unknown": lambda: f"key_{uuid4().hex}",
    "unknown, as a UUID": lambda: str(uuid4()),
    "cut short": lambda: f"key_{uuid4().hex[:-1]}",
    "too long": lambda: f"key_{uuid4().hex}0",
    "another prefix": lambda: f"sk_{uuid4().hex}",
    "its prefix alone": lambda: "key_",
    "S0's example": lambda: "key_12345",
    "text": lambda: "laptop",
    "NUL": lambda: "key_%00",
    "letters of another script": lambda: "key_" + "%C3%A9" * 32,
    "quotes": lambda: "'%20OR%20'1'='1",
    "endless": lambda: "k" * 250,
}
ROUTES = {
    "show": ("GET", "", None),
    "rename": ("PATCH", "", {"name": "other"}),
    "rotate": ("POST", "/rotate", None),
    "revoke": ("DELETE", "", None),
    "audit": ("GET", "/audit", None),
}


async def call(service: Service, headers: dict[str, str], route: str, key_id: str) -> Any:
    method, more, body = ROUTES[route]
    return await service.client.request(method, f"{KEYS}/{key_id}{more}", json=body, headers=headers)


async def rotate(service: Service, person: Person, key: Json, **body: Any) -> Json:
    answer = await service.client.post(f"{KEYS}/{key['key_id']}/rotate", json=body, headers=person.bearer)
    assert answer.status_code == 200, answer.text
    rotated: Json = answer.json()
    return rotated


# --- making one ------------------------------------------------------------------------------------------------------


async def test_s0s_documented_creation_works_verbatim(keyed: Service, person: Person) -> None:
    """S0-14 S0-16 S0-17 S0-22: 201, what was asked for, and a superset of four members; all scopes are echoed."""
    body = {"name": "My Production Key", "scopes": ["ingest:write", "analytics:read"], "expires_in_days": 30}
    answer = await keyed.client.post(KEYS, json=body, headers=person.bearer)
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    made = answer.json()
    assert made.keys() == {"key_id", "secret", "prefix", "name", "scopes", "created_at", "expires_at"}
    assert (made["name"], made["scopes"]) == (body["name"], body["scopes"])
    created, expires = (datetime.fromisoformat(made[name]) for name in ("created_at", "expires_at"))
    assert abs(datetime.now(UTC) - created) < timedelta(seconds=10)
    assert abs(expires - created - timedelta(days=30)) < timedelta(seconds=1)
    verdict = await keyed.validate(made["secret"])
    assert (verdict["valid"], verdict["kind"], verdict["user"]["id"]) == (True, "api_key", person.id)
    assert (verdict["token_id"], verdict["name"]) == (made["key_id"], "My Production Key")


async def test_a_key_id_is_the_rows_uuid(keyed: Service, person: Person) -> None:
    """S0-18 S0-33 S0-34 S0-35 S0-40: `key_<hex>` to clients, a UUID in the table, and the plain UUID is understood."""
    made = await make_key(keyed, person)
    assert re.fullmatch(r"key_[0-9a-f]{32}", made["key_id"])
    row_id = UUID(made["key_id"].removeprefix("key_"))
    (row,) = await keyed.sql("SELECT * FROM idp.api_keys WHERE id = $1", row_id)
    assert (row["user_id"], row["name"], row["kind"]) == (person.id, made["name"], "user_key")
    assert (row["created_at"], row["revoked_at"]) == (datetime.fromisoformat(made["created_at"]), None)
    assert await get(keyed, f"{KEYS}/{row_id}", person.bearer) == await get(
        keyed, f"{KEYS}/{made['key_id']}", person.bearer
    )


@pytest.mark.parametrize("body", [{}, {"expires_in_days": None}], ids=["left out", "null"])
async def test_without_days_a_key_does_not_expire(keyed: Service, person: Person, body: Json) -> None:
    """S0-16."""
    made = await make_key(keyed, person, **body)
    assert made["expires_at"] is None
    with later(days=20_000):
        assert await code_of(keyed, made["secret"]) == "valid"


async def test_a_key_ends_with_its_last_day(keyed: Service, person: Person) -> None:
    """S0-16 S0-39: counted in days from its making."""
    made = await make_key(keyed, person, expires_in_days=1)
    with later(hours=23):
        assert await code_of(keyed, made["secret"]) == "valid"
    with later(hours=25):
        assert await code_of(keyed, made["secret"]) == "token_expired"


async def test_unknown_members_are_ignored_as_before(keyed: Service, person: Person) -> None:
    """C-16: on S0's paths."""
    made = await make_key(keyed, person, user_id="somebody-else", plan="PRO")
    assert (await keyed.validate(made["secret"]))["user"]["id"] == person.id


async def test_two_keys_may_have_one_name(keyed: Service, person: Person) -> None:
    """A name is for people; the id tells keys apart."""
    one, two = await make_key(keyed, person, name="laptop"), await make_key(keyed, person, name="laptop")
    assert one["key_id"] != two["key_id"]
    assert one["secret"] != two["secret"]


async def test_only_so_many_keys(postgres: EmbeddedPostgres) -> None:
    """api_keys.max_keys_per_user counts live ones: a revoked or expired one makes room. Even for many at once."""
    environ = {"IDP_API_KEYS__MAX_KEYS_PER_USER": "3"}
    async with running(postgres.create_database("few_keys"), environ=environ) as service:
        person = await service.register()
        answers = await asyncio.gather(*(post_key(service, person) for _ in range(12)))
        made = [answer.json() for answer in answers if answer.status_code == 201]
        assert len(made) == 3
        refused = {problem(answer) for answer in answers if answer.status_code != 201}
        assert refused == {(409, "too_many_keys")}
        for make_room in (
            service.client.delete(f"{KEYS}/{made[0]['key_id']}", headers=person.bearer),
            end(service, made[1]["key_id"]),
        ):
            assert problem(await post_key(service, person)) == (409, "too_many_keys")
            await make_room
            assert (await post_key(service, person)).status_code == 201
        assert (await post_key(service, await service.register())).status_code == 201, "each has their own"


async def test_a_disabled_owner_makes_no_key_and_has_none(keyed: Service, person: Person) -> None:
    """S0-31 C-27: the token that they still hold is refused, and so is every key."""
    made = await make_key(keyed, person)
    await disable(keyed, person)
    assert problem(await post_key(keyed, person)) == (401, "user_inactive")
    assert await code_of(keyed, made["secret"]) == "user_inactive"
    answer = await keyed.client.post("/internal/validate-key", json={"key": made["secret"]})
    assert answer.json()["error"] == "user_deleted"


# --- reading them ----------------------------------------------------------------------------------------------------


async def test_the_list_is_a_bare_array_of_metadata_newest_first(keyed: Service, person: Person) -> None:
    """S0-23 C-19: ID, name, prefix, created_at, last_used_at and more; never a secret."""
    assert await get(keyed, KEYS, person.bearer) == []
    made = [await make_key(keyed, person) for _ in range(3)]
    answer = await keyed.client.get(KEYS, headers=person.bearer)
    listed = answer.json()
    assert [key["key_id"] for key in listed] == [key["key_id"] for key in reversed(made)]
    for key, origin in zip(listed, reversed(made), strict=True):
        assert key.keys() == LISTED
        assert {name: key[name] for name in key.keys() & origin.keys()} == {
            name: value for name, value in origin.items() if name != "secret"
        }
        assert (key["last_used_at"], key["is_revoked"], key["revoked_at"]) == (None, False, None)
        assert origin["secret"] not in answer.text
        assert await get(keyed, f"{KEYS}/{key['key_id']}", person.bearer) == key


async def test_revoked_keys_are_listed_when_asked_for(keyed: Service, person: Person) -> None:
    """S0-23 S0-40."""
    kept, gone = await make_key(keyed, person), await make_key(keyed, person)
    await call(keyed, person.bearer, "revoke", gone["key_id"])
    assert [key["key_id"] for key in await get(keyed, KEYS, person.bearer)] == [kept["key_id"]]
    both = await get(keyed, f"{KEYS}?include_revoked=true", person.bearer)
    assert {key["key_id"]: key["is_revoked"] for key in both} == {kept["key_id"]: False, gone["key_id"]: True}
    assert (await keyed.client.get(f"{KEYS}?include_revoked=maybe", headers=person.bearer)).status_code == 422


async def test_paged_lists_have_links(keyed: Service, person: Person) -> None:
    """C-19."""
    made = [(await make_key(keyed, person))["key_id"] for _ in range(5)]
    seen: list[str] = []
    path: str | None = f"{KEYS}?limit=2"
    while path:
        answer = await keyed.client.get(path, headers=person.bearer)
        assert answer.headers["x-total-count"] == "5"
        seen += [key["key_id"] for key in answer.json()]
        following = re.search(r'<([^>]+)>; rel="next"', answer.headers.get("link", ""))
        path = following[1] if following else None
    assert seen == made[::-1]
    for query in ("limit=0", "limit=-1", "limit=1001", "limit=x", "offset=-1", "offset=99999999999"):
        assert (await keyed.client.get(f"{KEYS}?{query}", headers=person.bearer)).status_code == 422, query


# --- a new secret ----------------------------------------------------------------------------------------------------


async def test_rotation_kills_the_old_secret_at_once(keyed: Service, person: Person) -> None:
    """S0-24: a new secret for the same id, name, scopes and expiry; the old one was in every cache."""
    made = await make_key(keyed, person, scopes=["a", "b"], expires_in_days=9)
    assert await code_of(keyed, made["secret"]) == "valid"
    for body in (None, b"{}", b'{"overlap_seconds": 0}'):
        headers = person.bearer | ({"Content-Type": "application/json"} if body else {})
        answer = await keyed.client.post(f"{KEYS}/{made['key_id']}/rotate", content=body, headers=headers)
        assert answer.status_code == 200
        rotated = answer.json()
        assert await code_of(keyed, made["secret"]) == "token_revoked"
        assert await code_of(keyed, rotated["secret"]) == "valid"
        same = ("key_id", "name", "scopes", "created_at", "expires_at")
        assert {name: rotated[name] for name in same} == {name: made[name] for name in same}
        assert rotated["prefix"] == rotated["secret"][:12]
        made = rotated
    (listed,) = await get(keyed, KEYS, person.bearer)
    assert listed["prefix"] == made["prefix"]


async def test_with_an_overlap_both_secrets_work_for_so_long(keyed: Service, person: Person) -> None:
    """S0-25: routine rotation, so that clients can be changed over; the end of the old one is in its verdict."""
    made = await make_key(keyed, person, expires_in_days=30)
    rotated = await rotate(keyed, person, made, overlap_seconds=3600)
    old, new = await keyed.validate(made["secret"]), await keyed.validate(rotated["secret"])
    assert old | {"expires_at": None} == new | {"expires_at": None}
    left = datetime.fromisoformat(old["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    assert new["expires_at"] == made["expires_at"]
    with later(seconds=3590):
        assert await code_of(keyed, made["secret"]) == "valid"
    with later(seconds=3610):
        assert await code_of(keyed, made["secret"]) == "token_revoked"
        assert await code_of(keyed, rotated["secret"]) == "valid"


async def test_an_overlap_never_outlives_the_key(keyed: Service, person: Person) -> None:
    """S0-25."""
    made = await make_key(keyed, person, expires_in_days=1)
    rotated = await rotate(keyed, person, made, overlap_seconds=7 * 24 * 3600)
    assert (await keyed.validate(made["secret"]))["expires_at"] == made["expires_at"]
    with later(hours=25):
        for key in (made, rotated):
            assert await code_of(keyed, key["secret"]) == "token_expired"


async def test_a_second_rotation_ends_an_overlap(keyed: Service, person: Person) -> None:
    """S0-25: at most two secrets of a key are alive; a compromise in the middle of an overlap ends the older one."""
    first = await make_key(keyed, person)
    second = await rotate(keyed, person, first, overlap_seconds=3600)
    third = await rotate(keyed, person, first)
    codes = [await code_of(keyed, key["secret"]) for key in (first, second, third)]
    assert codes[1:] == ["token_revoked", "valid"]
    assert codes[0] in {"token_not_found", "token_revoked"}


async def test_revoking_ends_both_secrets_of_an_overlap(keyed: Service, person: Person) -> None:
    """S0-26."""
    made = await make_key(keyed, person)
    rotated = await rotate(keyed, person, made, overlap_seconds=3600)
    await call(keyed, person.bearer, "revoke", made["key_id"])
    for key in (made, rotated):
        assert await code_of(keyed, key["secret"]) == "token_revoked"


@pytest.mark.parametrize("seconds", [-1, 7 * 24 * 3600 + 1, 10**30, 1.5, "60", None, True], ids=str)
async def test_an_overlap_is_at_most_a_week(keyed: Service, person: Person, seconds: Any) -> None:
    made = await make_key(keyed, person)
    answer = await keyed.client.post(
        f"{KEYS}/{made['key_id']}/rotate", json={"overlap_seconds": seconds}, headers=person.bearer
    )
    assert problem(answer) == (422, "validation_failed")
    assert await code_of(keyed, made["secret"]) == "valid"


async def test_a_revoked_or_expired_key_cannot_be_rotated(keyed: Service, person: Person) -> None:
    """S0-24: 409 for a revoked and for an expired key."""
    revoked, expired = await make_key(keyed, person), await make_key(keyed, person)
    await call(keyed, person.bearer, "revoke", revoked["key_id"])
    await end(keyed, expired["key_id"])
    assert problem(await call(keyed, person.bearer, "rotate", revoked["key_id"])) == (409, "key_revoked")
    assert problem(await call(keyed, person.bearer, "rotate", expired["key_id"])) == (409, "key_expired")


async def test_rotations_at_once_leave_one_secret(keyed: Service, person: Person) -> None:
    """S0-24 C-27: each caller gets a secret; the last one's is good."""
    made = await make_key(keyed, person)
    rotated = await asyncio.gather(*(rotate(keyed, person, made) for _ in range(8)))
    codes = [await code_of(keyed, key["secret"]) for key in (made, *rotated)]
    assert codes.count("valid") == 1


# --- the end of one --------------------------------------------------------------------------------------------------


async def test_a_revoked_key_is_refused_from_the_next_request_on(keyed: Service, person: Person) -> None:
    """S0-26 C-20: 200 with the key, and no cache remembers it; doing it twice changes nothing."""
    made = await make_key(keyed, person)
    headers = {"X-API-Key": made["secret"]}
    assert (await keyed.me(headers)).status_code == 200
    answer = await call(keyed, person.bearer, "revoke", made["key_id"])
    assert (answer.status_code, answer.json()["is_revoked"]) == (200, True)
    assert await code_of(keyed, made["secret"]) == "token_revoked"
    assert problem(await keyed.me(headers)) == (401, "token_revoked")
    again = await call(keyed, person.bearer, "revoke", made["key_id"])
    assert (again.status_code, again.json()) == (200, answer.json()), "the time of the first revocation stays"


async def test_an_expired_key_can_be_revoked(keyed: Service, person: Person) -> None:
    """S0-26: revoking is not limited."""
    made = await make_key(keyed, person)
    await end(keyed, made["key_id"])
    assert (await call(keyed, person.bearer, "revoke", made["key_id"])).status_code == 200
    assert await code_of(keyed, made["secret"]) == "token_revoked"


# --- names -----------------------------------------------------------------------------------------------------------


async def test_a_key_can_be_renamed(keyed: Service, person: Person) -> None:
    made, name = await make_key(keyed, person), new_name()
    answer = await keyed.client.patch(f"{KEYS}/{made['key_id']}", json={"name": name}, headers=person.bearer)
    assert (answer.status_code, answer.json()["name"]) == (200, name)
    assert (await keyed.validate(made["secret"]))["name"] == name, "in a verdict that was kept too"


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": None}, {"name": "a", "scopes": ["x"]}, []], ids=str)
async def test_nothing_but_the_name_can_be_changed(keyed: Service, person: Person, body: Any) -> None:
    """S0-43: scopes above all."""
    made = await make_key(keyed, person)
    answer = await keyed.client.patch(f"{KEYS}/{made['key_id']}", json=body, headers=person.bearer)
    assert problem(answer) == (422, "validation_failed")
    (listed,) = await get(keyed, KEYS, person.bearer)
    assert (listed["name"], listed["scopes"]) == (made["name"], made["scopes"])


# --- whose it is -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES)
async def test_another_users_key_is_not_found(keyed: Service, person: Person, route: str) -> None:
    """S0-15: the same words as for one that does not exist, even for an admin; and nothing happens to it."""
    made = await make_key(keyed, person)
    token = await make_token(keyed)
    for stranger in (await keyed.register(), await keyed.register_admin()):
        foreign = await call(keyed, stranger.bearer, route, made["key_id"])
        unknown = await call(keyed, stranger.bearer, route, f"key_{uuid4().hex}")
        assert problem(foreign) == (404, "key_not_found")
        assert {**foreign.json(), "request_id": None} == {**unknown.json(), "request_id": None}
        assert foreign.json()["error"] == foreign.json()["detail"], "S0's spelling"
        service_token = await call(keyed, stranger.bearer, route, token["token_id"])
        assert problem(service_token) == (404, "key_not_found")
    for secret in (made["secret"], token["token"]):
        assert await code_of(keyed, secret) == "valid"


@pytest.mark.parametrize("route", ROUTES)
async def test_an_id_that_is_none_is_not_found(keyed: Service, person: Person, route: str) -> None:
    """S0-18: malformed or unknown, it is 404; never 400, never 500."""
    for what, make in UNKNOWN.items():
        answer = await call(keyed, person.bearer, route, make())
        assert answer.status_code == 404, (what, answer.text)
        assert answer.json()["code"] in {"key_not_found", "not_found"}, what


async def test_a_list_holds_only_the_users_own_keys(keyed: Service, person: Person) -> None:
    """S0-15."""
    await make_key(keyed, person)
    assert await get(keyed, KEYS, (await keyed.register()).bearer) == []


# --- who may -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ["create", "list", *ROUTES])
async def test_only_what_a_person_signs_in_with_touches_keys(keyed: Service, person: Person, route: str) -> None:
    """S0-03 S0-15 C-29: not a key, not a service token that may manage, not ADMIN_TOKEN; nothing at all is 401."""
    made = await make_key(keyed, person)
    manager = await make_token(keyed, scopes=["idp:manage"])

    async def attempt(headers: dict[str, str]) -> Any:
        if route == "create":
            return await keyed.client.post(KEYS, json={"name": "k", "scopes": []}, headers=headers)
        if route == "list":
            return await keyed.client.get(KEYS, headers=headers)
        return await call(keyed, headers, route, made["key_id"])

    for headers in ({"X-API-Key": made["secret"]}, bearer(made["secret"])):
        assert problem(await attempt(headers)) == (403, "credential_not_accepted")
    for headers in (bearer(manager["token"]), ADMIN):
        assert problem(await attempt(headers)) == (403, "not_a_user")
    assert problem(await attempt({})) == (401, "unauthenticated")
    assert await code_of(keyed, made["secret"]) == "valid"
    assert len(await get(keyed, KEYS, person.bearer)) == 1


async def test_a_key_is_no_session(keyed: Service, person: Person) -> None:
    """S0-03: it says who its user is, reads teams and domains, and manages nothing even for an admin."""
    admin = await keyed.register_admin()
    key = {"X-API-Key": (await make_key(keyed, admin))["secret"]}
    for path in ("/auth/me", "/v1/me", "/api/auth/me", "/teams", "/teams/all", "/domains", "/domains/all"):
        assert (await keyed.client.get(path, headers=key)).status_code == 200, path
    for method, path in (
        ("POST", "/teams"),
        ("GET", "/auth/tokens"),
        ("POST", "/auth/tokens"),
        ("GET", "/api/auth/admin/users"),
    ):
        answer = await keyed.client.request(method, path, headers=key)
        assert problem(answer) == (403, "credential_not_accepted"), path


def test_access_is_apart_from_identity() -> None:
    """S0-03: what proves a person knows nothing about keys, and neither do accounts and users."""
    for package in ("accounts", "users", "signing", "principal"):
        for file in (SOURCES / package).rglob("*.py"):
            imported = re.findall(r"^(?:from|import) (idp\.apikeys\S*)", file.read_text("utf-8"), re.MULTILINE)
            assert not imported or package == "accounts", file
    for file in (SOURCES / "authn" / "authenticators").glob("*.py"):
        if file.name != "api_key.py":
            assert "apikeys" not in file.read_text("utf-8"), file


# --- what was done ---------------------------------------------------------------------------------------------------


async def test_everything_done_to_a_key_is_on_record_for_its_owner(keyed: Service, person: Person) -> None:
    """S0-44 S0-05: who, what, from where, when, which key by its prefix; newest first; never a secret."""
    headers = {"User-Agent": "laptop/1.0", "X-Request-Id": "creation-1"}
    made = (await post_key(keyed, person, name="first", headers=headers)).json()
    key_id = made["key_id"]
    await keyed.client.patch(f"{KEYS}/{key_id}", json={"name": "second"}, headers=person.bearer)
    rotated = await rotate(keyed, person, made, overlap_seconds=5)
    for _ in range(2):
        await call(keyed, person.bearer, "revoke", key_id)
    answer = await keyed.client.get(f"{KEYS}/{key_id}/audit", headers=person.bearer)
    records = answer.json()[::-1]
    assert [record["action"] for record in records] == [
        "api_key.created",
        "api_key.renamed",
        "api_key.rotated",
        "api_key.revoked",
    ], "the second revocation changed nothing"
    for record in records:
        assert (record["actor"], record["user_id"]) == (f"user:{person.id}", person.id)
        assert (record["target"], record["ip_address"]) == (f"api_key:{key_id}", "127.0.0.1")
    assert (records[0]["user_agent"], records[0]["request_id"]) == ("laptop/1.0", "creation-1")
    assert records[0]["details"] == {"name": "first", "prefix": made["prefix"], "scopes": ["ingest:write"]}
    assert records[1]["details"] == {"name": "second", "prefix": made["prefix"], "before": "first"}
    assert records[2]["details"] == {"name": "second", "prefix": rotated["prefix"], "overlap_seconds": 5}
    assert made["secret"] not in answer.text
    (total,) = await keyed.sql("SELECT count(*) AS n FROM idp.audit_logs WHERE user_id = $1", person.id)
    assert total["n"] >= 4
    paged = await keyed.client.get(f"{KEYS}/{key_id}/audit?limit=1&offset=1", headers=person.bearer)
    assert [record["action"] for record in paged.json()] == ["api_key.rotated"]
    assert paged.headers["x-total-count"] == "4"


async def test_a_refused_change_leaves_no_record(keyed: Service, person: Person) -> None:
    """S0-44: one transaction makes the change and its record, or neither."""
    made = await make_key(keyed, person)
    await end(keyed, made["key_id"])
    assert (await call(keyed, person.bearer, "rotate", made["key_id"])).status_code == 409
    records = await get(keyed, f"{KEYS}/{made['key_id']}/audit", person.bearer)
    assert [record["action"] for record in records] == ["api_key.created"]


async def test_the_three_tables_are_there(keyed: Service) -> None:
    """S0-05 S0-32: users, api_keys and audit_logs, with the columns that S0 names, in snake case."""
    rows = await keyed.sql("SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'idp'")
    columns = {(row["table_name"], row["column_name"]) for row in rows}
    for table, names in {
        "users": ("id", "email", "name", "deleted_at", "plan"),
        "api_keys": ("id", "user_id", "name", "prefix", "scopes", "last_used_at", "expires_at", "created_at"),
        "audit_logs": ("id", "user_id", "action", "details", "ip_address", "user_agent", "timestamp"),
    }.items():
        assert {(table, name) for name in names} <= columns


async def test_keys_go_with_the_row_of_their_user(keyed: Service, person: Person) -> None:
    """S0-34: a foreign key that cascades; what was revoked by erasing is refused like what never was."""
    made = await make_key(keyed, person)
    assert await code_of(keyed, made["secret"]) == "valid"
    await keyed.sql("DELETE FROM idp.users WHERE id = $1", person.id)
    assert await code_of(keyed, made["secret"]) == "token_not_found"


async def test_a_keys_whole_life_in_one_sitting(keyed: Service, person: Person) -> None:
    """S0-02: create, list, validate, rotate, revoke."""
    made = await make_key(keyed, person, scopes=["ingest:write"])
    assert [key["key_id"] for key in await get(keyed, KEYS, person.bearer)] == [made["key_id"]]
    answer = await keyed.client.post("/internal/validate-key", json={"key": made["secret"]})
    assert (answer.json()["valid"], answer.json()["scopes"]) == (True, ["ingest:write"])
    rotated = await rotate(keyed, person, made)
    assert (await call(keyed, person.bearer, "revoke", made["key_id"])).status_code == 200
    answer = await keyed.client.post("/internal/validate-key", json={"key": rotated["secret"]})
    assert (answer.json()["valid"], answer.json()["error"]) == (False, "key_revoked")
    assert await get(keyed, KEYS, person.bearer) == []
