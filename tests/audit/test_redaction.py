"""Users who are not administrators read redacted audit records."""

from factories import Person, Service

ADMIN_AGENT = "admin-browser/7"


async def key_that_an_admin_ended(service: Service) -> tuple[Person, str]:
    person, admin = await service.register(), await service.register_admin()
    made = await service.client.post("/v1/api-keys", json={"name": "k", "scopes": ["read"]}, headers=person.bearer)
    disable = admin.bearer | {"User-Agent": ADMIN_AGENT}
    for is_active in (False, True):
        path = f"/api/auth/admin/users/{person.id}"
        answer = await service.client.patch(path, json={"is_active": is_active}, headers=disable)
        assert answer.status_code == 200, answer.text
    return await service.sign_in(person), made.json()["key_id"]


async def test_a_keys_owner_does_not_read_where_an_administrator_was(service: Service) -> None:
    """Neither address nor program nor request; of what the owner did, all of it."""
    person, key = await key_that_an_admin_ended(service)
    answer = await service.client.get(f"/v1/api-keys/{key}/audit", headers=person.bearer)
    assert ADMIN_AGENT not in answer.text
    by_admin, by_owner = answer.json()
    assert by_admin["actor"].startswith("user:")
    assert [by_admin[name] for name in ("ip_address", "user_agent", "request_id")] == [None, None, None]
    assert by_owner["actor"] == f"user:{person.id}"
    assert by_owner["ip_address"] == "127.0.0.1"


async def test_an_export_and_a_keys_audit_say_the_same_of_one_record(service: Service) -> None:
    """One redaction: what the one hides, the other does not show."""
    person, key = await key_that_an_admin_ended(service)
    exported = (await service.client.get("/v1/me/export", headers=person.bearer)).json()["audit_records"]
    of_key = (await service.client.get(f"/v1/api-keys/{key}/audit", headers=person.bearer)).json()
    by_id = {each["id"]: each for each in exported}
    assert all(by_id[each["id"]] == each for each in of_key if each["id"] in by_id)
    assert ADMIN_AGENT not in str(exported)


async def test_an_administrator_reads_all_of_it(service: Service) -> None:
    """S3-55."""
    person, _ = await key_that_an_admin_ended(service)
    admin = await service.register_admin()
    answer = await service.client.get("/api/auth/admin/audit", params={"user_id": person.id}, headers=admin.bearer)
    assert ADMIN_AGENT in answer.text
