"""Teams and domains: reading them, and managing them as an admin or a team admin."""

import asyncio
from typing import Any
from uuid import uuid4

from factories import Person, Service


async def make_team(service: Service, admin: Person, **more: Any) -> dict[str, Any]:
    body = {"name": f"Team {uuid4()}", **more}
    answer = await service.client.post("/teams", json=body, headers=admin.bearer)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def make_domain(service: Service, admin: Person, **more: Any) -> dict[str, Any]:
    body = {"key": f"d-{uuid4().hex}", "name": "A domain", **more}
    answer = await service.client.post("/domains", json=body, headers=admin.bearer)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def join(service: Service, admin: Person, team: str, user: str, role: str | None = None) -> None:
    answer = await service.client.put(f"/teams/{team}/members/{user}", json={"role": role}, headers=admin.bearer)
    assert answer.status_code == 200, answer.text


async def audited(service: Service, target: str) -> list[str]:
    rows = await service.sql("SELECT action FROM idp.audit_logs WHERE target = $1 ORDER BY timestamp, id", target)
    return [row["action"] for row in rows]


async def test_the_seed_is_there_and_never_overwrites(service: Service) -> None:
    """S3-39 S3-40 S3-41 S3-10 S3-12: existing rows are not changed."""
    from factories import prepare

    person = await service.register()
    teams = (await service.client.get("/teams/all", headers=person.bearer)).json()
    refs = {team["name"]: team["external_ref"] for team in teams}
    assert {"General": None, "Engineering": "eng", "Product": "product", "Design": "design"}.items() <= refs.items()
    domains = (await service.client.get("/domains/all", headers=person.bearer)).json()
    names = {domain["key"]: domain["name"] for domain in domains}
    assert {
        "engineering": "Engineering",
        "product": "Product Management",
        "design": "Design",
        "marketing": "Marketing",
        "sales": "Sales",
    }.items() <= names.items()
    await service.sql("UPDATE idp.domains SET name = 'Selling' WHERE key = 'sales'")
    await prepare(service.loaded)
    rows = await service.sql("SELECT name FROM idp.domains WHERE key = 'sales'")
    assert [row["name"] for row in rows] == ["Selling"]
    await service.sql("UPDATE idp.domains SET name = 'Sales' WHERE key = 'sales'")


async def test_a_user_sees_their_own_teams_and_domains(service: Service) -> None:
    """S3-04 S3-31 S3-33: arrays of the old service's members."""
    person = await service.register()
    (team,) = (await service.client.get("/teams", headers=person.bearer)).json()
    assert {"id", "name", "external_ref", "is_active"} <= team.keys()
    assert (team["name"], team["role"]) == ("General", None)
    (domain,) = (await service.client.get("/domains", headers=person.bearer)).json()
    assert domain.keys() == {"id", "key", "name", "parent_domain_id", "is_active"}
    assert domain["key"] == "engineering"


async def test_lists_need_a_caller(service: Service) -> None:
    """S3-32 S3-34: auth required."""
    for path in ("/teams", "/teams/all", "/domains", "/domains/all"):
        assert (await service.client.get(path)).status_code == 401


async def test_lists_are_whole_by_default_and_paged_on_request(service: Service) -> None:
    """C-19: bare arrays, `?limit=&offset=` and a Link header."""
    person = await service.register()
    whole = await service.client.get("/teams/all", headers=person.bearer)
    total = len(whole.json())
    assert "link" not in whole.headers
    assert int(whole.headers["x-total-count"]) == total
    page = await service.client.get("/teams/all?limit=2&offset=1", headers=person.bearer)
    assert page.json() == whole.json()[1:3]
    assert '</teams/all?limit=2&offset=3>; rel="next"' in page.headers["link"]
    assert '</teams/all?limit=2&offset=0>; rel="prev"' in page.headers["link"]
    for query in ("limit=0", "limit=1001", "offset=-1", "limit=x"):
        bad = await service.client.get(f"/teams/all?{query}", headers=person.bearer)
        assert (bad.status_code, bad.json()["code"]) == (422, "validation_failed"), query


