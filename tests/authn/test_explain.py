"""POST /auth/explain: who may ask about what, what it tells, and what it never tells."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
import valkey as valkey_client

from factories import Person, Service, running
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey
from idp.principal.sources import of_rules
from signing.forgery import Forge

ADMIN_TOKEN = secrets.token_urlsafe(40)
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
ENVIRON = {"ADMIN_TOKEN": ADMIN_TOKEN}
AUDIT = "SELECT * FROM idp.audit_logs WHERE action = 'credential.explained'"


@pytest.fixture(scope="module")
async def world(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> AsyncIterator[Service]:
    url = postgres.create_database("explain")
    async with running(url, valkey_url=valkey.url, environ=ENVIRON) as service:
        yield service


async def ask(world: Service, caller: dict[str, str], /, **body: Any) -> Any:
    return await world.client.post("/auth/explain", json=body, headers=caller)


async def explained(world: Service, caller: dict[str, str] = ADMIN, /, **body: Any) -> Any:
    answer = await ask(world, caller, **body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def failed(found: Any) -> list[str]:
    """Return the names of the checks that did not pass, of the owner and of the subject."""
    owner = next((each["checks"] for each in found["authenticators"] if each["name"] == found["owner"]), [])
    return [check["name"] for check in (*owner, *found["subject"]) if not check["passed"]]


async def key_of(world: Service, person: Person, *scopes: str) -> tuple[str, str]:
    body = {"name": secrets.token_hex(4), "scopes": list(scopes)}
    made = (await world.client.post("/v1/api-keys", json=body, headers=person.bearer)).json()
    return made["secret"], made["key_id"]


# --- who may ask -----------------------------------------------------------------------------------------------------


async def test_users_have_their_own_credentials_explained_and_no_others(world: Service) -> None:
    """Everyone about their own: the same token, another one, a key, a revoked key; nothing about others."""
    person, other = await world.register(), await world.register()
    again = await world.sign_in(person)
    key, key_id = await key_of(world, person, "read")
    for token in (person.token, again.token, key):
        assert (await explained(world, person.bearer, token=token))["user"]["id"] == person.id
    assert (await explained(world, person.bearer))["user"]["id"] == person.id
    await world.client.delete(f"/v1/api-keys/{key_id}", headers=person.bearer)
    assert (await explained(world, person.bearer, token=key))["verdict"]["code"] == "token_revoked"
    asked_with_a_key = await ask(world, {"X-API-Key": (await key_of(world, person, "read"))[0]})
    assert refusal(asked_with_a_key) == (403, "credential_not_accepted")  # C-29
    for token in (other.token, (await key_of(world, other, "read"))[0], ADMIN_TOKEN, "garbage", "", person.token + "A"):
        answer = await ask(world, person.bearer, token=token)
        assert refusal(answer) == (403, "admin_required"), token
        assert "proven to be yours" in answer.json()["detail"]


async def test_an_expired_token_is_proven_by_its_signature(world: Service) -> None:
    """An expired token of the caller is explained to them, one with another user's id only to administrators."""
    person, other = await world.register(), await world.register()
    forge = await Forge.of(world, person)
    expired = forge.token(claims=forge.claims(exp=1_700_000_000, iat=1_600_000_000))
    assert failed(await explained(world, person.bearer, token=expired)) == ["exp"]
    assert refusal(await ask(world, other.bearer, token=expired)) == (403, "admin_required")
    header, payload, signature = expired.split(".")
    unproven = f"{header}.{payload}.{'A' * len(signature)}"
    assert refusal(await ask(world, person.bearer, token=unproven)) == (403, "admin_required")
    assert failed(await explained(world, token=unproven)) == ["invalid signature"]


