"""A user's own account: PATCH and DELETE /v1/me, GET /v1/me/export."""

import secrets
from typing import Any

import httpx2
import pytest

from factories import PASSWORD, Person, Service

ME, EXPORT = "/v1/me", "/v1/me/export"


def problem(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def edit(service: Service, who: Person, **wanted: Any) -> httpx2.Response:
    return await service.client.patch(ME, json=wanted, headers=who.bearer)


async def leave(service: Service, who: Person, confirm: str | None = None) -> httpx2.Response:
    body = {"confirm": who.email if confirm is None else confirm}
    return await service.client.request("DELETE", ME, json=body, headers=who.bearer)


async def exported(service: Service, who: Person) -> dict[str, Any]:
    answer = await service.client.get(EXPORT, headers=who.bearer)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def make_key(service: Service, who: Person) -> dict[str, Any]:
    body = {"name": "laptop", "scopes": ["read"]}
    answer = await service.client.post("/v1/api-keys", json=body, headers=who.bearer)
    assert answer.status_code == 201, answer.text
    return answer.json()


# --- PATCH -----------------------------------------------------------------------------------------------------------


async def test_a_person_changes_their_name_and_picture(service: Service) -> None:
    """The answer is that of GET /v1/me, and every face of the verdict shows it at once."""
    person = await service.register(name="Before")
    picture = "https://images.example.com:8443/a/b.png?size=1&x=%20#top"
    answer = await edit(service, person, name="After", avatar_url=picture)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == (await service.client.get(ME, headers=person.bearer)).json()
    assert (answer.json()["name"], answer.json()["avatar_url"]) == ("After", picture)
    assert (await service.validate(person.token))["user"]["name"] == "After"
    assert (await service.me(person.bearer)).json()["avatar_url"] == picture

    assert (await edit(service, person, avatar_url=None)).json()["avatar_url"] is None
    assert (await edit(service, person)).json()["name"] == "After"
    rows = await service.sql(
        "SELECT actor, details->'name' AS name, details->'avatar_url' AS picture FROM idp.audit_logs"
        " WHERE user_id = $1 AND action = 'user.changed' ORDER BY timestamp",
        person.id,
    )
    assert [(row["actor"], row["name"], row["picture"]) for row in rows] == [
        (f"user:{person.id}", '["Before", "After"]', f'[null, "{picture}"]'),
        (f"user:{person.id}", None, f'["{picture}", null]'),
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"nmae": "x"}, {"email": "x@example.com"}, {"role": "admin"}, {"name": ""}, {"name": None}, {"name": "a\nb"},
        {"name": "x" * 201}, {"avatar_url": "http://example.com/a.png"}, {"avatar_url": "javascript:alert(1)"},
        {"avatar_url": "https://user:pw@example.com/"}, {"avatar_url": "https://example.com/\"onload=x"},
        {"avatar_url": "https://example.com/a b"}, {"avatar_url": "https://example.com/\n"}, {"avatar_url": ""},
        {"avatar_url": "https://"}, {"avatar_url": f"https://example.com/{'x' * 2048}"}, {"avatar_url": 1}, [], None,
    ],
)  # fmt: skip
async def test_a_change_that_does_not_fit_is_refused_whole(service: Service, body: Any) -> None:
    """C-16: unknown members too; address and role cannot be changed here."""
    person = await service.register(name="Before")
    sent = {"name": "After", **body} if isinstance(body, dict) else body
    answer = await service.client.patch(ME, json=sent, headers=person.bearer)
    assert problem(answer) == (422, "validation_failed")
    assert (await service.me(person.bearer)).json()["name"] == "Before"


# --- export ----------------------------------------------------------------------------------------------------------


async def test_an_export_has_everything_about_a_person_and_no_secret(service: Service) -> None:
    person, other = await service.register(), await service.register()
    admin = await service.register_admin()
    key = await make_key(service, person)
    await service.client.post("/auth/login", json={"email": person.email, "password": PASSWORD})
    await service.client.patch(
        f"/api/auth/admin/users/{person.id}",
        json={"plan": "PRO"},
        headers={**admin.bearer, "User-Agent": "the admin's own"},
    )
    await service.sql(
        "INSERT INTO idp.identities (id, user_id, provider, subject, created_at)"
        " VALUES (gen_random_uuid(), $1, 'https://issuer.example', $2, now())",
        person.id,
        f"subject-{person.id}",
    )
    answer = await service.client.get(EXPORT, headers=person.bearer)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-disposition"].startswith('attachment; filename="idp-export-2')
    assert answer.headers["cache-control"] == "no-store"
    found = answer.json()
    assert list(found) == ["exported_at", "profile", "identities", "api_keys", "sessions", "audit_records"]
    assert (found["profile"]["id"], found["profile"]["email"]) == (person.id, person.email)
    assert (found["profile"]["plan"], found["profile"]["roles"]) == ("PRO", ["user"])
    assert [team["name"] for team in found["profile"]["teams"]] == ["General"]
    assert len(found["profile"]["domains"]) == 1
    assert [each["subject"] for each in found["identities"]] == [f"subject-{person.id}"]
    assert [(each["key_id"], each["is_revoked"]) for each in found["api_keys"]] == [(key["key_id"], False)]
    assert len(found["sessions"]) == 2
    assert set(found["sessions"][0]) == {
        "id", "created_at", "last_seen_at", "device_info", "user_agent", "ip_address", "amr", "ended_at",
        "ended_reason", "actor_id", "actor_reason", "apps",
    }  # fmt: skip
    actions = {each["action"]: each for each in found["audit_records"]}
    assert {"user.changed", "user.signed_in", "api_key.created"} <= set(actions)
    assert {each["user_id"] for each in found["audit_records"]} == {person.id}
    assert actions["user.changed"]["actor"] == f"user:{admin.id}"
    assert actions["user.changed"]["user_agent"] is None, "where the administrator was is theirs"
    assert actions["api_key.created"]["ip_address"] == "127.0.0.1"
    hashes = await service.sql("SELECT password_hash FROM idp.users WHERE id = $1", person.id)
    digests = await service.sql("SELECT digest FROM idp.api_keys WHERE user_id = $1", person.id)
    for hidden in (key["secret"], hashes[0]["password_hash"], digests[0]["digest"], other.id, other.email, "argon2"):
        assert hidden not in answer.text