async def test_an_admin_makes_renames_and_deactivates_a_team(service: Service) -> None:
    """S3-72 C-20: 201 for creation, 200 with a body for the rest; each change has its audit row."""
    admin, member = await service.register_admin(), await service.register()
    team = await make_team(service, admin, external_ref="plat")
    await join(service, admin, team["id"], member.id, "member")
    path = f"/teams/{team['id']}"
    renamed = await service.client.patch(path, json={"name": team["name"] + " 2"}, headers=admin.bearer)
    assert renamed.json() == {**team, "name": team["name"] + " 2"}
    assert team["id"] in [t["id"] for t in (await service.me(member.bearer)).json()["teams"]]
    gone = await service.client.delete(path, headers=admin.bearer)
    assert (gone.status_code, gone.json()["is_active"]) == (200, False)
    # C-15: an inactive team leaves the principal at once, and S3-32's list.
    assert team["id"] not in [t["id"] for t in (await service.me(member.bearer)).json()["teams"]]
    assert team["id"] not in [t["id"] for t in (await service.client.get("/teams/all", headers=admin.bearer)).json()]
    back = await service.client.patch(path, json={"is_active": True}, headers=admin.bearer)
    assert back.json()["is_active"] is True
    assert team["id"] in [t["id"] for t in (await service.me(member.bearer)).json()["teams"]]
    assert await audited(service, f"team:{team['id']}") == [
        "team.created",
        "team.member_added",
        "team.renamed",
        "team.deactivated",
        "team.activated",
    ]


async def test_an_admin_manages_members_and_their_roles(service: Service) -> None:
    """S3-11 S3-72: list with paging, add, change, remove; removing twice is not an error."""
    admin, one, two = await service.register_admin(), await service.register(), await service.register()
    team = await make_team(service, admin)
    path = f"/teams/{team['id']}/members"
    await join(service, admin, team["id"], one.id)
    await join(service, admin, team["id"], two.id, "admin")
    await join(service, admin, team["id"], two.id, "admin")
    listed = await service.client.get(path, headers=admin.bearer)
    assert {(m["user_id"], m["role"]) for m in listed.json()} == {(one.id, None), (two.id, "admin")}
    page = await service.client.get(f"{path}?limit=1", headers=admin.bearer)
    assert len(page.json()) == 1
    assert page.headers["x-total-count"] == "2"
    found = await service.client.get(f"{path}/{two.id}", headers=admin.bearer)
    assert (found.json()["email"], found.json()["role"]) == (two.email, "admin")
    await join(service, admin, team["id"], two.id, "member")
    for removed in (True, False):
        answer = await service.client.delete(f"{path}/{two.id}", headers=admin.bearer)
        assert (answer.status_code, answer.json()) == (200, {"removed": removed})
    missing = await service.client.get(f"{path}/{two.id}", headers=admin.bearer)
    assert (missing.status_code, missing.json()["code"]) == (404, "membership_not_found")
    assert await audited(service, f"team:{team['id']}") == [
        "team.created",
        "team.member_added",
        "team.member_added",
        "team.member_changed",
        "team.member_removed",
    ]


async def test_a_team_admin_manages_their_team_and_no_other(service: Service) -> None:
    """C-15 S3-72."""
    admin, lead, other = await service.register_admin(), await service.register(), await service.register()
    mine, foreign = await make_team(service, admin), await make_team(service, admin)
    await join(service, admin, mine["id"], lead.id, "admin")
    await join(service, admin, foreign["id"], lead.id, "member")
    await join(service, lead, mine["id"], other.id)
    renamed = await service.client.patch(f"/teams/{mine['id']}", json={"external_ref": "x"}, headers=lead.bearer)
    assert renamed.status_code == 200
    for method, path, body in (
        ("PATCH", f"/teams/{foreign['id']}", {"name": "Mine now"}),
        ("PUT", f"/teams/{foreign['id']}/members/{lead.id}", {"role": "admin"}),
        ("DELETE", f"/teams/{foreign['id']}", None),
        ("GET", f"/teams/{uuid4()}/members", None),
    ):
        answer = await service.client.request(method, path, json=body, headers=lead.bearer)
        assert (answer.status_code, answer.json()["code"]) == (403, "team_admin_required"), path
    for path, body in (("/teams", {"name": "New"}), ("/domains", {"key": "new", "name": "New"})):
        answer = await service.client.post(path, json=body, headers=lead.bearer)
        assert (answer.status_code, answer.json()["code"]) == (403, "admin_required")
    # A plain member manages nothing, not even what they are in.
    answer = await service.client.get(f"/teams/{mine['id']}/members", headers=other.bearer)
    assert answer.status_code == 403


