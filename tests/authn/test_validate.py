"""POST /auth/validate: a superset of two old responses, every code, the same verdict as "me" (C-01, rule 3)."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from msgspec import Struct, json

from factories import Person, Service, running
from idp.dev.embedded import EmbeddedPostgres
from idp.signing.jwt import Family, TokenUser
from signing.forgery import Forge, compact, hs

ADMIN_TOKEN = secrets.token_urlsafe(40)
SECRET = secrets.token_urlsafe(40)
KEYS = {"valid", "kind", "scopes", "token_id", "name", "client_id", "user", "expires_at", "error", "detail"}
USER_KEYS = {"id", "email", "email_verified", "name", "avatar_url", "created_at", "teams", "domains", "roles"}
EMPTY = {"scopes": [], **dict.fromkeys(("token_id", "name", "client_id", "user", "expires_at", "kind"))}


@pytest.fixture(scope="module")
async def validator(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    """A deployment that accepts every kind of credential there is now."""
    environ = {"ADMIN_TOKEN": ADMIN_TOKEN, "AUTH_JWT_SECRET_KEY": SECRET, "AUTH_JWT_ALGORITHM": "ES256"}
    environ["IDP_TOKENS__ACCEPT_LEGACY"] = "true"
    async with running(postgres.create_database("validator"), environ=environ) as service:
        yield service


async def issue(service: Service, person: Person, **options: Any) -> str:
    about = TokenUser(id=person.id, email=person.email, email_verified=False)
    return (await service.app.core.tokens.issue(about, Family.AUTH, **options)).token


# --- the shape -------------------------------------------------------------------------------------------------------


async def test_a_good_token_gets_the_whole_superset(validator: Service) -> None:
    """C-01 S3-29: every key is there; the user is as register and login show them."""
    person = await validator.register()
    verdict = await validator.validate(person.token)
    assert set(verdict) == KEYS
    assert (verdict["valid"], verdict["kind"]) == (True, "user")
    assert (verdict["error"], verdict["detail"], verdict["name"]) == (None, None, None)
    assert set(verdict["user"]) == USER_KEYS
    assert verdict["user"] == person.user
    assert [team["name"] for team in verdict["user"]["teams"]] == ["General"]
    assert [domain["key"] for domain in verdict["user"]["domains"]] == ["engineering"]
    assert verdict["scopes"] == ["openid", "profile", "email"]
    assert verdict["token_id"]
    expires = datetime.fromisoformat(verdict["expires_at"])
    assert timedelta(minutes=29) < expires - datetime.now(UTC) <= timedelta(minutes=30)
    assert verdict["expires_at"].endswith("Z"), "RFC 3339 in UTC"


async def test_a_bad_token_gets_the_same_keys_and_nothing_in_them(validator: Service) -> None:
    """C-01 S2-18 S3-29: `user` is null and `scopes` is a list, so that neither old client falls over."""
    verdict = await validator.validate("rubbish")
    assert set(verdict) == KEYS
    assert {key: verdict[key] for key in EMPTY} == EMPTY
    assert verdict["valid"] is False
    assert verdict["error"] == "token_not_found"
    assert verdict["detail"] == "Invalid token"


async def test_a_service_credential_has_a_name_and_no_user(validator: Service) -> None:
    """C-01 C-09: ADMIN_TOKEN is a service's, and never ends."""
    verdict = await validator.validate(ADMIN_TOKEN)
    assert verdict == {
        "valid": True,
        "kind": "service_token",
        "scopes": ["idp:manage"],
        "token_id": "admin-token",
        "name": "ADMIN_TOKEN",
        "client_id": None,
        "user": None,
        "expires_at": None,
        "error": None,
        "detail": None,
    }


async def test_the_callers_own_credential_does_not_count(validator: Service) -> None:
    """C-01: who asks does not lend the token anything; the route looks at no header."""
    person = await validator.register()
    for headers in (person.bearer, {"X-API-Key": ADMIN_TOKEN}, {"X-User-Email": person.email}):
        answer = await validator.client.post("/auth/validate", json={"token": "rubbish"}, headers=headers)
        assert (answer.status_code, answer.json()["valid"]) == (200, False)


# --- the old clients, word for word ----------------------------------------------------------------------------------


