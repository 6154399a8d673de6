"""Tokens of other issuers: verified by their keys, and one user for each identity (S3-07, S3-37, SEC-15)."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from authn.issuer_support import AUDIENCE, Issuer, http, key_of, running_issuer, well
from factories import Service, running
from idp.dev.embedded import EmbeddedPostgres
from idp.errors import DependencyUnavailable
from signing.forgery import b64url, compact, hs

ME = "/auth/me"
TRUSTED = "trusted.example.com"
REFUSED = {(401, "token_invalid"), (401, "token_expired"), (401, "credential_unrecognised")}
_numbers = itertools.count(1)


@dataclass(frozen=True)
class World:
    """A deployment that accepts the tokens of one issuer."""

    service: Service
    issuer: Issuer

    async def me(self, token: str) -> httpx2.Response:
        return await self.service.client.get(ME, headers={"Authorization": f"Bearer {token}"})

    def token(self, **changes: Any) -> str:
        """Return a good token of a new subject."""
        return self.issuer.token(**{"sub": f"subject-{next(_numbers)}"} | changes)


@pytest.fixture(scope="module")
async def world(postgres: EmbeddedPostgres) -> AsyncIterator[World]:
    async with running_issuer() as issuer:
        environ = {
            "AUTH_OIDC_ISSUER": issuer.url,
            "AUTH_OIDC_AUDIENCE": f"another,{AUDIENCE}",
            "AUTH_OIDC_TRUSTED_EMAIL_DOMAINS": TRUSTED,
        }
        async with running(postgres.create_database("upstream_oidc"), environ=environ) as service:
            yield World(service, issuer)


@pytest.fixture(autouse=True)
def restore_issuer(world: World) -> None:
    world.issuer.answer, world.issuer.kids = well, ["rsa-1"]


# --- users -----------------------------------------------------------------------------------------------------------


async def test_the_first_token_creates_the_user_and_the_next_one_finds_it(world: World) -> None:
    """S3-21 S3-25 S3-37: with the default team and domain, like every new user."""
    token = world.token(sub="first", email="first@example.com", name="First Person")
    user, again = (await world.me(token)).json(), (await world.me(world.issuer.token(sub="first"))).json()
    assert (user["email"], user["name"], user["login_type"]) == ("first@example.com", "First Person", "oidc")
    assert user["id"] == again["id"]
    assert [team["name"] for team in user["teams"]] == ["General"]
    assert [domain["key"] for domain in user["domains"]] == ["engineering"]
    rows = await world.service.sql("SELECT provider, subject FROM idp.identities WHERE user_id = $1", user["id"])
    assert [tuple(row) for row in rows] == [(world.issuer.url, "first")]
    audit = await world.service.sql("SELECT action FROM idp.audit_logs WHERE user_id = $1", user["id"])
    assert {"user.created", "user.identity_linked"} <= {row["action"] for row in audit}


async def test_a_hundred_first_requests_at_once_create_one_user(world: World) -> None:
    """SEC-69: the constraints decide, whichever request is first."""
    tokens = [world.issuer.token(sub="race", email="race@example.com", jti=str(number)) for number in range(100)]
    answers = await asyncio.gather(*map(world.me, tokens))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 1
    rows = await world.service.sql("SELECT id FROM idp.users WHERE email = 'race@example.com'")
    assert len(rows) == 1


async def test_validate_gives_the_same_verdict(world: World) -> None:
    """Rule 3."""
    token = world.token(email="same@example.com")
    user = (await world.me(token)).json()
    verdict = await world.service.validate(token)
    assert (verdict["valid"], verdict["kind"], verdict["user"]["id"]) == (True, "user", user["id"])


async def test_roles_groups_and_scopes_of_the_issuer_grant_nothing(world: World) -> None:
    token = world.token(roles=["admin"], groups=["admins"], scope="idp:manage", realm_access={"roles": ["admin"]})
    assert (await world.me(token)).json()["roles"] == ["user"]
    headers = {"Authorization": f"Bearer {token}"}
    assert (await world.service.client.get("/api/auth/admin/users", headers=headers)).status_code == 403


async def test_a_disabled_user_and_a_removed_identity_end_at_once(world: World) -> None:
    """SEC-19, rule 5: verdicts about foreign tokens are cached, and end with what they depend on."""
    token = world.token(sub="ending")
    user = (await world.me(token)).json()
    assert (await world.me(token)).status_code == 200
    await world.service.sql("UPDATE idp.users SET is_active = false WHERE id = $1", user["id"])
    await world.service.app.core.change_listener.catch_up()
    assert (await world.me(token)).json()["code"] == "user_inactive"
    await world.service.sql("UPDATE idp.users SET is_active = true WHERE id = $1", user["id"])
    await world.service.sql("DELETE FROM idp.identities WHERE user_id = $1", user["id"])
    await world.service.app.core.change_listener.catch_up()
    assert (await world.me(token)).json()["id"] != user["id"], "the identity is new again"


async def test_a_withdrawn_key_ends_the_verdicts_that_it_verified(world: World) -> None:
    world.issuer.kids = ["rsa-1", "rsa-2"]
    (issuer,) = world.service.app.core.foreign_issuers
    await issuer.keys.fetch()
    token = world.token(kid="rsa-2")
    assert (await world.me(token)).status_code == 200
    world.issuer.kids = ["rsa-1"]
    await issuer.keys.fetch()
    assert (await world.me(token)).json()["code"] == "token_invalid"


# --- addresses (C-11, SEC-16) ----------------------------------------------------------------------------------------


async def test_an_unverified_address_never_takes_an_account_over(world: World) -> None:
    owner = await world.service.register(email=f"owner-1@{TRUSTED}")
    for verified in (False, "false", None, 1, "yes"):
        user = (await world.me(world.token(email=owner.email, email_verified=verified))).json()
        assert (user["id"] != owner.id, user["email"]) == (True, None), verified


async def test_a_verified_address_of_an_untrusted_domain_never_takes_an_account_over(world: World) -> None:
    for email in ("owner-2@example.com", f"owner-2@sub.{TRUSTED}", f"owner-2@{TRUSTED}.example.com"):
        owner = await world.service.register(email=email)
        user = (await world.me(world.token(email=owner.email, email_verified=True))).json()
        assert (user["id"] != owner.id, user["email"]) == (True, None), email


async def test_a_verified_address_of_a_trusted_domain_claims_the_account(world: World) -> None:
    """C-11: a stranger who registered the address loses password and sessions; the account goes to its owner."""
    squatter = await world.service.register(email=f"owner-3@{TRUSTED}")
    user = (await world.me(world.token(email=squatter.email.upper(), email_verified="true"))).json()
    assert (user["id"], user["email_verified"]) == (squatter.id, True)
    assert (await world.me(squatter.token)).json()["code"] == "token_revoked"
    body = {"email": squatter.email, "password": squatter.password}
    assert (await world.service.client.post("/auth/login", json=body)).status_code == 401


async def test_a_new_address_is_verified_only_by_a_trusted_issuer(world: World) -> None:
    user = (await world.me(world.token(email=f"new@{TRUSTED}", email_verified=True))).json()
    assert (user["email"], user["email_verified"]) == (f"new@{TRUSTED}", True)
    user = (await world.me(world.token(email="new@elsewhere.example.com", email_verified=True))).json()
    assert (user["email"], user["email_verified"]) == ("new@elsewhere.example.com", False)


async def test_the_same_subject_of_another_issuer_is_another_user(postgres: EmbeddedPostgres) -> None:
    """SEC-15."""
    async with running_issuer() as one, running_issuer() as two:
        environ = {
            "AUTH_OIDC_ISSUER": one.url,
            "AUTH_OIDC_AUDIENCE": AUDIENCE,
            "IDP_OIDC__PROVIDERS": f'{{"two": {{"issuer": "{two.url}", "audience": ["{AUDIENCE}"]}}}}',
        }
        async with running(postgres.create_database("two_issuers"), environ=environ) as service:
            users = []
            for issuer in (one, two):
                answer = await World(service, issuer).me(issuer.token(sub="same", email="same@example.com"))
                users.append(answer.json())
            assert users[0]["id"] != users[1]["id"]
            assert [user["email"] for user in users] == ["same@example.com", None]


@pytest.mark.parametrize(
    ("claims", "email", "name"),
    [
        ({}, None, None),
        ({"email": ""}, None, None),
        ({"email": 5, "name": 5}, None, None),
        ({"email": "no address", "name": "\u0000\u202e"}, None, None),
        ({"name": "🦉 " * 300}, None, ("🦉 " * 300).strip()[:200]),
        ({"email": "x" * 300 + "@example.com", "name": "Ada\u0000 \u202eL"}, None, "Ada L"),
    ],
)
async def test_unusable_profile_claims_are_left_out(
    world: World, claims: dict[str, Any], email: str | None, name: str | None
) -> None:
    user = (await world.me(world.token(**claims))).json()
    assert (user["email"], user["name"]) == (email, name)


# --- refusals --------------------------------------------------------------------------------------------------------


def refusals(world: World) -> dict[str, str]:
    """Return forged and unfitting tokens by the reason to refuse them."""
    issuer, now = world.issuer, int(time.time())
    header, payload, signature = world.token().split(".")
    public = key_of("rsa-1").as_pem(private=False)

    def unsigned(**head: Any) -> str:
        return compact({"alg": "RS256", "kid": "rsa-1", "typ": "JWT"} | head, issuer.claims(), lambda _: b"x" * 256)

    return {
        "another audience": world.token(aud="somebody-else"),
        "no audience": world.token(aud=None),
        "an audience with the same beginning": world.token(aud=AUDIENCE + "s"),
        "an audience of another type": world.token(aud={AUDIENCE: True}),
        "expired": world.token(exp=now - 31),
        "no exp": world.token(exp=None),
        "exp is no number": world.token(exp="tomorrow"),
        "exp is beyond all dates": world.token(exp=1e300),
        "issued in the future": world.token(iat=now + 61),
        "not valid yet": world.token(nbf=now + 61),
        "no subject": world.token(sub=None),
        "an empty subject": world.token(sub=""),
        "a subject of 300 characters": world.token(sub="s" * 300),
        "a subject with NUL": world.token(sub="a\x00b"),
        "a subject that is a number": world.token(sub=5),
        "a refresh token by its payload": world.token(typ="Refresh"),
        "a token for another use": world.token(token_use="refresh"),
        "a logout token": world.token(header={"typ": "logout+jwt"}),
        "a DPoP proof": world.token(header={"typ": "dpop+jwt"}),
        "an unknown key": world.token(header={"kid": "unknown"}),
        "no kid": compact({"alg": "RS256", "typ": "JWT"}, issuer.claims(), lambda _: b"x" * 256),
        "no signature of the key": unsigned(),
        "another key's signature": issuer.token(kid="rsa-3", header={"kid": "rsa-1"}),
        "an algorithm of another key type": issuer.token(kid="ec-1", alg="ES256", header={"kid": "rsa-1"}),
        "PS256, which is not configured": issuer.token(kid="rsa-1", alg="PS256"),
        "HS256 with the public key as the secret": compact(
            {"alg": "HS256", "kid": "rsa-1", "typ": "JWT"}, issuer.claims(), hs(public)
        ),
        "alg none": compact({"alg": "none", "kid": "rsa-1"}, issuer.claims(), lambda _: b""),
        "no signature": f"{header}.{payload}.",
        "a changed signature": f"{header}.{payload}.{signature[:100]}AAAAAAAA{signature[108:]}",
        "a changed payload": f"{header}.{b64url(payload.encode())}.{signature}",
        "a critical extension": unsigned(crit=["exp"]),
    }


async def test_forged_and_unfitting_tokens_are_refused(world: World) -> None:
    """SEC-18, SEC-20 to SEC-26: every row is 401, and none creates a user."""
    before = (await world.service.sql("SELECT count(*) FROM idp.users"))[0][0]
    accepted = []
    for reason, token in refusals(world).items():
        answer = await world.me(token)
        if (answer.status_code, answer.json().get("code")) not in REFUSED:
            accepted.append(f"{reason}: {answer.status_code} {answer.text[:200]}")
    assert accepted == []
    assert (await world.service.sql("SELECT count(*) FROM idp.users"))[0][0] == before


async def test_an_issuer_that_is_not_configured_is_unrecognized(world: World) -> None:
    """SEC-24: compared exactly; one slash more is another issuer."""
    url = world.issuer.url
    for issuer in (url + "/", url.upper(), "https://elsewhere.example.com", None, [url]):
        answer = await world.me(world.token(iss=issuer))
        assert (answer.status_code, answer.json()["code"]) == (401, "credential_unrecognised"), issuer


async def test_a_dead_issuer_is_unavailable_and_never_invalid(postgres: EmbeddedPostgres) -> None:
    """Rule 1: 503 with Retry-After, until the issuer answers again."""

    async def html(_issuer: Issuer, _path: str) -> bytes:
        return http(b"<html>", kind="text/html")

    async with running_issuer() as issuer:
        environ = {"AUTH_OIDC_ISSUER": issuer.url, "AUTH_OIDC_AUDIENCE": AUDIENCE}
        async with running(postgres.create_database("dead_issuer"), environ=environ) as service:
            world = World(service, issuer)
            issuer.answer = html
            answer = await world.me(issuer.token())
            assert (answer.status_code, answer.json()["code"]) == (503, DependencyUnavailable.code)
            assert "Retry-After" in answer.headers
            issuer.answer = well
            service.app.core.foreign_issuers[0].keys._next_try = float("-inf")
            assert (await world.me(issuer.token())).status_code == 200