async def test_an_administrators_question_about_others_is_audited(world: Service) -> None:
    """The record names the administrator, the user, the authenticator and the route, and no secret."""
    admin, person = await world.register_admin(), await world.register()
    await world.sql("DELETE FROM idp.audit_logs WHERE action = 'credential.explained'")
    await explained(world, admin.bearer)
    await explained(world, person.bearer, token=person.token)
    assert await world.sql(AUDIT) == []
    await explained(world, admin.bearer, token=person.token, route="GET /auth/me")
    (row,) = await world.sql(AUDIT)
    assert (row["actor"], row["user_id"]) == (f"user:{admin.id}", person.id)
    assert '"route": "GET /auth/me"' in row["details"]
    assert person.token.rpartition(".")[2] not in str(dict(row))


async def test_the_caller_must_authenticate(world: Service) -> None:
    """No credential, and a bad one, are 401 whatever the body holds."""
    person = await world.register()
    assert refusal(await ask(world, {}, token=person.token)) == (401, "unauthenticated")
    assert refusal(await ask(world, {"X-API-Key": "nothing"}, token=person.token)) == (401, "credential_unrecognised")


# --- what it tells ---------------------------------------------------------------------------------------------------


async def test_each_authenticator_says_why_it_did_not_own_the_credential(world: Service) -> None:
    """The owner and those before it give their checks; those after it were not asked."""
    person = await world.register()
    found = await explained(world, token=person.token)
    outcomes = {each["name"]: each["outcome"] for each in found["authenticators"]}
    assert outcomes == {
        "admin_token": "not_mine",
        "api_key": "not_mine",
        "local_jwt": "authenticated",
        "upstream_oidc": "not_asked",
        "clerk_jwt": "not_asked",
        "session_cookie": "not_asked",
        "dev_headers": "not_asked",
    }
    for each in found["authenticators"][:2]:
        assert each["checks"], each
        assert not each["checks"][-1]["passed"]
    owned = {check["name"]: check for check in found["authenticators"][2]["checks"]}
    assert {"iss", "typ", "kid", "alg", "signature", "aud", "exp", "iat"} <= owned.keys()
    assert owned["aud"] == {
        "name": "aud",
        "passed": True,
        "seen": world.base_url,
        "expected": world.base_url,
    }


async def test_rights_name_their_origin(world: Service) -> None:
    """Defaults of a new account, grants of an administrator, scopes of a key, and one that counts no more."""
    admin, person = await world.register_admin(), await world.register()
    team = (await world.client.post("/teams", json={"name": secrets.token_hex(4)}, headers=admin.bearer)).json()
    await world.client.put(f"/teams/{team['id']}/members/{person.id}", json={"role": "admin"}, headers=admin.bearer)
    await world.client.patch(
        f"/api/auth/admin/users/{person.id}", json={"roles": ["user", "analyst"]}, headers=admin.bearer
    )
    key, _ = await key_of(world, person, "read")
    await world.sql("UPDATE idp.api_keys SET scopes = '{read,idp:manage}' WHERE user_id = $1", person.id)
    found = await explained(world, token=key)
    rights = {(each["kind"], each["name"]): each for each in found["rights"]}
    assert rights["role", "user"]["source"] == rights["team", "General"]["source"] == "default"
    for granted in (rights["role", "analyst"], rights["team", team["name"]]):
        assert (granted["source"], granted["by"]) == ("admin", f"user:{admin.id}")
        assert granted["at"]
    assert rights["team", team["name"]]["detail"] == "admin"
    assert (rights["scope", "read"]["source"], rights["scope", "read"]["held"]) == ("key", True)
    assert rights["scope", "read"]["by"] == f"user:{person.id}"
    assert rights["scope", "idp:manage"]["held"] is False
    assert (await world.validate(key))["scopes"] == ["read"]