async def test_s3s_documented_call_works_verbatim(validator: Service) -> None:
    """S3-28 S3-29 S3-38: `requests.post(".../auth/validate", json={"token": t}, timeout=5)`, then three keys."""
    person = await validator.register()

    def validate_token(t: str) -> Any:
        response = httpx2.post(f"{validator.base_url}/auth/validate", json={"token": t}, timeout=5)
        data = response.json()
        if data["valid"]:
            return data["user"]
        raise PermissionError(data["error"])

    user = await asyncio.to_thread(validate_token, person.token)
    assert {key: user[key] for key in ("id", "email", "name")} == {
        "id": person.id,
        "email": person.email,
        "name": "Pat Person",
    }
    assert user["teams"][0].keys() >= {"id", "name", "external_ref", "is_active"}
    assert user["domains"][0].keys() >= {"id", "key", "name", "parent_domain_id", "is_active"}
    with pytest.raises(PermissionError, match="token_invalid"):
        await asyncio.to_thread(validate_token, person.token + "x")


class S2Result(Struct):
    """S2's client model: `scopes` must be a list, the rest may be missing or null, extras are ignored (S2-17)."""

    valid: bool
    scopes: list[str]
    token_id: str | None = None
    name: str | None = None
    error: str | None = None
    detail: str | None = None


async def test_s2s_client_call_works_verbatim(validator: Service) -> None:
    """S2-15 S2-16 S2-17: it sends `service_name` and `action_name`, possibly null, and reads a model."""
    person = await validator.register()
    for name, action in ((None, None), ("ingestion", "write"), ("ingestion", None)):
        body = {"token": person.token, "required_scopes": [], "service_name": name, "action_name": action}
        answer = await validator.client.post("/auth/validate", json=body)
        result = json.decode(answer.content, type=S2Result)
        assert (answer.status_code, result.valid, result.error) == (200, True, None)
    refused = await validator.client.post("/auth/validate", json={"token": "sk_live_nothing", "required_scopes": []})
    result = json.decode(refused.content, type=S2Result)
    assert (refused.status_code, result.valid, result.scopes) == (200, False, [])
    assert (result.error, result.detail) == ("token_not_found", "Invalid token")


async def test_unknown_members_are_ignored(validator: Service) -> None:
    """S2-16 C-16: old clients send some."""
    person = await validator.register()
    more = {"kind": "api_key", "user": {"id": "root"}, "valid": True, "x": [1], "service": None}
    verdict = await validator.validate(person.token, **more)
    assert (verdict["valid"], verdict["kind"], verdict["user"]["id"]) == (True, "user", person.id)


# --- scopes ----------------------------------------------------------------------------------------------------------


async def test_all_required_scopes_must_be_held(validator: Service) -> None:
    """S2-19: plain membership, no wildcard, no hierarchy; the answer names what is missing."""
    person = await validator.register()
    for held in ([], ["openid"], ["email", "openid"], ["openid", "openid"]):
        assert (await validator.validate(person.token, required_scopes=held))["valid"] is True
    for required, missing in (
        (["read"], ["read"]),
        (["openid", "write", "read"], ["write", "read"]),
        (["*"], ["*"]),
        (["open"], ["open"]),
        (["OPENID"], ["OPENID"]),
        (["openid profile"], ["openid profile"]),
        ([""], [""]),
    ):
        verdict = await validator.validate(person.token, required_scopes=required)
        assert {key: verdict[key] for key in EMPTY} == EMPTY
        assert (verdict["valid"], verdict["error"]) == (False, "insufficient_scopes")
        assert verdict["detail"] == f"Missing scopes: {missing}"


async def test_a_managers_scope_implies_no_other(validator: Service) -> None:
    """S2-19: `admin` implies nothing, and neither does `idp:manage`."""
    assert (await validator.validate(ADMIN_TOKEN, required_scopes=["idp:manage"]))["valid"] is True
    for scope in ("read", "admin", "idp", "idp:*", "openid"):
        verdict = await validator.validate(ADMIN_TOKEN, required_scopes=[scope])
        assert verdict["error"] == "insufficient_scopes"


async def test_a_bad_token_is_bad_whatever_scopes_are_asked_for(validator: Service) -> None:
    """The credential is verified first: an invalid token reveals nothing about scopes."""
    person = await validator.register()
    verdict = await validator.validate(person.token + "x", required_scopes=["read"])
    assert verdict["error"] == "token_invalid"


# --- every code ------------------------------------------------------------------------------------------------------


