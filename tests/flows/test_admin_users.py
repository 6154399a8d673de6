"""Administration of users over HTTP: list, roles and plan, and revocation on disabling and deleting."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from factories import PASSWORD, Person, Service, running
from idp.dev.embedded import EmbeddedPostgres

USERS = "/api/auth/admin/users"


@pytest.fixture(scope="module")
async def admin(service: Service) -> Person:
    return await service.register_admin()


async def change(service: Service, admin: Person, person: Person, **wanted: Any) -> httpx2.Response:
    return await service.client.patch(f"{USERS}/{person.id}", json=wanted, headers=admin.bearer)


async def remove(service: Service, admin: Person, person: Person) -> httpx2.Response:
    return await service.client.delete(f"{USERS}/{person.id}", headers=admin.bearer)


async def make_key(service: Service, person: Person, name: str = "laptop") -> dict[str, Any]:
    answer = await service.client.post("/v1/api-keys", json={"name": name, "scopes": ["read"]}, headers=person.bearer)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def audited(service: Service, person: Person, *, noun: str = "user") -> list[tuple[str, str, Any]]:
    """Return action, actor and details of a user's audit records since registration."""
    rows = await service.sql(
        "SELECT action, actor, details::text AS details FROM idp.audit_logs WHERE user_id = $1 AND action LIKE $2"
        " AND action NOT IN ('user.created', 'user.signed_in') ORDER BY timestamp, id",
        person.id,
        f"{noun}.%",
    )
    return [(row["action"], row["actor"], httpx2.Response(200, content=row["details"]).json()) for row in rows]