async def test_an_export_has_all_audit_records_however_many(service: Service) -> None:
    """Written in pieces, none twice."""
    person = await service.register()
    await service.sql(
        "INSERT INTO idp.audit_logs (id, timestamp, action, actor, user_id, details) SELECT gen_random_uuid(),"
        " now() - n / 3 * interval '1 minute', 'test.' || n, 'system', $1, '{}' FROM generate_series(1, 2500) n",
        person.id,
    )
    actions = [each["action"] for each in (await exported(service, person))["audit_records"]]
    assert {f"test.{n}" for n in range(1, 2501)} <= set(actions)
    assert len(actions) == len(set(actions))


# --- DELETE ----------------------------------------------------------------------------------------------------------


async def test_a_person_deletes_their_account(service: Service) -> None:
    """Every credential is refused at once, and the address is free."""
    person = await service.register()
    key = await make_key(service, person)
    gone = await leave(service, person)
    ended = {"revoked_keys": 1, "ended_sessions": 1}
    assert (gone.status_code, gone.json()) == (200, {"success": True, "user_id": person.id, **ended})
    assert (await service.validate(person.token))["valid"] is False
    assert (await service.validate(key["secret"]))["error"] == "token_revoked"
    assert (await service.me(person.bearer)).status_code == 401
    login = {"email": person.email, "password": PASSWORD}
    assert problem(await service.client.post("/auth/login", json=login)) == (401, "invalid_credentials")
    (row,) = await service.sql(
        "SELECT actor FROM idp.audit_logs WHERE user_id = $1 AND action = 'user.deleted'", person.id
    )
    assert row["actor"] == f"user:{person.id}"
    assert (await service.register(email=person.email)).id != person.id


async def test_deleting_wants_the_address_in_any_spelling(service: Service) -> None:
    person = await service.register()
    other = await service.register()
    for wrong in ("", "yes", other.email, person.id, person.email.partition("@")[0]):
        assert problem(await leave(service, person, wrong)) == (422, "validation_failed"), wrong
    for body in ({}, {"confirm": None}, {"confirm": person.email, "sure": True}, [], None):
        answer = await service.client.request("DELETE", ME, json=body, headers=person.bearer)
        assert problem(answer) == (422, "validation_failed"), body
    assert problem(await service.client.delete(ME, headers=person.bearer)) == (422, "validation_failed")
    assert (await service.me(person.bearer)).status_code == 200
    assert (await leave(service, person, person.email.upper())).status_code == 200


async def test_a_user_without_an_address_confirms_with_their_id(service: Service) -> None:
    person = await service.register()
    await service.sql("UPDATE idp.users SET email = NULL, email_key = NULL WHERE id = $1", person.id)
    assert problem(await leave(service, person, "")) == (422, "validation_failed")
    assert (await leave(service, person, person.id)).status_code == 200


# --- who may, and how the path looks ---------------------------------------------------------------------------------


async def test_keys_and_services_may_not(production: Service) -> None:
    """C-29: a machine reads who its user is, and nothing more; it changes, takes and ends nothing."""
    person = await production.register()
    key = {"X-API-Key": (await make_key(production, person))["secret"]}
    for method, path in (("PATCH", ME), ("DELETE", ME), ("GET", EXPORT)):
        body = {"confirm": person.email} if method == "DELETE" else {}
        answer = await production.client.request(method, path, json=body, headers=key)
        assert problem(answer) == (403, "credential_not_accepted"), method
    assert (await production.client.get(ME, headers=key)).status_code == 200


async def test_the_path_allows_all_three_methods(service: Service) -> None:
    """RFC 9110 section 10.2.1: although two modules serve them."""
    options = await service.client.options(ME)
    assert set(options.headers["allow"].split(", ")) >= {"DELETE", "GET", "OPTIONS", "PATCH"}
    refused = await service.client.put(ME, json={})
    assert refused.status_code == 405
    assert set(refused.headers["allow"].split(", ")) >= {"DELETE", "GET", "PATCH"}


# --- S4's test endpoints ---------------------------------------------------------------------------------------------


async def test_the_public_endpoint_answers_anyone(service: Service) -> None:
    """S4-15."""
    answer = await service.client.get("/api/auth/test/public", headers={"Authorization": "Bearer rubbish"})
    assert answer.status_code == 200
    said = answer.json()
    assert list(said) == ["message", "timestamp", "status"]
    assert said["timestamp"].endswith("Z")
    assert said["message"] == "This is a public endpoint - no authentication required"
    assert said["status"] == "public"


async def test_the_protected_endpoint_greets_the_signed_in_user(service: Service) -> None:
    """S4-22."""
    person = await service.register()
    answer = await service.client.get("/api/auth/test/protected", headers=person.bearer)
    assert answer.status_code == 200
    said = answer.json()
    assert said == {
        "message": f"Hello {person.email}! This endpoint requires authentication.",
        "user_id": person.id,
        "timestamp": said["timestamp"],
        "status": "authenticated",
    }
    for headers in ({}, {"Authorization": f"Bearer {secrets.token_urlsafe(20)}"}):
        assert (await service.client.get("/api/auth/test/protected", headers=headers)).status_code == 401
