"""A misspelt member of a body is 422 with "did you mean" (C-16)."""

import secrets
import string
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import PASSWORD, Person, Service, running
from idp.dev.embedded import EmbeddedPostgres
from idp.ops.misspelt_members import check_members, struct_of

ADMIN_TOKEN = secrets.token_urlsafe(32)


def bodies(service: Service) -> dict[str, type[msgspec.Struct]]:
    """Return the struct of every body of the application, by route."""
    found = {}
    for route in service.app.routes:
        for handler in getattr(route, "route_handlers", ()):
            field = getattr(handler, "parsed_data_field", None)
            if field is not None and (struct := struct_of(field.annotation)) is not None:
                found[f"{sorted(handler.http_methods)} {route.path}"] = struct
    return found


def camel(name: str) -> str:
    first, *more = name.split("_")
    return first + "".join(map(str.capitalize, more))


@st.composite
def misspelt(draw: st.DrawFn, name: str) -> str:
    """Return a near miss: another case or style, singular and plural, one letter, or two of a longer name."""
    kind = draw(st.sampled_from(["upper", "camel", "kebab", "plural", "singular", "letters"]))
    if kind == "letters":
        letters = len(name.replace("_", ""))
        former = -9
        for _ in range(draw(st.integers(1, 2 if letters >= 6 else 1))):
            place, letter = draw(st.integers(0, len(name) - 1)), draw(st.sampled_from(string.ascii_lowercase))
            if abs(place - former) <= 2:
                break  # two changes of the same letters may be more than two mistakes
            former = place
            change = draw(st.sampled_from(["exchange", "add", "leave out", "swap"]))
            name = {
                "exchange": name[:place] + letter + name[place + 1 :],
                "add": name[:place] + letter + name[place:],
                "leave out": name[:place] + name[place + 1 :],
                "swap": name[:place] + name[place : place + 2][::-1] + name[place + 2 :],
            }[change]
        return name
    plural = name if name.endswith("s") else f"{name}s"
    singular = name.removesuffix("s")
    styles = {"upper": name.upper(), "camel": camel(name), "kebab": name.replace("_", "-")}
    return (styles | {"plural": plural, "singular": singular})[kind]


@given(st.data())
def test_every_near_miss_of_every_body_is_reported(service: Service, data: st.DataObject) -> None:
    """The kind: over every struct and every member of it, beside all that is required."""
    struct = data.draw(st.sampled_from(sorted(bodies(service).values(), key=lambda each: each.__name__)))
    fields = {each.encode_name: each for each in msgspec.structs.fields(struct)}
    wanted = data.draw(st.sampled_from(sorted(fields)))
    wrong = data.draw(misspelt(wanted))
    if wrong in fields or (len(wanted.replace("_", "")) < 4 and wrong.replace("_", "").lower() != wanted):
        return  # it is another member, or too short for a letter to be a slip
    sent = {name: 1 for name, field in fields.items() if field.required and name != wanted} | {wrong: 1}
    entries = check_members(sent, struct)
    assert any(entry.loc == ["body", wrong] and entry.type == "unknown_member" for entry in entries), entries
    assert f"did you mean `{wanted}`?" in " ".join(entry.msg for entry in entries) or len(fields) > 1
    if fields[wanted].required:
        (missing,) = [entry for entry in entries if entry.loc == ["body", wanted]]
        assert missing.type == "missing"


@given(st.data())
def test_other_unknown_members_are_ignored_where_they_always_were(service: Service, data: st.DataObject) -> None:
    """C-16: old clients send some."""
    old = {route: each for route, each in bodies(service).items() if not each.__struct_config__.forbid_unknown_fields}
    struct = data.draw(st.sampled_from(sorted(old.values(), key=lambda each: each.__name__)))
    fields = msgspec.structs.fields(struct)
    unknown = data.draw(st.sampled_from(["kind", "x", "user", "locale", "client_version", "csrf", "_", "", "\u4f60"]))
    assert check_members({each.encode_name: 1 for each in fields} | {unknown: 1}, struct) == []


