"""validate, validate-key and introspect return the same verdict (rule 3, C-01; S0-27 to S0-31).

What each says to whom is below; that they say the same is walked over every kind of credential there is.
"""

import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any

import pytest

from apikeys.key_support import (
    ADMIN,
    ADMIN_TOKEN,
    ENVIRON,
    KEYS,
    TOKENS,
    Json,
    bearer,
    disable,
    end,
    make_key,
    make_token,
    problem,
)
from factories import Person, Service, running
from idp.apikeys.secret import generate
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey
from idp.signing.jwt import TokenUser
from signing.forgery import Forge, compact, hs

SECRET = secrets.token_urlsafe(40)
SHARED_SECRET = {"AUTH_JWT_SECRET_KEY": SECRET, "AUTH_JWT_ALGORITHM": "ES256"}
VALIDATE_KEY = {"valid", "user_id", "scopes", "rate_limit_tier", "key_id", "expires_at", "error"}
# S0's words for the codes of C-01 (S0-31).
KEY_CODES = {
    "token_not_found": "key_not_found",
    "token_revoked": "key_revoked",
    "token_expired": "key_expired",
    "user_inactive": "user_deleted",
    "token_invalid": "key_invalid",
}
Make = Callable[["World"], Coroutine[Any, Any, str]]


class World:
    """A deployment with every kind of credential, and a service that may introspect."""

    def __init__(self, service: Service, asker: dict[str, str]) -> None:
        self.service = service
        self.asker = asker

    async def form(self, headers: dict[str, str] | None = None, **parameters: str) -> Any:
        return await self.service.client.post(
            "/oauth2/introspect", data=parameters, headers=self.asker if headers is None else headers
        )

    async def faces(self, token: str) -> tuple[Json, Json, Json]:
        """Ask all three about a credential, in one order."""
        validated = await self.service.validate(token)
        key = await self.service.client.post("/internal/validate-key", json={"key": token})
        introspected = await self.form(token=token)
        assert (key.status_code, introspected.status_code) == (200, 200), introspected.text
        return validated, key.json(), introspected.json()


