"""Clerk's session tokens: what is accepted, what is refused, and with which code."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from authn.issuer_support import Issuer, http, running_issuer
from clerk.clerk_support import ISSUER, World, running_world
from factories import root_secret, running
from idp.app import create_app
from idp.authn.credential import from_token
from idp.core import Core
from idp.dev.clerk_instance import ClerkInstance, new_state
from idp.dev.embedded import EmbeddedPostgres
from idp.settings import SettingsError, load
from signing.forgery import b64url
from table_tests import table

APP = "https://app.example.com"
ME = "/v1/me"


async def ask(world: World, token: str, **headers: str) -> httpx2.Response:
    return await world.service.client.get(ME, headers={"Authorization": f"Bearer {token}", **headers})


async def test_both_versions_of_session_tokens_are_accepted(clerk: World) -> None:
    """S0-04 S0-15 S1-01 S1-03: v1 with `org_…`, v2 with `o`, `fea`, `pla`; they grant nothing."""
    user_id = await clerk.created()
    v1: dict[str, Any] = {
        "v": None, "jti": None, "sts": None, "fva": None, "org_id": "org_1", "org_slug": "acme",
        "org_role": "org:admin", "org_permissions": ["org:feature:manage"],
    }  # fmt: skip
    v2 = {
        "o": {"id": "org_1", "slg": "acme", "rol": "admin", "per": "read,manage", "fpm": "3,2"},
        "pla": "u:pro",
        "fea": "o:dashboard,uo:x",
    }
    unknown = {"oiat": int(time.time()), "x-more": "anything"}
    for claims, header in ((v1, {"cat": None}), (v2, {}), (v2, unknown)):
        token = clerk.instance.session_token(user_id, header=header, **claims)
        answer = await ask(clerk, token)
        assert (answer.status_code, answer.json()["id"], answer.json()["roles"]) == (200, user_id, ["user"])
        verdict = await clerk.service.validate(token)
        assert (verdict["valid"], verdict["kind"], verdict["scopes"]) == (True, "user", [])
    assert (await clerk.me(user_id, "/api/auth/admin/users")).status_code == 403


async def test_other_tokens_under_the_same_keys_are_refused_by_name(clerk: World) -> None:
    """SEC-18 SEC-25: OAuth, machine and template tokens, and Clerk's opaque tokens."""
    user_id = await clerk.created()
    token = clerk.instance.session_token
    kinds = {
        "an OAuth access token": [
            token(user_id, header={"typ": "at+jwt", "cat": None}, jti="oat_1", sid=None, client_id="c", scope="email"),
            token(user_id, header={"cat": None}, jti="oat_1"),
            "oat_" + "x" * 40,
        ],
        "a machine token": [
            token("mch_1", jti="mt_1", aud=["mch_2"]),
            token("mch_1", header={"cat": "cl_B7d4PD333AAA"}),
            "mt_" + "x" * 40,
        ],
        "a token of a JWT template": [
            token(user_id, header={"cat": "cl_B7d4PD222AAA"}),
            token(user_id, header={"cat": None}, sid=None),
        ],
        "an API key": ["ak_" + "x" * 40],
        "a token of an unknown category": [
            token(user_id, header={"cat": "cl_other"}),
            token(user_id, header={"cat": 7}),
        ],
        "a token that names no user": [token("org_1"), token("")],
        "a token of another type": [token(user_id, header={"typ": None}), token(user_id, header={"typ": "logout+jwt"})],
    }
    with table() as row:
        for kind, tokens in kinds.items():
            for number, each in enumerate(tokens):
                with row(f"{kind} {number}"):
                    answer = await ask(clerk, each)
                    assert (answer.status_code, answer.json()["code"]) == (401, "clerk_token_not_accepted")
                    assert answer.json()["detail"] == f"This is {kind} of Clerk, not a session token."