# What the old documents and clients send (S0-16, S0-28, S2-16, S2-20, S2-23, S2-24, S3-23, S3-27, S4-09 to S4-19).
DOCUMENTED: dict[str, list[set[str]]] = {
    "/v1/api-keys": [{"name", "scopes", "expires_in_days"}],
    "/internal/validate-key": [{"key"}],
    "/auth/validate": [{"token", "required_scopes", "service_name", "action_name"}, {"token"}],
    "/auth/tokens": [{"name", "scopes", "ttl_days", "metadata"}],
    "/auth/register": [{"email", "password", "name"}],
    "/auth/login": [{"email", "password"}],
    "/api/auth/email/register": [{"email", "password", "device_info"}],
    "/api/auth/login": [{"email", "password", "remember_me", "device_info"}],
    "/api/auth/password/reset/request": [{"email"}],
    "/api/auth/password/reset/confirm": [{"token", "new_password"}],
    "/api/auth/email/verify": [{"token", "device_info"}],
    "/api/auth/logout": [{"refresh_token"}],
    "/api/auth/refresh": [{"refresh_token"}],
}


def test_no_documented_member_of_an_old_client_is_hit(service: Service) -> None:
    """C-16: none of them is taken for a misspelling of another."""
    structs = {route.split()[-1]: struct for route, struct in bodies(service).items() if "POST" in route}
    for path, documented in DOCUMENTED.items():
        for names in documented:
            assert check_members(dict.fromkeys(names, 1), structs[path]) == [], path


@pytest.fixture(scope="module")
async def managed(postgres: EmbeddedPostgres) -> Any:
    environ = {"ADMIN_TOKEN": ADMIN_TOKEN}
    async with running(postgres.create_database("misspelt"), environ=environ) as service:
        yield service


LOGIN = {"email": "{email}", "password": PASSWORD}
KEY, TOKEN = {"name": "k", "scopes": ["read"]}, {"name": "t", "scopes": ["read"]}
SLIPS: list[tuple[str, dict[str, Any], str, str]] = [
    ("/auth/validate", {"token": "x", "required_scope": ["admin"]}, "required_scope", "required_scopes"),
    ("/auth/validate", {"token": "x", "requiredScopes": ["admin"]}, "requiredScopes", "required_scopes"),
    ("/auth/validate", {"token": "x", "scopes": ["admin"]}, "scopes", "required_scopes"),
    ("/auth/validate", {"token": "x", "scope": "admin"}, "scope", "required_scopes"),
    ("/auth/validate", {"Token": "x"}, "Token", "token"),
    ("/internal/validate-key", {"Key": "x"}, "Key", "key"),
    ("/internal/validate-key", {"api_key": "x"}, "api_key", "key"),
    ("/v1/api-keys", KEY | {"expires_in_day": 90}, "expires_in_day", "expires_in_days"),
    ("/v1/api-keys", KEY | {"ttl_days": 90}, "ttl_days", "expires_in_days"),
    ("/v1/api-keys", KEY | {"ttl": 90}, "ttl", "expires_in_days"),
    ("/v1/api-keys", KEY | {"expires_in": 90}, "expires_in", "expires_in_days"),
    ("/v1/api-keys", KEY | {"expiresInDays": 90}, "expiresInDays", "expires_in_days"),
    ("/auth/tokens", TOKEN | {"ttl": 30}, "ttl", "ttl_days"),
    ("/auth/tokens", TOKEN | {"expires_in_days": 30}, "expires_in_days", "ttl_days"),
    ("/auth/tokens", TOKEN | {"ttlDays": 30}, "ttlDays", "ttl_days"),
    ("/auth/tokens", TOKEN | {"TTL_DAYS": 30}, "TTL_DAYS", "ttl_days"),
    ("/auth/login", LOGIN | {"rememberMe": True}, "rememberMe", "remember_me"),
    ("/api/auth/login", LOGIN | {"remember": True}, "remember", "remember_me"),
    ("/auth/logout", {"refreshToken": "rt_" + "x" * 43}, "refreshToken", "refresh_token"),
    ("/auth/logout", {"token": "rt_" + "x" * 43}, "token", "refresh_token"),
    ("/auth/tokens", TOKEN | {"expires_in_day": 30}, "expires_in_day", "ttl_days"),
    ("/auth/tokens", TOKEN | {"valid_until": "2027-01-01"}, "valid_until", "ttl_days"),
    ("/auth/tokens", TOKEN | {"expirationDate": "2027-01-01"}, "expirationDate", "ttl_days"),
    ("/v1/api-keys", KEY | {"not_after": "2027-01-01"}, "not_after", "expires_in_days"),
    ("/v1/api-keys", KEY | {"ttl_hours": 8}, "ttl_hours", "expires_in_days"),
    ("/auth/validate", {"token": "x", "required_roles": ["admin"]}, "required_roles", "required_scopes"),
    ("/auth/validate", {"token": "x", "scopesRequired": ["admin"]}, "scopesRequired", "required_scopes"),
    ("/auth/validate", {"token": "x", "needed_permissions": ["a"]}, "needed_permissions", "required_scopes"),
    ("/auth/login", LOGIN | {"persistSession": True}, "persistSession", "remember_me"),
]