async def test_every_code_that_can_be_reached_now(validator: Service) -> None:
    """S2-18 C-01: `token_revoked` waits for credentials that can be revoked one by one."""
    person, gone, deleted = [await validator.register() for _ in range(3)]
    await validator.sql("UPDATE idp.users SET is_active = false WHERE id = $1", gone.id)
    await validator.sql("UPDATE idp.users SET deleted_at = now() WHERE id = $1", deleted.id)
    forge = await Forge.of(validator, person)
    expected = {
        "": ("token_not_found", "Invalid token"),
        "rubbish": ("token_not_found", "Invalid token"),
        "amp_live_" + "x" * 43: ("token_not_found", "Invalid token"),
        "a.b": ("token_not_found", "Invalid token"),
        "a.b.c": ("token_invalid", "Invalid token"),
        person.token + "x": ("token_invalid", "Invalid token"),
        forge.token(claims=forge.claims(iss="https://other.example.com")): ("token_invalid", "Invalid token"),
        forge.token(claims=forge.claims(aud="https://other.example.com")): ("token_invalid", "Invalid token"),
        forge.token(claims=forge.claims(sub="nobody", uid="nobody")): ("token_not_found", "Invalid token"),
        await issue(validator, person, life=timedelta(seconds=-1)): ("token_expired", "Token expired"),
        gone.token: ("user_inactive", "User account is inactive"),
        deleted.token: ("user_inactive", "User account is inactive"),
    }
    for token, (code, detail) in expected.items():
        verdict = await validator.validate(token)
        assert (verdict["valid"], verdict["error"], verdict["detail"]) == (False, code, detail), token
    assert (await validator.validate(person.token, required_scopes=["x"]))["error"] == "insufficient_scopes"


async def test_disabling_and_enabling_a_user_affects_the_next_request(validator: Service) -> None:
    """SEC-19: disabling is not delayed by anything, and neither is enabling."""
    person = await validator.register()
    for active in (False, True, False, True):
        await validator.sql("UPDATE idp.users SET is_active = $2 WHERE id = $1", person.id, active)
        assert (await validator.validate(person.token))["valid"] is active


async def test_roles_teams_and_domains_are_those_of_now(validator: Service) -> None:
    """C-15: a verdict says what the user is, not what they were when the token was made."""
    person = await validator.register()
    await validator.sql("INSERT INTO idp.user_roles (user_id, role) VALUES ($1, 'admin')", person.id)
    await validator.sql("DELETE FROM idp.team_memberships WHERE user_id = $1", person.id)
    user = (await validator.validate(person.token))["user"]
    assert (user["roles"], user["teams"]) == (["admin", "user"], [])


# --- what is no question at all --------------------------------------------------------------------------------------