async def test_a_pending_session_is_signed_out_everywhere(clerk: World) -> None:
    user_id = await clerk.created()
    for path in (ME, "/teams", "/v1/api-keys"):
        answer = await clerk.me(user_id, path, sts="pending")
        assert (answer.status_code, answer.json()["code"]) == (401, "clerk_session_pending")
    assert "not complete" in (await clerk.me(user_id, sts="pending")).json()["detail"]


async def test_an_unknown_user_is_404_with_the_text_of_the_old_service(clerk: World) -> None:
    """S1-17: until the webhook arrives, and then at once or within the two seconds of a negative verdict."""
    answer = await clerk.me("user_unsynced")
    assert (answer.status_code, answer.json()["code"]) == (404, "user_not_synced")
    text = "User not found in local database (sync pending?)"
    assert (answer.json()["detail"], answer.json()["error"]) == (text, text)
    verdict = await clerk.service.validate(clerk.instance.session_token("user_unsynced"))
    assert (verdict["valid"], verdict["error"], verdict["detail"]) == (False, "token_not_found", text)
    assert await clerk.service.sql("SELECT FROM idp.users WHERE id = 'user_unsynced'") == []


async def test_fva_says_how_recent_the_sign_in_is(clerk: World) -> None:
    """C-33: what requires a fresh login takes Clerk's age of the first factor; keys require none."""
    user_id = await clerk.created()

    def headers(**claims: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {clerk.instance.session_token(user_id, **claims)}"}

    body = {"confirm": "not the address"}
    for fva in ([20, 0], [-1, -1], None, ["0", 0], [0], "0,0"):
        answer = await clerk.service.client.request("DELETE", ME, headers=headers(fva=fva), json=body)
        assert answer.json()["code"] == "fresh_login_required", fva
    for fva in ([0, -1], [14, 3]):
        answer = await clerk.service.client.request("DELETE", ME, headers=headers(fva=fva), json=body)
        assert answer.json()["code"] == "validation_failed", fva  # by the next check
    impersonated = headers(act={"sub": "user_support"})
    answer = await clerk.service.client.request("DELETE", "/v1/me", headers=impersonated, json=body)
    assert answer.json()["code"] == "fresh_login_required"
    key = await clerk.service.client.post(
        "/v1/api-keys", headers=headers(fva=[999, -1]), json={"name": "k", "scopes": ["a"]}
    )
    assert key.status_code == 201
    credential = await _credential(clerk, clerk.instance.session_token(user_id, fva=[5, 3]))
    assert credential.auth_time is not None
    assert abs((datetime.now(UTC) - credential.auth_time).total_seconds() - 300) < 10
    assert credential.amr == ("mfa",)


async def _credential(world: World, token: str) -> Any:
    (middleware,) = world.service.app.middleware
    verdict = await middleware.introspector.introspect(from_token(token))  # type: ignore[union-attr]
    assert verdict.principal is not None
    return verdict.principal.credential


async def test_an_impersonator_is_named_in_audit_records(clerk: World) -> None:
    user_id = await clerk.created()
    token = clerk.instance.session_token(user_id, act={"iss": ISSUER, "sid": "sess_2", "sub": "user_support"})
    headers = {"Authorization": f"Bearer {token}"}
    assert (await clerk.service.client.patch(ME, headers=headers, json={"name": "Changed"})).status_code == 200
    rows = await clerk.service.sql(
        "SELECT details FROM idp.audit_logs WHERE user_id = $1 AND actor = 'user:' || $1", user_id
    )
    assert all('"impersonated_by": "user_support"' in row["details"] for row in rows)
    assert rows


# --- cookies ---------------------------------------------------------------------------------------------------------


async def test_clerks_cookies_and_ours_do_not_collide(clerk: World) -> None:
    """`__session`, also with a suffix; one of another instance is not ours; our own session goes first."""
    user_id = await clerk.created()
    token, other = clerk.instance.session_token(user_id), ClerkInstance("https://other.example.com", new_state())
    stale = clerk.instance.session_token(user_id, exp=int(time.time()) - 60)
    foreign = other.session_token(user_id)

    async def me(cookies: str, path: str = ME) -> httpx2.Response:
        return await clerk.service.client.get(path, headers={"Cookie": cookies})

    assert (await me(f"__session={token}")).json()["id"] == user_id
    assert (await me(f"__session_a1b2c3d4={token}; __session={stale}")).json()["id"] == user_id
    assert (await me(f"__session={foreign}; __session_x={foreign}; __session_y={token}")).json()["id"] == user_id
    assert (await me(f"__session={foreign}")).json()["code"] == "unauthenticated"
    assert (await me("__session=; __session_x=garbage; __client_uat=0")).json()["code"] == "unauthenticated"
    assert (await me(f"__session={stale}")).json()["code"] == "token_expired"
    person = await clerk.service.register()
    body = {"email": person.email, "password": person.password}
    signed_in = await clerk.service.client.post("/auth/login?mode=cookie", json=body)
    own = f"idp_session={signed_in.cookies['idp_session']}"
    clerk.service.client.cookies.clear()
    assert (await me(f"{own}; __session={stale}")).json()["id"] == person.id
    assert (await me(f"__session={token}; {own}")).json()["id"] == person.id


async def test_a_foreign_page_cannot_use_clerks_cookie_for_changes(clerk: World) -> None:
    """SEC-44: browsers send the cookie with requests of other sites, too."""
    user_id = await clerk.created()
    cookie = {"Cookie": f"__session={clerk.instance.session_token(user_id)}"}
    body = {"name": "Changed"}
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = await clerk.service.client.patch(ME, headers=cookie | headers, json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")
    own = {"Origin": clerk.service.base_url, "Sec-Fetch-Site": "same-origin"}
    assert (await clerk.service.client.patch(ME, headers=cookie | own, json=body)).status_code == 200


# --- keys, parties and settings --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def published() -> AsyncIterator[tuple[Issuer, ClerkInstance]]:
    """An instance whose keys are fetched."""
    async with running_issuer() as issuer:
        instance = ClerkInstance(issuer.url, new_state())

        async def answer(_issuer: Issuer, path: str) -> bytes:
            if path == "/.well-known/jwks.json":
                return http(json.dumps(instance.jwks()).encode())
            return http(b"<html>", status="404 Not Found")

        issuer.answer = answer
        yield issuer, instance


async def test_keys_come_from_the_instance_and_parties_are_required(
    postgres: EmbeddedPostgres, published: tuple[Issuer, ClerkInstance]
) -> None:
    """SEC-22 SEC-30: the JWKS is fetched once; without it 503, never "invalid"."""
    issuer, instance = published
    environ = {"CLERK_JWT_KEY": "", "CLERK_AUTHORIZED_PARTIES": f"{APP},http://localhost:5173"}
    async with running_world(postgres.create_database("clerk_jwks"), instance=instance, **environ) as world:
        user_id = await world.created()
        well, issuer.answer = issuer.answer, _hangs_up
        away = await world.me(user_id)
        assert (away.status_code, away.json()["code"]) == (503, "dependency_unavailable")
        assert away.headers["retry-after"]
        issuer.answer = well
        await asyncio.sleep(2.1)  # no fetch for two seconds after a failure
        assert (await world.me(user_id)).status_code == 200
        asked = len(issuer.asked)
        assert (await world.me(user_id)).status_code == 200
        assert len(issuer.asked) == asked
        assert (await world.me(user_id, azp=APP)).status_code == 200
        for party in ("https://evil.example", None, "", 7, f"{APP}/"):
            assert (await world.me(user_id, azp=party)).json()["code"] == "token_invalid", party
        token = instance.session_token(user_id)
        assert (await ask(world, token)).status_code == 200
        issuer.answer = _another_key  # under the same kid, as Clerk names keys after the instance
        core: Core = world.service.app.core
        assert core.clerk_tokens is not None
        await core.clerk_tokens.keys.fetch()  # type: ignore[attr-defined]
        assert (await ask(world, token)).json()["code"] == "token_invalid", "its verdict was remembered"
        issuer.answer = well
        await core.clerk_tokens.keys.fetch()  # type: ignore[attr-defined]
    environ["IDP_CLERK__ALLOW_MISSING_AZP"] = "true"
    async with running_world(world.service.database_url, instance=instance, migrate=False, **environ) as world:
        assert (await world.me(user_id, azp=None)).status_code == 200
        assert (await world.me(user_id, azp="https://evil.example")).status_code == 401


async def _another_key(issuer: Issuer, _path: str) -> bytes:
    return http(json.dumps(ClerkInstance(issuer.url, new_state()).jwks()).encode())


async def _hangs_up(_issuer: Issuer, _path: str) -> bytes:
    return b""


async def test_a_user_of_the_first_request_is_created_if_the_setting_says_so(postgres: EmbeddedPostgres) -> None:
    """`clerk.provision_on_first_sight`: the webhook completes them; a deleted one stays deleted."""
    environ = {"IDP_CLERK__PROVISION_ON_FIRST_SIGHT": "true"}
    async with running_world(postgres.create_database("clerk_first_sight"), **environ) as world:
        created = world.instance.create(email="first@example.com", first_name="First")
        user_id = created["data"]["id"]
        answers = await asyncio.gather(*(world.me(user_id) for _ in range(20)))
        assert {answer.status_code for answer in answers} == {200}
        assert answers[0].json()["email"] is None
        await world.send(created)
        assert (await world.me(user_id)).json()["email"] == "first@example.com"
        gone = world.instance.create()
        await world.send(world.instance.delete(gone["data"]["id"]))
        assert (await world.me(gone["data"]["id"])).json()["code"] == "user_inactive"


async def test_unusable_settings_are_refused_with_a_sentence(clerk: World) -> None:
    base = {"DATABASE_URL": clerk.service.database_url, "IDP_SECRET_KEY": root_secret()}
    ec = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEb2lk\n-----END PUBLIC KEY-----"
    wrong = {
        "CLERK_PUBLISHABLE_KEY is not": {"CLERK_PUBLISHABLE_KEY": "sk_test_abc"},
        "CLERK_PUBLISHABLE_KEY is not ": {"CLERK_PUBLISHABLE_KEY": "pk_test_" + b64url(b"host.example.com")},
        "CLERK_JWT_KEY is set without": {"CLERK_JWT_KEY": clerk.instance.public_key},
        "CLERK_JWT_KEY is not a": {"CLERK_ISSUER": ISSUER, "CLERK_JWT_KEY": ec},
        "CLERK_WEBHOOK_SECRET is not": {"CLERK_WEBHOOK_SECRET": "whsec_short"},
        "configured for Clerk and elsewhere": {
            "CLERK_ISSUER": ISSUER, "AUTH_OIDC_ISSUER": ISSUER, "AUTH_OIDC_AUDIENCE": "a"
        },
    }  # fmt: skip
    for sentence, environ in wrong.items():
        with pytest.raises(SettingsError, match=sentence.strip()):
            create_app(load("development", environ=base | environ))


async def test_the_publishable_key_names_the_issuer(clerk: World) -> None:
    key = "pk_live_" + b64url(b"clerk.example.com$")
    environ = {"CLERK_PUBLISHABLE_KEY": key, "CLERK_JWT_KEY": clerk.instance.public_key.replace("\n", "\\n")}
    async with running(clerk.service.database_url, environ=environ, migrate=False) as service:
        core: Core = service.app.core
        assert core.clerk_tokens is not None
        assert core.clerk_tokens.issuer == ISSUER
        token = clerk.instance.session_token("user_unsynced")
        answer = await service.client.get(ME, headers={"Authorization": f"Bearer {token}"})
        assert answer.json()["code"] == "user_not_synced"
