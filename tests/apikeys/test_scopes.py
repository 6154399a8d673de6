"""Scopes: who may grant them, their syntax, and their removal with a role (S0-08, S0-43, S2-30)."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from apikeys.key_support import (
    ADMIN,
    ADMIN_TOKEN,
    KEYS,
    TOKENS,
    get,
    make_key,
    make_token,
    new_name,
    post_key,
    post_token,
    problem,
)
from factories import Person, Service, running
from idp.dev.embedded import EmbeddedPostgres

CONFIG = Path(__file__).parents[2] / "config"
GOOD = {
    "S0's": ["ingest:write", "analytics:read", "alerts:read", "read:all"],
    "S2's": ["read", "write", "delete", "admin"],
    "none": [],
    "with commas": ["read,write", ",", "a,b,c"],
    "every sign that RFC 6749 allows": [chr(sign) for sign in range(0x21, 0x7F) if chr(sign) not in '"\\'],
    "256 characters": ["s" * 256],
    "a hundred": [f"scope-{number}" for number in range(100)],
    "looks like a rule": ["*", "read:*", "idp", "IDP:manage", "xidp:manage"],
}
BAD: dict[str, Any] = {
    "a space": ["read write"],
    "a space alone": [" "],
    "a quotation mark": ['say"so'],
    "a backslash": ["a\\b"],
    "a tab": ["a\tb"],
    "a line break": ["a\nb"],
    "a line break at the end": ["read\n"],
    "NUL": ["a\x00"],
    "DEL": ["a\x7f"],
    "another script": ["чтение"],
    "an umlaut": ["läs"],
    "empty": [""],
    "257 characters": ["s" * 257],
    "101": [f"scope-{number}" for number in range(101)],
    "10,000": [f"scope-{number}" for number in range(10_000)],
    "a text": "read",
    "a number": [1],
    "null": None,
    "an object": {"read": True},
    "a list inside": [["read"]],
}


# --- which names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", GOOD)
async def test_any_name_of_rfc_6749_is_a_scope(keyed: Service, person: Person, what: str) -> None:
    """S0-08 S0-38 S2-30 C-32: free strings, for keys and for service tokens, the same in every answer that follows."""
    scopes = GOOD[what]
    for secret, made in (
        ("secret", await make_key(keyed, person, scopes=scopes)),
        ("token", await make_token(keyed, scopes=scopes)),
    ):
        assert made["scopes"] == scopes
        for _ in range(2):  # from the database, and from memory
            verdict = await keyed.validate(made[secret], required_scopes=scopes)
            assert (verdict["valid"], verdict["scopes"]) == (True, scopes)
    assert (await get(keyed, KEYS, person.bearer))[0]["scopes"] == scopes


@pytest.mark.parametrize("what", BAD)
async def test_an_invalid_scope_is_422(keyed: Service, person: Person, what: str) -> None:
    """C-32: and nothing was made."""
    for answer in (await post_key(keyed, person, scopes=BAD[what]), await post_token(keyed, scopes=BAD[what])):
        assert problem(answer) == (422, "validation_failed")
        assert answer.json()["errors"][0]["loc"][:2] == ["body", "scopes"]
    assert await get(keyed, KEYS, person.bearer) == []


async def test_a_scope_that_stands_twice_is_there_once(keyed: Service, person: Person) -> None:
    assert (await make_key(keyed, person, scopes=["b", "a", "b"]))["scopes"] == ["b", "a"]
    assert (await make_token(keyed, scopes=["b", "a", "b"]))["scopes"] == ["b", "a"]


async def test_a_comma_joins_nothing(keyed: Service) -> None:
    """S2-30: the old cache joined with commas, so that one scope became two."""
    token = (await make_token(keyed, scopes=["read,admin"]))["token"]
    for _ in range(2):
        for scope in ("read", "admin"):
            assert (await keyed.validate(token, required_scopes=[scope]))["error"] == "insufficient_scopes"


async def test_a_key_is_restricted_to_its_scopes(keyed: Service, person: Person) -> None:
    """S0-43 S2-19: least privilege; all that are required must be there, none implies another."""
    secret = (await make_key(keyed, person, scopes=["ingest:write", "admin", "*"]))["secret"]
    for required, missing in (
        (["ingest:write"], None),
        (["ingest:write", "admin"], None),
        (["ingest"], ["ingest"]),
        (["ingest:read"], ["ingest:read"]),
        (["ingest:write", "read", "write"], ["read", "write"]),
    ):
        verdict = await keyed.validate(secret, required_scopes=required)
        assert verdict["detail"] == (f"Missing scopes: {missing}" if missing else None)
        assert verdict["error"] == ("insufficient_scopes" if missing else None)


# --- who may ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["idp:manage", "idp:introspect", "idp:", "idp:anything"])
async def test_no_key_of_a_user_gets_a_reserved_scope(keyed: Service, person: Person, scope: str) -> None:
    """C-09 C-29 S0-43: neither by asking, even as an admin, nor by a row that says so."""
    for someone in (person, await keyed.register_admin()):
        assert problem(await post_key(keyed, someone, scopes=["read", scope])) == (403, "scope_not_grantable")
        made = await make_key(keyed, someone, scopes=["read"])
        await keyed.sql("UPDATE idp.api_keys SET scopes = $2 WHERE user_id = $1", someone.id, ["read", scope])
        assert (await keyed.validate(made["secret"]))["scopes"] == ["read"]
        answer = await keyed.client.get(TOKENS, headers={"X-API-Key": made["secret"]})
        assert answer.status_code == 403


async def test_management_may_grant_the_reserved_scopes_there_are(keyed: Service) -> None:
    """C-09: and a misspelt one is noticed."""
    for scope in ("idp:manage", "idp:introspect"):
        assert (await make_token(keyed, scopes=[scope, "read"]))["scopes"] == [scope, "read"]
    for scope in ("idp:manages", "idp:", "idp:*", "idp:Manage"):
        answer = await post_token(keyed, scopes=["read", scope])
        assert problem(answer) == (422, "validation_failed")
        assert scope in answer.json()["detail"]


async def test_api_key_scopes_is_what_everyone_may_grant(postgres: EmbeddedPostgres) -> None:
    """S0-43: `API_KEY_SCOPES`; all others are refused by name, service tokens are not concerned."""
    environ = {"API_KEY_SCOPES": "ingest:write,analytics:read", "ADMIN_TOKEN": ADMIN_TOKEN}
    async with running(postgres.create_database("grantable"), environ=environ) as service:
        for someone in (await service.register(), await service.register_admin()):
            made = await make_key(service, someone, scopes=["analytics:read", "ingest:write"])
            assert (await service.validate(made["secret"]))["scopes"] == ["analytics:read", "ingest:write"]
            answer = await post_key(service, someone, scopes=["ingest:write", "alerts:read", "*"])
            assert problem(answer) == (403, "scope_not_grantable")
            assert answer.json()["detail"].endswith("alerts:read, *.")
        assert (await make_token(service, scopes=["alerts:read"]))["scopes"] == ["alerts:read"]


# --- by role ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def by_role(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """A deployment whose config/idp.toml gives admins a scope more than everyone."""
    folder = tmp_path_factory.mktemp("by_role") / "config"
    shutil.copytree(CONFIG, folder)
    settings = (folder / "idp.toml").read_text("utf-8")
    assert settings.count("[api_keys.role_scopes]\n") == 1
    changed = settings.replace(
        "[api_keys.role_scopes]\n", '[api_keys.role_scopes]\nadmin = ["analytics:write", "idp:manage"]\n'
    )
    (folder / "idp.toml").write_text(changed.replace('grantable_scopes = ["*"]', 'grantable_scopes = ["read"]'))
    environ = {"IDP_CONFIG_DIR": str(folder), "ADMIN_TOKEN": ADMIN_TOKEN}
    async with running(postgres.create_database("by_role"), environ=environ) as service:
        yield service


async def test_a_role_may_grant_more(by_role: Service) -> None:
    """S0-43: `api_keys.role_scopes`; a reserved scope stays reserved there too."""
    admin, person = await by_role.register_admin(), await by_role.register()
    made = await make_key(by_role, admin, scopes=["read", "analytics:write"])
    assert (await by_role.validate(made["secret"]))["scopes"] == ["read", "analytics:write"]
    assert problem(await post_key(by_role, admin, scopes=["idp:manage"])) == (403, "scope_not_grantable")
    assert problem(await post_key(by_role, person, scopes=["analytics:write"])) == (403, "scope_not_grantable")
    assert (await make_key(by_role, person, scopes=["read"]))["scopes"] == ["read"]


async def test_a_removed_role_removes_its_scopes(by_role: Service) -> None:
    """S0-43: at the next question, in every face; given back, the scope is back."""
    admin = await by_role.register_admin()
    manager = {"Authorization": f"Bearer {(await make_token(by_role, scopes=['idp:introspect']))['token']}"}
    secret = (await make_key(by_role, admin, scopes=["read", "analytics:write"]))["secret"]

    async def scopes() -> list[list[str]]:
        validated = await by_role.validate(secret)
        key = (await by_role.client.post("/internal/validate-key", json={"key": secret})).json()
        introspected = await by_role.client.post("/oauth2/introspect", data={"token": secret}, headers=manager)
        return [validated["scopes"], key["scopes"], introspected.json()["scope"].split()]

    both = ["read", "analytics:write"]
    assert await scopes() == [both] * 3
    await by_role.sql("DELETE FROM idp.user_roles WHERE user_id = $1 AND role = 'admin'", admin.id)
    assert await scopes() == [["read"]] * 3
    refused = await by_role.validate(secret, required_scopes=["analytics:write"])
    assert refused["error"] == "insufficient_scopes"
    await by_role.sql("INSERT INTO idp.user_roles (user_id, role) VALUES ($1, 'admin')", admin.id)
    assert await scopes() == [both] * 3


async def test_a_key_lists_what_it_was_made_with(by_role: Service) -> None:
    """The list shows the key as it was made, the verdict what it may do now."""
    admin = await by_role.register_admin()
    await make_key(by_role, admin, name=new_name(), scopes=["analytics:write"])
    await by_role.sql("DELETE FROM idp.user_roles WHERE user_id = $1 AND role = 'admin'", admin.id)
    assert (await get(by_role, KEYS, admin.bearer))[0]["scopes"] == ["analytics:write"]
    assert (await by_role.client.get(TOKENS, headers=ADMIN)).status_code == 200