async def test_rights_of_claim_rules_name_the_issuer_and_the_claim(world: Service) -> None:
    """The source of a row, as the claim rules write it; a row without one is unknown."""
    person = await world.register()
    source = of_rules("https://issuer.example.com", "groups")
    await world.sql("UPDATE idp.team_memberships SET source = $2 WHERE user_id = $1", person.id, source)
    await world.sql("INSERT INTO idp.user_roles (user_id, role) VALUES ($1, 'admin')", person.id)
    rights = {(each["kind"], each["name"]): each for each in (await explained(world, token=person.token))["rights"]}
    team = rights["team", "General"]
    assert (team["source"], team["by"], team["detail"]) == ("rule", "https://issuer.example.com#groups", "member")
    assert rights["role", "admin"]["source"] == "unknown"


async def test_the_origin_of_the_verdict_is_told(world: Service) -> None:
    """From the database at first, then from memory, with its age; the checks are then a second decision."""
    person = await world.register()
    key, _ = await key_of(world, person, "read")
    first = (await explained(world, token=key))["origin"]
    assert (first["source"], first["decided_again"]) == ("database", None)
    await world.validate(key)
    second = await explained(world, token=key)
    origin = second["origin"]
    assert (origin["source"], origin["decided_again"], origin["agrees"]) == ("memory", "authenticated", True)
    assert 0 <= origin["age_seconds"] < 30
    assert second["subject"], "the checks of the second decision"


async def test_a_verdict_from_valkey_is_told(world: Service, valkey: EmbeddedValkey) -> None:
    """A second process finds the verdict in Valkey, and says how old it is."""
    person = await world.register()
    key, _ = await key_of(world, person, "read")
    same = {"IDP_SECRET_KEY": world.loaded.settings.secrets.secret_key.reveal(), "IDP_PUBLIC_URL": world.base_url}
    environ = ENVIRON | same
    async with running(world.database_url, valkey_url=valkey.url, environ=environ, migrate=False) as second:
        with valkey_client.Valkey.from_url(valkey.url) as store:
            before = len(list(store.scan_iter(b"idp:verdict:*")))
            await world.validate(key)
            while len(list(store.scan_iter(b"idp:verdict:*"))) == before:  # noqa: ASYNC110  Valkey tells nobody
                await asyncio.sleep(0.01)
        origin = (await explained(second, token=key))["origin"]
    assert (origin["source"], origin["agrees"]) == ("valkey", True)
    assert 0 < origin["age_seconds"] < 30


async def test_explaining_a_key_does_not_count_as_using_it(world: Service) -> None:
    """C-10: an administrator's question leaves `last_used_at` alone."""
    person = await world.register()
    key, key_id = await key_of(world, person, "read")
    await explained(world, token=key)
    await world.app.core.usage.flush()
    shown = await world.client.get(f"/v1/api-keys/{key_id}", headers=person.bearer)
    assert shown.json()["last_used_at"] is None


@pytest.mark.parametrize(
    ("route", "admitted", "code"),
    [
        ("GET /auth/me", True, None),
        ("POST /teams", False, "admin_required"),
        ("POST /v1/api-keys", True, None),
        ("GET /health", True, None),
        ("GET /v1/events", False, "events_scope_required"),
        ("POST /oauth2/introspect", None, None),
        ("POST /auth/logout", None, None),
    ],
)
async def test_a_routes_policy_is_explained(
    world: Service, route: str, admitted: bool | None, code: str | None
) -> None:
    """The policy's own guards answer, with what each saw; a handler that decides by the body is said to."""
    person = await world.register()
    found = (await explained(world, person.bearer, token=person.token, route=route))["route"]
    assert (found["admitted"], found["code"]) == (admitted, code)
    if code is not None:
        assert [check for check in found["checks"] if not check["passed"]][-1]["expected"]


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"token": "a", "headers": {}},
        {"token": 1},
        {"headers": {"Authorization": "Bearer ☃"}},
        {"headers": {"": "x"}},
        {"headers": {str(number): "x" for number in range(51)}},
        {"tokn": "a"},
        {"route": "/teams"},
        {"route": "BREW /teams"},
        {"route": "GET /nothing/here"},
        {"route": "PATCH /teams"},
        {"route": "GET //teams"},
        {"route": "GET /teams/{team_id}"},
        {"route": "GET /teams/%00"},
        {"token": "a" * 100_001},
    ],
)
async def test_bad_input_is_422_with_the_place(world: Service, body: dict[str, Any]) -> None:
    """Each names the member and what to send."""
    answer = await ask(world, ADMIN, **body)
    assert refusal(answer) == (422, "validation_failed"), answer.text
    assert answer.json()["errors"][0]["loc"][0] == "body"