def problem(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# --- who is there ----------------------------------------------------------------------------------------------------


async def test_the_list_has_the_shape_that_was_promised(service: Service, admin: Person) -> None:
    """S4-23: ten by default, the newest first, and more members than the old service had."""
    person = await service.register(name="Newest Person")
    answer = await service.client.get(USERS, headers=admin.bearer)
    assert answer.status_code == 200
    body = answer.json()
    assert body.keys() == {"users", "pagination", "message"}
    assert body["pagination"].keys() == {"total", "limit", "offset", "has_more"}
    assert (body["pagination"]["limit"], body["pagination"]["offset"]) == (10, 0)
    assert body["message"] == f"Retrieved {len(body['users'])} users"
    first = body["users"][0]
    assert {"user_id", "email", "is_active", "login_type", "created_at"} <= first.keys()
    assert {name: first[name] for name in first if name not in {"created_at", "updated_at"}} == {
        "user_id": person.id,
        "email": person.email,
        "is_active": True,
        "login_type": "email",
        "name": "Newest Person",
        "roles": ["user"],
        "plan": "FREE",
        "email_verified": False,
    }


async def test_pages_follow_each_other_without_gaps(service: Service, admin: Person) -> None:
    """S4-23."""
    mark = f"paged-{uuid4().hex}"
    people = [await service.register(email=f"{mark}-{number}@example.com") for number in range(5)]
    seen: list[str] = []
    for offset, more in ((0, True), (2, True), (4, False)):
        query = f"?search={mark}&limit=2&offset={offset}"
        body = (await service.client.get(USERS + query, headers=admin.bearer)).json()
        assert body["pagination"] == {"total": 5, "limit": 2, "offset": offset, "has_more": more}
        assert body["message"] == f"Retrieved {len(body['users'])} users"
        seen += [user["user_id"] for user in body["users"]]
    assert seen == [person.id for person in reversed(people)]


async def test_users_are_found_by_name_address_id_role_and_state(service: Service, admin: Person) -> None:
    mark = uuid4().hex
    ann = await service.register(email=f"ann-{mark}@example.com", name=f"Ann 100%_{mark}")
    bob = await service.register(email=f"bob-{mark}@example.com")
    await change(service, admin, ann, roles=["user", f"analyst-{mark}"])
    await change(service, admin, bob, is_active=False)

    async def found(**query: str) -> set[str]:
        answer = await service.client.get(USERS, params=query, headers=admin.bearer)
        assert answer.status_code == 200, answer.text
        return {user["user_id"] for user in answer.json()["users"]}

    assert await found(search=mark.upper()) == {ann.id, bob.id}
    assert await found(search=f"100%_{mark}") == {ann.id}
    assert await found(search=f"100__{mark}") == set(), "% and _ are characters, not patterns"
    assert await found(search=bob.id) == {bob.id}
    assert await found(role=f"analyst-{mark}") == {ann.id}
    assert await found(search=mark, is_active="false") == {bob.id}
    assert await found(search=mark, is_active="true") == {ann.id}
    assert await found(search=mark, role="admin") == set()


async def test_one_user_and_their_keys_can_be_looked_at(service: Service, admin: Person) -> None:
    """api.md: revoked keys too, the newest first, never a secret."""
    person = await service.register()
    old, new = await make_key(service, person, "old"), await make_key(service, person, "new")
    await service.client.delete(f"/v1/api-keys/{old['key_id']}", headers=person.bearer)
    user = (await service.client.get(f"{USERS}/{person.id}", headers=admin.bearer)).json()
    assert (user["user_id"], user["email"]) == (person.id, person.email)
    keys = await service.client.get(f"{USERS}/{person.id}/api-keys", headers=admin.bearer)
    assert [(key["key_id"], key["is_revoked"]) for key in keys.json()] == [
        (new["key_id"], False),
        (old["key_id"], True),
    ]
    assert "secret" not in keys.text.replace(old["secret"], "secret").replace(new["secret"], "secret")
    page = await service.client.get(f"{USERS}/{person.id}/api-keys?limit=1", headers=admin.bearer)
    assert (len(page.json()), page.headers["x-total-count"]) == (1, "2")


# --- what they may ---------------------------------------------------------------------------------------------------


async def test_a_change_of_roles_is_seen_at_once(service: Service, admin: Person) -> None:
    """C-15: by the very token they hold, in both directions; each change has its audit record."""
    person = await service.register()
    assert (await service.client.get(USERS, headers=person.bearer)).status_code == 403
    made = await change(service, admin, person, roles=["admin", "user", "user"])
    assert (made.status_code, made.json()["roles"]) == (200, ["admin", "user"])
    assert (await service.me(person.bearer)).json()["roles"] == ["admin", "user"]
    assert (await service.client.get(USERS, headers=person.bearer)).status_code == 200
    await change(service, admin, person, roles=["user"])
    assert (await service.me(person.bearer)).json()["roles"] == ["user"]
    assert problem(await service.client.get(USERS, headers=person.bearer)) == (403, "admin_required")
    assert await audited(service, person) == [
        ("user.roles_changed", f"user:{admin.id}", {"roles": [["user"], ["admin", "user"]]}),
        ("user.roles_changed", f"user:{admin.id}", {"roles": [["admin", "user"], ["user"]]}),
    ]


async def test_plan_and_name_are_changed_and_seen(service: Service, admin: Person) -> None:
    """C-26: the plan is what `rate_limit_tier` says about the user's keys."""
    person = await service.register(name="Before")
    key = await make_key(service, person)
    changed = await change(service, admin, person, plan="PRO", name="After")
    assert (changed.json()["plan"], changed.json()["name"]) == ("PRO", "After")
    me = (await service.me(person.bearer)).json()
    assert (me["plan"], me["name"]) == ("PRO", "After")
    verdict = await service.client.post("/internal/validate-key", json={"key": key["secret"]})
    assert verdict.json()["rate_limit_tier"] == "PRO"
    assert (await change(service, admin, person, plan="PRO")).status_code == 200
    assert await audited(service, person) == [
        ("user.changed", f"user:{admin.id}", {"name": ["Before", "After"], "plan": ["FREE", "PRO"]})
    ], "what changes nothing leaves no record"


# --- what ends with them ---------------------------------------------------------------------------------------------


async def test_a_disabled_user_is_refused_at_once_and_enabled_again_without_the_keys(
    service: Service, admin: Person
) -> None:
    """S0-13, C-14: one transaction ends the account, every session and every key; enabling brings none of them back."""
    person = await service.register()
    keys = [await make_key(service, person, name) for name in ("one", "two")]
    for token in (person.token, *(key["secret"] for key in keys)):
        assert (await service.validate(token))["valid"] is True

    disabled = await change(service, admin, person, is_active=False)
    assert (disabled.status_code, disabled.json()["is_active"]) == (200, False)
    assert (await service.validate(person.token))["error"] == "user_inactive"
    assert problem(await service.me(person.bearer)) == (401, "user_inactive")
    for key in keys:
        assert (await service.validate(key["secret"]))["error"] == "token_revoked"
        assert problem(await service.me({"X-API-Key": key["secret"]})) == (401, "token_revoked")
    login = {"email": person.email, "password": PASSWORD}
    assert problem(await service.client.post("/auth/login", json=login)) == (401, "invalid_credentials")

    assert (await change(service, admin, person, is_active=True)).json()["is_active"] is True
    assert (await service.validate(person.token))["error"] == "token_revoked"
    again = await service.sign_in(person)
    for key in keys:
        assert (await service.validate(key["secret"]))["error"] == "token_revoked"
    await make_key(service, again, "three")
    done = [(action, details) for action, _, details in await audited(service, person) if "sign" not in action]
    assert done == [("user.disabled", {"revoked_keys": 2, "ended_sessions": 1}), ("user.enabled", {})]
    revoked = [entry for entry in await audited(service, person, noun="api_key") if entry[0] == "api_key.revoked"]
    assert [(actor, details["reason"]) for _, actor, details in revoked] == [
        (f"user:{admin.id}", "user disabled"),
        (f"user:{admin.id}", "user disabled"),
    ]


async def test_disabling_twice_changes_nothing_more(service: Service, admin: Person) -> None:
    person = await service.register()
    for _ in range(2):
        assert (await change(service, admin, person, is_active=False)).status_code == 200
    assert [action for action, _, _ in await audited(service, person)] == ["user.disabled"]


async def test_a_deleted_user_is_not_found_and_frees_the_address(service: Service, admin: Person) -> None:
    """S0-13, C-13, C-14: soft, with every key; the next user with this address is a new one."""
    person = await service.register()
    key = await make_key(service, person)
    gone = await remove(service, admin, person)
    ended = {"revoked_keys": 1, "ended_sessions": 1}
    assert (gone.status_code, gone.json()) == (200, {"success": True, "user_id": person.id, **ended})
    assert (await service.validate(person.token))["error"] == "user_inactive"
    assert (await service.validate(key["secret"]))["error"] == "token_revoked"
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/api-keys")):
        body = {"plan": "PRO"} if method == "PATCH" else None
        answer = await service.client.request(method, f"{USERS}/{person.id}{path}", json=body, headers=admin.bearer)
        assert problem(answer) == (404, "user_not_found"), method
    listed = await service.client.get(USERS, params={"search": person.email}, headers=admin.bearer)
    assert listed.json()["pagination"]["total"] == 0

    heir = await service.register(email=person.email)
    assert heir.id != person.id
    assert (await service.me(heir.bearer)).json()["id"] == heir.id
    assert (await service.client.get("/v1/api-keys", headers=heir.bearer)).json() == []
    (row,) = await service.sql("SELECT deleted_at IS NOT NULL AS gone FROM idp.users WHERE id = $1", person.id)
    assert row["gone"], "the row stays as a tombstone"
    assert [(action, details) for action, _, details in await audited(service, person)] == [("user.deleted", ended)]


async def test_a_key_made_while_its_user_is_disabled_does_not_survive(service: Service, admin: Person) -> None:
    """C-27: creating keys and deleting their owner use one lock, so that no live key is left in any order."""
    for _ in range(5):
        person = await service.register()
        made = [
            service.client.post("/v1/api-keys", json={"name": f"k{n}", "scopes": ["read"]}, headers=person.bearer)
            for n in range(4)
        ]
        answers = await asyncio.gather(*made[:2], change(service, admin, person, is_active=False), *made[2:])
        assert {answer.status_code for answer in answers} <= {200, 201, 401, 404}
        keys = (await service.client.get(f"{USERS}/{person.id}/api-keys", headers=admin.bearer)).json()
        assert all(key["is_revoked"] for key in keys)


# --- the last administrator ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def small(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    """A service of its own, where these tests decide who administers."""
    async with running(postgres.create_database("last_admin")) as service:
        yield service


async def active_admins(service: Service) -> list[str]:
    rows = await service.sql(
        "SELECT u.id FROM idp.user_roles r JOIN idp.users u ON u.id = r.user_id"
        " WHERE r.role = 'admin' AND u.is_active AND u.deleted_at IS NULL"
    )
    return [row["id"] for row in rows]


@pytest.fixture
async def only(small: Service) -> Person:
    """The only administrator."""
    person = await small.register()
    await small.sql("DELETE FROM idp.user_roles WHERE role = 'admin'")
    await small.sql("INSERT INTO idp.user_roles (user_id, role) VALUES ($1, 'admin')", person.id)
    return person


async def test_the_last_administrator_cannot_end_themselves(small: Service, only: Person) -> None:
    """Neither the role nor the account; with a second active one they can."""
    for wanted in ({"roles": ["user"]}, {"roles": []}, {"is_active": False}):
        assert problem(await change(small, only, only, **wanted)) == (409, "last_admin"), wanted
    assert problem(await remove(small, only, only)) == (409, "last_admin")
    me = (await small.me(only.bearer)).json()
    assert (me["roles"], me["is_active"]) == (["admin", "user"], True)

    second = await small.register()
    await change(small, only, second, roles=["user", "admin"])
    await change(small, only, second, is_active=False)
    assert problem(await remove(small, only, only)) == (409, "last_admin"), "a disabled one does not count"
    await change(small, only, second, is_active=True)
    assert (await change(small, only, only, roles=["user"])).status_code == 200
    assert problem(await change(small, only, second, plan="PRO")) == (403, "admin_required")


async def test_administrators_who_end_each_other_at_once_leave_one(small: Service, only: Person) -> None:
    for _ in range(5):
        other = await small.register()
        assert (await change(small, only, other, roles=["user", "admin"])).status_code == 200
        await asyncio.gather(
            change(small, only, other, roles=["user"]),
            change(small, other, only, roles=["user"]),
            change(small, other, other, is_active=False),
        )
        assert len(await active_admins(small)) == 1
        await small.sql("DELETE FROM idp.user_roles WHERE role = 'admin'")
        await small.sql("INSERT INTO idp.user_roles (user_id, role) VALUES ($1, 'admin')", only.id)


async def test_management_may_end_the_last_administrator(postgres: EmbeddedPostgres) -> None:
    """Whoever holds ADMIN_TOKEN can make the next one; an administrator gone bad must not be safe from them."""
    token = secrets.token_urlsafe(40)
    async with running(postgres.create_database("managed_users"), environ={"ADMIN_TOKEN": token}) as service:
        bearer = {"Authorization": f"Bearer {token}"}
        last = await service.register_admin()
        assert (await service.client.delete(f"{USERS}/{last.id}", headers=bearer)).status_code == 200
        heir = await service.register()
        path = f"{USERS}/{heir.id}"
        made = await service.client.patch(path, json={"roles": ["user", "admin"]}, headers=bearer)
        assert made.json()["roles"] == ["admin", "user"]
        assert [actor for _, actor, _ in await audited(service, heir)] == ["service:admin-token"]


# --- bad input -------------------------------------------------------------------------------------------------------


async def test_an_unknown_id_is_404(service: Service, admin: Person) -> None:
    for identifier in ("nobody", str(uuid4()), "%00", "a%2Fb", "%F0%9F%92%A9", "x" * 3000, "' OR 1=1--"):
        for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/api-keys")):
            body = {"plan": "PRO"} if method == "PATCH" else None
            answer = await service.client.request(
                method, f"{USERS}/{identifier}{path}", json=body, headers=admin.bearer
            )
            assert answer.status_code == 404, f"{method} {identifier[:20]} {answer.text}"
            assert answer.json()["code"] in {"user_not_found", "not_found"}


@pytest.mark.parametrize(
    "body",
    [
        {"rolse": ["user"]}, {"roles": "admin"}, {"roles": None}, {"roles": ["Admin"]}, {"roles": [""]},
        {"roles": ["a b"]}, {"roles": ["a\u0000"]}, {"roles": [f"r{n}" for n in range(51)]}, {"plan": "GOLD"},
        {"plan": None}, {"is_active": "false"}, {"is_active": None}, {"name": ""}, {"name": None},
        {"name": "a\u0000b"}, {"email": "x@example.com"}, [], 1,
    ],
)  # fmt: skip
async def test_a_change_that_does_not_fit_is_refused_whole(service: Service, admin: Person, body: Any) -> None:
    """C-16: unknown members are refused on new routes; nothing of the request is followed."""
    person = await service.register()
    sent = {**body, "plan": body.get("plan", "PRO")} if isinstance(body, dict) else body
    answer = await service.client.patch(f"{USERS}/{person.id}", json=sent, headers=admin.bearer)
    assert problem(answer) == (422, "validation_failed")
    assert (await service.me(person.bearer)).json()["plan"] == "FREE"


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "offset=-1", "is_active=maybe", "search=%00", "search=" + "x" * 300]
)
async def test_a_query_that_does_not_fit_is_refused(service: Service, admin: Person, query: str) -> None:
    answer = await service.client.get(f"{USERS}?{query}", headers=admin.bearer)
    assert problem(answer) == (422, "validation_failed")