async def test_a_name_is_taken_by_the_first_of_two_at_once(service: Service) -> None:
    """S3-10 S3-12: unique names and keys, under a race too."""
    admin = await service.register_admin()
    name, key = f"Team {uuid4()}", f"d-{uuid4().hex}"
    for path, body, code in (
        ("/teams", {"name": name}, "team_name_taken"),
        ("/domains", {"key": key, "name": "D"}, "domain_key_taken"),
    ):
        answers = await asyncio.gather(*(service.client.post(path, json=body, headers=admin.bearer) for _ in range(6)))
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5
        assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {code}


async def test_domains_nest_without_cycles(service: Service) -> None:
    """S3-73: no domain is inside itself, directly or through others; a parent does not imply its children (C-15)."""
    admin, user = await service.register_admin(), await service.register()
    top = await make_domain(service, admin)
    middle = await make_domain(service, admin, parent_domain_id=top["id"])
    bottom = await make_domain(service, admin, parent_domain_id=middle["id"])
    for parent in (top, middle, bottom):
        answer = await service.client.patch(
            f"/domains/{top['id']}", json={"parent_domain_id": parent["id"]}, headers=admin.bearer
        )
        assert (answer.status_code, answer.json()["code"]) == (409, "domain_cycle")
    nowhere = await service.client.patch(
        f"/domains/{top['id']}", json={"parent_domain_id": str(uuid4())}, headers=admin.bearer
    )
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "domain_not_found")
    freed = await service.client.patch(
        f"/domains/{bottom['id']}", json={"parent_domain_id": None}, headers=admin.bearer
    )
    assert freed.json()["parent_domain_id"] is None
    assigned = await service.client.put(f"/domains/{top['id']}/users/{user.id}", headers=admin.bearer)
    assert assigned.status_code == 200
    keys = [domain["key"] for domain in (await service.me(user.bearer)).json()["domains"]]
    assert top["key"] in keys
    assert middle["key"] not in keys


async def test_two_moves_at_once_cannot_close_a_circle(service: Service) -> None:
    """S3-73: each move alone is fine; together they would be a cycle, so one of them is refused."""
    admin = await service.register_admin()
    for _ in range(5):
        one, two = await make_domain(service, admin), await make_domain(service, admin)
        answers = await asyncio.gather(
            *(
                service.client.patch(
                    f"/domains/{child['id']}", json={"parent_domain_id": parent["id"]}, headers=admin.bearer
                )
                for child, parent in ((one, two), (two, one))
            )
        )
        assert sorted(answer.status_code for answer in answers) == [200, 409]


async def test_a_tree_of_domains_has_a_limit(service: Service) -> None:
    """S3-73: 32 levels."""
    admin = await service.register_admin()
    parent = await make_domain(service, admin)
    for _ in range(31):
        parent = await make_domain(service, admin, parent_domain_id=parent["id"])
    body = {"key": f"d-{uuid4().hex}", "name": "Too deep", "parent_domain_id": parent["id"]}
    answer = await service.client.post("/domains", json=body, headers=admin.bearer)
    assert (answer.status_code, answer.json()["code"]) == (409, "domain_cycle")


async def test_an_admin_assigns_users_to_domains_and_deactivates_them(service: Service) -> None:
    """S3-13 S3-73, with an audit row for every change."""
    admin, user = await service.register_admin(), await service.register()
    domain = await make_domain(service, admin)
    path = f"/domains/{domain['id']}/users"
    for _ in range(2):
        assert (await service.client.put(f"{path}/{user.id}", headers=admin.bearer)).status_code == 200
    listed = (await service.client.get(path, headers=admin.bearer)).json()
    assert [entry["user_id"] for entry in listed] == [user.id]
    assert (await service.client.get(f"{path}/{user.id}", headers=admin.bearer)).json()["email"] == user.email
    await service.client.delete(f"/domains/{domain['id']}", headers=admin.bearer)
    assert domain["key"] not in [d["key"] for d in (await service.me(user.bearer)).json()["domains"]]
    for removed in (True, False):
        answer = await service.client.delete(f"{path}/{user.id}", headers=admin.bearer)
        assert answer.json() == {"removed": removed}
    assert await audited(service, f"domain:{domain['id']}") == [
        "domain.created",
        "domain.user_added",
        "domain.deactivated",
        "domain.user_removed",
    ]