MALFORMED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "validation_failed"),
    "not JSON": (b"token=abc", "malformed_json"),
    "cut off": (b'{"token":"abc"', "malformed_json"),
    "not UTF-8": (b'{"token":"\xff"}', "malformed_json"),
    "half a sign": (b'{"token":"\\ud800"}', "malformed_json"),
    "something after it": (b'{"token":"abc"}{}', "malformed_json"),
    "an array": (b"[]", "validation_failed"),
    "null": (b"null", "validation_failed"),
    "a text": (b'"abc"', "validation_failed"),
    "no token": (b"{}", "validation_failed"),
    "token null": (b'{"token":null}', "validation_failed"),
    "token a number": (b'{"token":1}', "validation_failed"),
    "token a list": (b'{"token":["a"]}', "validation_failed"),
    "scopes a text": (b'{"token":"a","required_scopes":"read"}', "validation_failed"),
    "scopes null": (b'{"token":"a","required_scopes":null}', "validation_failed"),
    "a scope that is a number": (b'{"token":"a","required_scopes":[1]}', "validation_failed"),
    "service_name a number": (b'{"token":"a","service_name":1}', "validation_failed"),
    "a token of 100001 characters": (b'{"token":"' + b"a" * 100_001 + b'"}', "validation_failed"),
    "too many scopes": (b'{"token":"a","required_scopes":[' + b'"a",' * 1000 + b'"a"]}', "validation_failed"),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_malformed_body_is_422_with_the_place(validator: Service, name: str) -> None:
    """C-01 C-16: a question that cannot be read has no verdict; and `valid:false` would be one."""
    body, code = MALFORMED[name]
    answer = await validator.client.post("/auth/validate", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert answer.json()["errors"][0].keys() >= {"loc", "msg", "type"}
    assert "valid" not in answer.json()


async def test_a_form_is_not_json(validator: Service) -> None:
    answer = await validator.client.post("/auth/validate", data={"token": "a"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


# --- the database is away --------------------------------------------------------------------------------------------


async def test_without_a_database_it_is_503_and_never_invalid(tmp_path: Path) -> None:
    """C-01 rule 1: the response says that nothing was decided, for a valid token and for an unknown one."""
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        async with running(server.url) as service:
            person = await service.register()
            forge = await Forge.of(service, person)
            nobody = forge.token(claims=forge.claims(sub="nobody", uid="nobody"))
            server.stop()
            for token in (person.token, nobody):
                answer = await service.client.post("/auth/validate", json={"token": token})
                assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
                assert answer.headers["Retry-After"] == "1"
                assert "valid" not in answer.json()
            assert (await service.validate("rubbish"))["valid"] is False, "this needs nobody to decide"
            server.start()
            assert (await service.validate(person.token))["valid"] is True


# --- one decision, two faces -----------------------------------------------------------------------------------------

Credential = Callable[[Service, Person, Forge], str]


def hs256(claims: dict[str, Any], secret: str = SECRET) -> str:
    return compact({"alg": "HS256", "typ": "JWT"}, {"exp": int(time.time()) + 60} | claims, hs(secret.encode()))


CREDENTIALS: dict[str, Credential] = {
    "at+jwt": lambda _s, p, _f: p.token,
    "at+jwt by hand": lambda _s, _p, f: f.token(),
    "HS256": lambda _s, p, _f: hs256({"sub": p.email, "uid": p.id, "jti": "j"}),
    "S3's own": lambda _s, p, _f: hs256({"sub": p.email}),
    "S4's own": lambda _s, p, _f: hs256({"sub": p.id, "type": "access"}),
    "ADMIN_TOKEN": lambda _s, _p, _f: ADMIN_TOKEN,
    "ADMIN_TOKEN and a letter": lambda _s, _p, _f: ADMIN_TOKEN + "x",
    "nothing": lambda _s, _p, _f: "",
    "rubbish": lambda _s, _p, _f: "rubbish",
    "three parts": lambda _s, _p, _f: "a.b.c",
    "bad signature": lambda _s, _p, f: f.token(sign=lambda _: bytes(64)),
    "unknown key": lambda _s, _p, f: f.token(header=f.header(kid="unknown")),
    "expired": lambda _s, _p, f: f.token(claims=f.claims(exp=1)),
    "HS256 expired": lambda _s, p, _f: hs256({"sub": p.email, "exp": 1}),
    "HS256 of another": lambda _s, p, _f: hs256({"sub": p.email}, "x" * 40),
    "HS256 refresh": lambda _s, p, _f: hs256({"sub": p.id, "type": "refresh"}),
    "another issuer": lambda _s, _p, f: f.token(claims=f.claims(iss="https://other.example.com")),
    "another audience": lambda _s, _p, f: f.token(claims=f.claims(aud="https://other.example.com")),
    "nobody": lambda _s, _p, f: f.token(claims=f.claims(sub="nobody", uid="nobody")),
    "nobody by e-mail": lambda _s, _p, _f: hs256({"sub": "nobody@example.com"}),
    "too long": lambda _s, _p, f: f.token(claims=f.claims(pad="x" * 9000)),
}
# Where the two faces have different words for one decision (C-01): S2's clients know six codes.
SIX = {"token_not_found", "token_revoked", "token_expired", "insufficient_scopes", "token_invalid", "user_inactive"}


@pytest.mark.parametrize("active", [True, False], ids=["active", "disabled"])
@pytest.mark.parametrize("name", CREDENTIALS)
async def test_validate_and_me_never_differ_about_a_credential(validator: Service, name: str, active: bool) -> None:
    """Rule 3: good for both or for neither, the same person, the same reason."""
    person = await validator.register()
    token = CREDENTIALS[name](validator, person, await Forge.of(validator, person))
    if not active:
        await validator.sql("UPDATE idp.users SET is_active = false WHERE id = $1", person.id)
    verdict = await validator.validate(token)
    answer = await validator.me({"X-API-Key": token})
    me = answer.json()
    if verdict["valid"] and verdict["kind"] == "user":
        assert answer.status_code == 200
        assert {key: me[key] for key in USER_KEYS} == verdict["user"]
        assert active
    elif verdict["valid"]:
        assert (answer.status_code, me["code"]) == (403, "not_a_user")
    else:
        assert answer.status_code == 401
        assert verdict["error"] in SIX
        assert verdict["error"] in ({me["code"]} if me["code"] in SIX else {"token_not_found", "token_invalid"})
        assert verdict["detail"] == me["detail"]


async def test_every_spelling_of_me_is_the_same_person(validator: Service) -> None:
    """C-18: one resolver, one superset object."""
    person = await validator.register()
    plain, v1, api = [
        (await validator.client.get(path, headers=person.bearer)).json()
        for path in ("/auth/me", "/v1/me", "/api/auth/me")
    ]
    assert plain["id"] == plain["user_id"] == person.id
    assert api == plain | {"message": "Authentication successful!"}
    assert v1 == plain | {"role": "USER", "createdAt": plain["created_at"], "updatedAt": plain["updated_at"]}