async def test_an_invalid_parameter_is_named_as_the_client_wrote_it(service: Service, admin: Person) -> None:
    """C-16: `loc` is `["query", "limit"]`, and a text says what is wrong in words."""
    answer = await service.client.get("/api/auth/admin/users?limit=0", headers=admin.bearer)
    assert answer.json()["errors"][0]["loc"] == ["query", "limit"]
    assert answer.json()["detail"].startswith("query.limit: ")
    answer = await service.client.get("/api/auth/admin/users?search=%00", headers=admin.bearer)
    assert answer.json()["detail"] == "query.search: The value has characters that are not allowed here."


async def test_only_administrators_get_in(service: Service) -> None:
    """S4-23: 403 with the old service's words; a user's API key manages nothing (C-29)."""
    person = await service.register_admin()
    key = await make_key(service, person)
    refused = await service.client.get(USERS, headers={"X-API-Key": key["secret"]})
    assert problem(refused) == (403, "credential_not_accepted")
    nobody = await service.register()
    for method, path in (
        ("GET", ""),
        ("GET", f"/{nobody.id}"),
        ("PATCH", f"/{nobody.id}"),
        ("DELETE", f"/{nobody.id}"),
    ):
        answer = await service.client.request(method, USERS + path, json={}, headers=nobody.bearer)
        assert (answer.status_code, answer.json()["detail"]) == (403, "Admin access required")


async def test_a_service_token_that_manages_may_administer_people(service: Service, admin: Person) -> None:
    """C-09: with the scope idp:manage, and with no other; the audit names the token."""
    tokens = {}
    for name, scope in (("managing", "idp:manage"), ("other", "admin")):
        body = {"name": f"{name}-{uuid4()}", "scopes": [scope]}
        tokens[name] = (await service.client.post("/auth/tokens", json=body, headers=admin.bearer)).json()
    person = await service.register()
    path, body = f"{USERS}/{person.id}", {"plan": "BASIC"}
    refused = await service.client.patch(
        path, json=body, headers={"Authorization": f"Bearer {tokens['other']['token']}"}
    )
    assert problem(refused) == (403, "admin_required")
    allowed = await service.client.patch(
        path, json=body, headers={"Authorization": f"Bearer {tokens['managing']['token']}"}
    )
    assert allowed.status_code == 200
    assert [actor for _, actor, _ in await audited(service, person)] == [f"service:{tokens['managing']['token_id']}"]