async def test_an_unknown_id_is_404_with_its_own_code(service: Service) -> None:
    admin = await service.register_admin()
    team, domain = await make_team(service, admin), await make_domain(service, admin)
    for method, path, body, code in (
        ("PATCH", f"/teams/{uuid4()}", {"name": "X"}, "team_not_found"),
        ("DELETE", f"/teams/{uuid4()}", None, "team_not_found"),
        ("PUT", f"/teams/{team['id']}/members/nobody", {}, "user_not_found"),
        ("PATCH", f"/domains/{uuid4()}", {"name": "X"}, "domain_not_found"),
        ("PUT", f"/domains/{domain['id']}/users/nobody", None, "user_not_found"),
        ("GET", "/teams/not-a-uuid", None, "not_found"),
    ):
        answer = await service.client.request(method, path, json=body, headers=admin.bearer)
        assert (answer.status_code, answer.json()["code"]) == (404, code), path


async def test_an_audit_row_has_actor_action_user_and_address(service: Service) -> None:
    """S3-55: written with the change, readable by administrators alone."""
    admin, user = await service.register_admin(), await service.register()
    team = await make_team(service, admin)
    await service.client.put(
        f"/teams/{team['id']}/members/{user.id}",
        json={"role": "admin"},
        headers={**admin.bearer, "User-Agent": "tests/1", "X-Request-Id": "my-request"},
    )
    answer = await service.client.get(
        f"/api/auth/admin/audit?user_id={user.id}&action=team.member_added", headers=admin.bearer
    )
    (entry,) = answer.json()
    assert entry["actor"] == f"user:{admin.id}"
    assert (entry["user_id"], entry["target"]) == (user.id, f"team:{team['id']}")
    assert entry["details"] == {"role": [None, "admin"]}
    assert (entry["ip_address"], entry["user_agent"], entry["request_id"]) == ("127.0.0.1", "tests/1", "my-request")
    refused = await service.client.get("/api/auth/admin/audit", headers=user.bearer)
    assert (refused.status_code, refused.json()["detail"]) == (403, "Admin access required")


async def test_unknown_members_are_refused_on_new_routes(service: Service) -> None:
    """C-16: ignored on the old services' paths, refused on new ones; and nothing is guessed from the wrong type."""
    admin = await service.register_admin()
    team = await make_team(service, admin)
    for body in ({"nmae": "X"}, {"is_active": "false"}, {"is_active": 0}, {"name": None}, {"name": ""}, {"name": " x"}):
        answer = await service.client.patch(f"/teams/{team['id']}", json=body, headers=admin.bearer)
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed"), body
    answer = await service.client.put(
        f"/teams/{team['id']}/members/{admin.id}", json={"role": "null"}, headers=admin.bearer
    )
    assert answer.status_code == 422


async def test_no_role_is_the_role_member_and_changing_between_them_changes_nothing(service: Service) -> None:
    """C-15: found by fuzzing; no event, no audit record, no error."""
    admin, person = await service.register_admin(), await service.register()
    team = (await service.client.post("/teams", headers=admin.bearer, json={"name": "Any role"})).json()["id"]
    url = f"/teams/{team}/members/{person.id}"
    for body in ({"role": "member"}, {}, {"role": "member"}, {"role": "admin"}, {}):
        answer = await service.client.put(url, headers=admin.bearer, json=body)
        assert answer.status_code == 200, answer.text
    events = await service.sql(
        "SELECT type FROM idp.outbox WHERE type LIKE 'idp.team.member%' AND data::text LIKE $1", f"%{team}%"
    )
    assert sorted(row["type"] for row in events) == [
        "idp.team.member_added",
        "idp.team.member_changed",
        "idp.team.member_changed",
    ]