async def test_hostile_tokens_are_explained_without_an_error(world: Service) -> None:
    """Any text is a credential that nobody owns or that its owner rejects: 200 with the reason, never 5xx."""
    forge = await Forge.of(world, await world.register())
    hostile: list[Any] = ["\u202e", "x" * 200, {"a": ["b"] * 50}, 1e308, None, True, [], "a\x00b"]
    for value in hostile:
        for name in ("aud", "sub", "uid", "jti", "sid", "exp", "nbf", "iat", "idp_env"):
            token = forge.token(claims=forge.claims(**{name: value}))
            found = await explained(world, token=token)
            assert len(str(found)) < 20_000
    for text in ("", " ", ".", "..", "a.b.c", "é" * 100, "\x00", "sk_live_", "amp_live_" + "a" * 5000, "{}", "\ufeff"):
        found = await explained(world, token=text)
        assert not found["verdict"]["accepted"]


async def test_bad_credentials_are_limited_as_in_validate(postgres: EmbeddedPostgres) -> None:
    """The same counter as /auth/validate: questions about bad keys use it up."""
    few = ENVIRON | {"IDP_RATE_LIMITS__BAD_CREDENTIALS_PER_ADDRESS_PER_MINUTE": "3"}
    async with running(postgres.create_database("explain_limits"), environ=few) as service:
        answers = [await ask(service, ADMIN, token=f"sk_live_{number}") for number in range(5)]
        assert [each.status_code for each in answers] == [200, 200, 200, 429, 429]
        assert answers[-1].headers["Retry-After"]
        assert (await service.client.post("/auth/validate", json={"token": "sk_live_x"})).status_code == 429


async def test_nothing_secret_is_in_an_explanation_or_its_audit(world: Service) -> None:
    """No token, signature, digest, cookie, CSRF token or root secret, for every kind of credential."""
    person = await world.register()
    key, _ = await key_of(world, person, "read")
    body = {"email": person.email, "password": person.password}
    signed_in = await world.client.post("/auth/login?mode=cookie", json=body)
    cookie, csrf = signed_in.cookies["idp_session"], signed_in.cookies["idp_csrf"]
    world.client.cookies.clear()
    headers = {"Cookie": f"idp_session={cookie}", "X-CSRF-Token": csrf}
    texts = [
        (await ask(world, ADMIN, token=person.token)).text,
        (await ask(world, ADMIN, token=key, route="GET /auth/me")).text,
        (await ask(world, ADMIN, token=ADMIN_TOKEN, route="POST /teams")).text,
        (await ask(world, ADMIN, token=key + "x")).text,
        (await ask(world, ADMIN, headers=headers, route="PATCH /v1/me")).text,
        str([dict(row) for row in await world.sql(AUDIT)]),
    ]
    rows = await world.sql("SELECT digest FROM idp.api_keys UNION SELECT cookie_digest FROM idp.user_sessions")
    hidden = [row[0] for row in rows if row[0]]
    hidden += [*person.token.split(".")[1:], key[8:24], key[24:40], cookie, csrf, ADMIN_TOKEN, person.refresh_token]
    hidden.append(world.loaded.settings.secrets.secret_key.reveal())
    assert '"admitted":true' in texts[4]
    for text in texts:
        assert not [secret for secret in hidden if secret in text]