@pytest.fixture(scope="module")
async def world(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> AsyncIterator[World]:
    url = postgres.create_database("responses")
    async with running(url, valkey_url=valkey.url, environ=ENVIRON | SHARED_SECRET) as service:
        asker = await make_token(service, scopes=["idp:introspect"])
        yield World(service, bearer(asker["token"]))


# --- every credential ------------------------------------------------------------------------------------------------


async def live_key(world: World, **body: Any) -> str:
    return str((await make_key(world.service, await world.service.register(), **body))["secret"])


async def key_with_a_rotated_secret(world: World) -> str:
    return await _rotated(world, {})


async def key_in_an_overlap(world: World) -> str:
    return await _rotated(world, {"overlap_seconds": 600})


async def _rotated(world: World, body: Json) -> str:
    person = await world.service.register()
    made = await make_key(world.service, person, expires_in_days=3)
    await world.service.client.post(f"{KEYS}/{made['key_id']}/rotate", json=body, headers=person.bearer)
    return str(made["secret"])


async def revoked_key(world: World) -> str:
    person = await world.service.register()
    made = await make_key(world.service, person)
    await world.service.client.delete(f"{KEYS}/{made['key_id']}", headers=person.bearer)
    return str(made["secret"])


async def expired_key(world: World) -> str:
    made = await make_key(world.service, await world.service.register())
    await end(world.service, made["key_id"])
    return str(made["secret"])


async def key_of_a_disabled_user(world: World) -> str:
    person = await world.service.register()
    made = await make_key(world.service, person)
    await disable(world.service, person)
    return str(made["secret"])


async def live_token(world: World) -> str:
    return str((await make_token(world.service, scopes=["a,b", "read"], ttl_days=3))["token"])


async def manager(world: World) -> str:
    return str((await make_token(world.service, scopes=["idp:manage", "idp:introspect"]))["token"])


async def revoked_token(world: World) -> str:
    made = await make_token(world.service)
    await world.service.client.post(f"{TOKENS}/{made['token_id']}/revoke", headers=ADMIN)
    return str(made["token"])


async def expired_token(world: World) -> str:
    made = await make_token(world.service)
    await end(world.service, made["token_id"])
    return str(made["token"])


async def access_token(world: World) -> str:
    return (await world.service.register()).token


async def access_token_of_a_disabled_user(world: World) -> str:
    person = await world.service.register()
    await disable(world.service, person)
    return person.token


async def expired_access_token(world: World) -> str:
    person = await world.service.register()
    about = TokenUser(id=person.id, email=person.email, email_verified=False)
    issued = await world.service.app.core.tokens.issue_asymmetric(about, life=timedelta(seconds=-1))
    return issued.token


async def forged_access_token(world: World) -> str:
    forge = await Forge.of(world.service, await world.service.register())
    return forge.token(sign=lambda _: bytes(64))


async def shared_secret_token(world: World) -> str:
    return _hs256(await world.service.register(), SECRET)


async def shared_secret_token_of_another(world: World) -> str:
    return _hs256(await world.service.register(), "x" * 40)


async def shared_secret_token_of_a_disabled_user(world: World) -> str:
    person = await world.service.register()
    await disable(world.service, person)
    return _hs256(person, SECRET)


def _hs256(person: Person, secret: str) -> str:
    claims = {
        "sub": person.email,
        "uid": person.id,
        "jti": "j",
        "exp": int(time.time()) + 600,
        "sid": person.session_id,
    }
    return compact({"alg": "HS256", "typ": "JWT"}, claims, hs(secret.encode()))


def said(token: str) -> Make:
    async def make(_world: World) -> str:
        return token

    return make


GOOD: dict[str, Make] = {
    "a key": live_key,
    "a key in an overlap": key_in_an_overlap,
    "a service token": live_token,
    "a managing token": manager,
    "an access token": access_token,
    "a shared-secret token": shared_secret_token,
    "ADMIN_TOKEN": said(ADMIN_TOKEN),
}
BAD: dict[str, tuple[Make, str]] = {
    "a rotated key": (key_with_a_rotated_secret, "token_revoked"),
    "a revoked key": (revoked_key, "token_revoked"),
    "an expired key": (expired_key, "token_expired"),
    "an unknown key": (said(generate("sk_live")), "token_not_found"),
    "a key of a disabled user": (key_of_a_disabled_user, "user_inactive"),
    "a revoked service token": (revoked_token, "token_revoked"),
    "an expired service token": (expired_token, "token_expired"),
    "an unknown service token": (said(generate("amp_live")), "token_not_found"),
    "an access token of a disabled user": (access_token_of_a_disabled_user, "user_inactive"),
    "an expired access token": (expired_access_token, "token_expired"),
    "a forged access token": (forged_access_token, "token_invalid"),
    "a shared-secret token of another": (shared_secret_token_of_another, "token_invalid"),
    "a shared-secret token of a disabled user": (shared_secret_token_of_a_disabled_user, "user_inactive"),
    "ADMIN_TOKEN and a letter": (said(ADMIN_TOKEN + "x"), "token_not_found"),
    "ADMIN_TOKEN in another case": (said(ADMIN_TOKEN.swapcase()), "token_not_found"),
    "three parts": (said("a.b.c"), "token_invalid"),
    "rubbish": (said("rubbish"), "token_not_found"),
    "nothing": (said(""), "token_not_found"),
}


@pytest.mark.parametrize("name", GOOD)
async def test_a_good_credential_is_good_for_all_three(world: World, name: str) -> None:
    """S0-27 S0-28 S0-29 S2-15 S2-17, RFC 7662 section 2.2: and they say the same of it, from memory too."""
    token = await GOOD[name](world)
    for _ in range(2):
        validated, key, introspected = await world.faces(token)
        assert (validated["valid"], introspected["active"]) == (True, True)
        if validated["kind"] == "user":  # good, and no key (S0-03)
            assert (key["valid"], key["error"]) == (False, "key_invalid")
            continue
        assert key["valid"]
        assert (validated["error"], key["error"]) == (None, None)
        assert key.keys() == VALIDATE_KEY
        assert key["scopes"] == validated["scopes"] == introspected["scope"].split()
        assert key["key_id"] == validated["token_id"] == introspected["jti"]
        assert validated["kind"] == introspected["kind"]
        assert validated["name"] == introspected.get("name")
        assert introspected["token_type"] == "Bearer"
        assert introspected["iss"] == world.service.app.core.tokens.issuer
        assert key["expires_at"] == validated["expires_at"]
        assert (validated["expires_at"] is None) == ("exp" not in introspected)
        if "exp" in introspected:
            assert introspected["exp"] == int(datetime.fromisoformat(validated["expires_at"]).timestamp())
        user = validated["user"]
        assert user == introspected.get("user")
        assert key["user_id"] == (user and user["id"])
        assert introspected["sub"] == (user["id"] if user else validated["token_id"])
        assert introspected.get("username") == (user and user["email"])
        assert key["rate_limit_tier"] == ("FREE" if user else None)


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_credential_is_bad_for_all_three(world: World, name: str) -> None:
    """S0-31 S2-18 SEC-57: one code in two spellings, and for RFC 7662 exactly one member, whatever is wrong."""
    make, code = BAD[name]
    token = await make(world)
    for _ in range(2):
        validated, key, introspected = await world.faces(token)
        assert (validated["valid"], validated["error"]) == (False, code)
        assert validated["scopes"] == []
        assert key == {
            "valid": False,
            "user_id": None,
            "scopes": [],
            "rate_limit_tier": None,
            "key_id": None,
            "expires_at": None,
            "error": KEY_CODES[code],
        }
        assert introspected == {"active": False}
        assert (await world.form(token=token)).content == b'{"active":false}'


async def test_all_three_hear_of_a_change_at_once(world: World) -> None:
    """SEC-59: revoked through one door, refused at all."""
    person = await world.service.register()
    made = await make_key(world.service, person)
    assert [face.get("valid", face.get("active")) for face in await world.faces(made["secret"])] == [True] * 3
    await world.service.client.delete(f"{KEYS}/{made['key_id']}", headers=person.bearer)
    assert [face.get("valid", face.get("active")) for face in await world.faces(made["secret"])] == [False] * 3


async def test_me_agrees(world: World) -> None:
    """C-18 rule 3: a user's credential returns the user, a service's none, an invalid one 401."""
    for name, make in GOOD.items():
        token = await make(world)
        validated = await world.service.validate(token)
        answer = await world.service.me(bearer(token))
        if validated["user"] is None:
            assert problem(answer) == (403, "not_a_user"), name
        else:
            assert (answer.status_code, answer.json()["id"]) == (200, validated["user"]["id"]), name
    for name, (make, code) in BAD.items():
        if name != "nothing":
            answer = await world.service.me(bearer(await make(world)))
            assert answer.status_code == 401, name
            assert answer.json()["code"] in {code, "credential_unrecognised"}, name


# --- /internal/validate-key ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", ["FREE", "BASIC", "PRO"])
async def test_the_tier_is_the_plan_of_the_user(world: World, plan: str) -> None:
    """S0-29 S0-30 C-26: at the next question after it changed."""
    person = await world.service.register()
    secret = (await make_key(world.service, person))["secret"]
    await world.faces(secret)
    await world.service.sql("UPDATE idp.users SET plan = $2 WHERE id = $1", person.id, plan)
    assert (await world.faces(secret))[1]["rate_limit_tier"] == plan


async def test_s0s_documented_call_works_verbatim(world: World) -> None:
    """S0-27 S0-28 S0-29: four members, as the Ingestion API reads them; no credential is asked for."""
    person = await world.service.register()
    secret = (await make_key(world.service, person, scopes=["ingest:write"]))["secret"]
    answer = await world.service.client.post("/internal/validate-key", json={"key": secret, "more": 1})
    four = {name: answer.json()[name] for name in ("valid", "user_id", "scopes", "rate_limit_tier")}
    assert four == {"valid": True, "user_id": person.id, "scopes": ["ingest:write"], "rate_limit_tier": "FREE"}


@pytest.mark.parametrize("body", [b"", b"{}", b'{"key":null}', b'{"key":1}', b'{"token":"x"}', b"[]", b"{"])
async def test_a_question_without_a_key_is_422(world: World, body: bytes) -> None:
    """S0-28 C-16."""
    headers = {"Content-Type": "application/json"}
    answer = await world.service.client.post("/internal/validate-key", content=body, headers=headers)
    assert problem(answer)[0] == 422
    assert answer.json()["error"] == answer.json()["detail"], "S0's spelling"


async def test_internal_routes_can_have_a_credential(postgres: EmbeddedPostgres) -> None:
    """C-28: INTERNAL_API_TOKEN, where it is set, and nothing else; the other faces stay as they are."""
    token = secrets.token_urlsafe(40)
    environ = {"ADMIN_TOKEN": ADMIN_TOKEN, "INTERNAL_API_TOKEN": token}
    async with running(postgres.create_database("internal"), environ=environ) as service:
        person = await service.register()
        secret = (await make_key(service, person))["secret"]

        async def ask(headers: dict[str, str]) -> Any:
            return await service.client.post("/internal/validate-key", json={"key": secret}, headers=headers)

        for good in (bearer(token), {"Authorization": f"bearer  {token}"}):
            answer = await ask(good)
            assert (answer.status_code, answer.json()["valid"]) == (200, True)
            assert answer.headers["cache-control"] == "no-store"
        for bad in (
            {},
            {"Authorization": "Bearer"},
            bearer(token[:-1]),
            bearer(token + "x"),
            bearer(token.swapcase()),
            bearer(secret),
            {"Authorization": token},
            {"Authorization": f"Basic {token}"},
            {"X-API-Key": token},
            ADMIN,
            person.bearer,
        ):
            answer = await ask(bad)
            assert problem(answer) == (401, "internal_token_required"), bad.keys()
            assert answer.headers["www-authenticate"] == "Bearer"
        assert (await service.validate(secret))["valid"] is True
        assert (await service.validate(token))["error"] == "token_not_found", "it is a credential for this path alone"


# --- /oauth2/introspect ----------------------------------------------------------------------------------------------


async def test_only_a_service_with_the_scope_may_introspect(world: World) -> None:
    """SEC-57 C-09: in the form of RFC 6749; who may not ask learns nothing about the token."""
    person = await world.service.register_admin()
    key = await make_key(world.service, person, scopes=["introspect"])
    other = await make_token(world.service, scopes=["introspect", "idp", "admin", "idp:manage"])
    about = person.token
    for headers, status, code in (
        ({}, 401, "invalid_token"),
        (bearer("rubbish"), 401, "invalid_token"),
        (bearer(generate("amp_live")), 401, "invalid_token"),
        (bearer(key["secret"]), 403, "insufficient_scope"),
        (person.bearer, 403, "insufficient_scope"),
        (bearer(other["token"]), 403, "insufficient_scope"),
        (ADMIN, 403, "insufficient_scope"),
    ):
        answer = await world.form(headers, token=about)
        assert (answer.status_code, answer.json()["error"]) == (status, code), answer.text
        assert answer.json().keys() == {"error", "error_description", "code", "remedy", "request_id"}
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert ("www-authenticate" in answer.headers) == (status == 401)
    for headers in (world.asker, {"X-API-Key": world.asker["Authorization"][7:]}):
        assert (await world.form(headers, token=about)).json()["active"] is True


async def test_an_asker_that_was_revoked_may_not_ask(world: World) -> None:
    """SEC-57 SEC-59."""
    made = await make_token(world.service, scopes=["idp:introspect"])
    assert (await world.form(bearer(made["token"]), token="x")).status_code == 200
    await world.service.client.post(f"{TOKENS}/{made['token_id']}/revoke", headers=ADMIN)
    answer = await world.form(bearer(made["token"]), token="x")
    assert (answer.status_code, answer.json()["code"]) == (401, "token_revoked")


MALFORMED = {
    "no token": b"",
    "another parameter": b"access_token=x",
    "token twice": b"token=a&token=b",
    "token twice, the same": b"token=a&token=a",
    "another parameter twice": b"token=a&x=1&x=2",
    "hint twice": b"token=a&token_type_hint=access_token&token_type_hint=access_token",
    "a hint of 101 characters": b"token=a&token_type_hint=" + b"h" * 101,
    "not UTF-8": b"token=%FF",
    "half a sign": b"token=%ED%A0%80",
    "raw bytes": b"token=\xff",
    "51 parameters": b"token=a" + b"".join(b"&p%d=1" % number for number in range(50)),
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("origin", [{}, {"Origin": "https://a.example"}], ids=["hot", "cold"])
async def test_an_ambiguous_form_is_400(world: World, name: str, origin: dict[str, str]) -> None:
    """RFC 6749 section 3.1, RFC 7662 section 2.1, SEC-55: whichever way it is answered."""
    headers = world.asker | origin | {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await world.service.client.post("/oauth2/introspect", content=MALFORMED[name], headers=headers)
    assert (answer.status_code, answer.json().get("error")) == (400, "invalid_request"), answer.text


@pytest.mark.parametrize("media_type", ["application/json", "text/plain", "multipart/form-data; boundary=x", ""])
async def test_a_body_that_is_no_form_is_400(world: World, media_type: str) -> None:
    """RFC 7662 section 2.1: even if it reads like one."""
    for body in (b"token=a", b'{"token":"a"}'):
        headers = world.asker | ({"Content-Type": media_type} if media_type else {})
        answer = await world.service.client.post("/oauth2/introspect", content=body, headers=headers)
        assert (answer.status_code, answer.json().get("error")) == (400, "invalid_request"), answer.text


async def test_a_form_may_say_more(world: World) -> None:
    """RFC 7662 section 2.1: a hint, unknown parameters, a charset; the token percent-encoded."""
    token = await live_key(world)
    encoded = "".join(f"%{ord(letter):02X}" for letter in token)
    for body, media_type in (
        (f"token={token}&token_type_hint=refresh_token", "application/x-www-form-urlencoded"),
        (f"x=&token={token}&y=%20", "application/x-www-form-urlencoded"),
        (f"token={encoded}", "application/x-www-form-urlencoded"),
        (f"token={token}", "application/x-www-form-urlencoded; charset=utf-8"),
        (f"token={token}", "Application/X-WWW-Form-URLEncoded"),
    ):
        headers = world.asker | {"Content-Type": media_type}
        answer = await world.service.client.post("/oauth2/introspect", content=body.encode(), headers=headers)
        assert (answer.status_code, answer.json().get("active")) == (200, True), body


async def test_introspection_is_a_post(world: World) -> None:
    """RFC 7662 section 2.1, SEC-55: a token in an address would end in logs."""
    answer = await world.service.client.get("/oauth2/introspect?token=a", headers=world.asker)
    assert answer.status_code == 405


async def test_a_misspelt_parameter_of_the_form_is_named(world: World) -> None:
    """A slip is told on forms as on JSON; what is unknown otherwise is ignored (RFC 6749 section 3.2)."""
    person = await world.service.register()
    for form, said in (
        ({"tokn": person.token}, "token: This parameter is required; `tokn` was sent: did you mean `token`?"),
        ({"Token": person.token}, "did you mean `token`?"),
        ({"access_token": person.token}, "did you mean `token`?"),
        ({"resource": "x"}, "token: This parameter is required; sent and unknown: `resource`."),
        ({"token": person.token, "token_type_hnt": "x"}, "token_type_hnt: Unknown parameter; did you mean"),
    ):
        answer = await world.form(**form)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), form
        assert said in answer.json()["error_description"]
        assert person.token not in answer.text
    assert (await world.form(token=person.token, resource="https://a.example")).json()["active"] is True