@pytest.mark.parametrize(("path", "body", "sent", "meant"), SLIPS, ids=lambda each: str(each)[:40])
async def test_a_misspelt_member_is_422_and_names_the_likely_one(
    managed: Service, path: str, body: dict[str, Any], sent: str, meant: str
) -> None:
    """Neither `valid: true` nor a key for ever."""
    person = await managed.register()
    body = {name: person.email if value == "{email}" else value for name, value in body.items()}
    bearer = {"Authorization": f"Bearer {ADMIN_TOKEN}"} if path == "/auth/tokens" else person.bearer
    answer = await managed.client.post(path, json=body, headers=bearer)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "validation_failed"), answer.text
    assert f"did you mean `{meant}`?" in problem["detail"]
    assert sent in problem["detail"]
    assert {"loc": ["body", sent], "msg": f"Unknown member; did you mean `{meant}`?", "type": "unknown_member"} in (
        problem["errors"]
    )


@pytest.fixture
async def person(service: Service) -> Person:
    return await service.register()


async def test_a_misspelt_required_member_is_named_with_what_was_sent(service: Service) -> None:
    """The missing and the unknown one together, on old paths and on new ones."""
    answer = await service.client.post("/auth/login", json={"emial": "a@example.com", "password": "x"})
    problem = answer.json()
    assert answer.status_code == 422
    assert "body.email: This member is required; `emial` was sent: did you mean `email`?" in problem["detail"]
    assert [entry["loc"] for entry in problem["errors"]] == [["body", "email"], ["body", "emial"]]
    admin = await service.register_admin()
    answer = await service.client.post("/teams", json={"title": "x"}, headers=admin.bearer)
    assert "`title` was sent: did you mean `name`?" in answer.json()["detail"]
    answer = await service.client.post("/teams", json={"colour": "x"}, headers=admin.bearer)
    assert "sent and unknown: `colour`" in answer.json()["detail"]


async def test_new_paths_refuse_what_they_do_not_know_as_before(service: Service) -> None:
    """C-16."""
    admin = await service.register_admin()
    body = {"name": secrets.token_hex(4), "colour": "blue"}
    answer = await service.client.post("/teams", json=body, headers=admin.bearer)
    assert (answer.status_code, answer.json()["errors"][0]["type"]) == (422, "unknown_member")


async def test_many_unknown_members_cost_little(service: Service, person: Person) -> None:
    """A body at its limit, full of names that look like a member, is answered soon."""
    many = {f"scope{number:05}": 1 for number in range(4000)}
    began = time.perf_counter()
    answer = await service.client.post("/auth/validate", json={"token": person.token, **many})
    assert answer.status_code in {200, 413, 422}
    assert time.perf_counter() - began < 1
