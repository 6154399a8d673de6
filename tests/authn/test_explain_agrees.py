"""Explain and enforce never differ: 5,000 generated requests, each sent to its route and explained.

The requests combine every kind of credential, good and bad, with every route, origins and CSRF tokens. Bodies are
malformed on purpose, so that a request that is let in changes nothing.
"""

import json
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from authn.authenticator_suite import (
    ADMIN_TOKEN,
    CASES,
    ENVIRON,
    SHARED_SECRET,
    NotApplicable,
    World,
    about,
    bearer,
    flipped,
)
from authn.gateway_plugin import Gateway
from authn.test_policies import filled
from factories import Person
from idp.dev.embedded import EmbeddedPostgres
from idp.principal.guards import RoutePolicy, policies

REQUESTS = 5000
# The handler itself decides, or does something without a body.
NOT_SENT = {
    "/auth/logout",
    "/api/auth/logout",
    "/auth/logout-all",
    "/api/auth/logout-all",
    "/v1/me/export",
    "/api/auth/csrf",
}
# What a route answers before its handler runs, or a fast route.
REFUSALS = {
    "admin_required", "ambiguous_credentials", "clerk_session_pending", "clerk_token_not_accepted",
    "credential_not_accepted", "credential_unrecognised", "csrf_rejected", "dev_email_required",
    "dev_headers_malformed", "development_token", "events_scope_required", "fresh_login_required",
    "not_a_user", "origin_not_allowed", "shared_secret_token", "team_admin_required",
    "token_expired", "token_invalid", "token_not_found", "token_revoked", "unauthenticated", "user_inactive",
}  # fmt: skip
Headers = dict[str, str]


@pytest.fixture(scope="module")
async def world(postgres: EmbeddedPostgres, installed_gateway: Gateway) -> AsyncIterator[World]:
    url, gateway = postgres.create_database("explain_agrees"), installed_gateway
    async with World.start(url, gateway.config, gateway.secret) as world:
        yield world


class Pool:
    """Credentials of every kind, and the routes to send them to."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.credentials: list[Headers] = [{}]
        self.team = ""

    async def fill(self) -> None:
        """Make three of every kind, everything that is wrong with one, and credentials with every authority."""
        for kind in CASES:
            case = kind(self.world)
            self.credentials += [dict((await case.good()).headers) for _ in range(3)]
            for wrong in (await case.malformed(), await case.expired(), await case.meant_for_others()):
                if not isinstance(wrong, NotApplicable):
                    self.credentials += [dict(each.headers) for each in wrong]
            for ended in [each for each in await case.revocations() if each.sql]:
                good = await case.good()
                await self.world.service.sql(ended.sql, good.person.id)
                self.credentials.append(dict(good.headers))
        await self._add_authorities()
        await self._add_cookies()
        self._combine()

    async def _add_authorities(self) -> None:
        service, admin = self.world.service, bearer(ADMIN_TOKEN)
        self.team = (await service.client.post("/teams", json={"name": "Explained"}, headers=admin)).json()["id"]
        administrator, lead = await service.register_admin(), await service.register()
        path = f"/teams/{self.team}/members/{lead.id}"
        await service.client.put(path, json={"role": "admin"}, headers=admin)
        for person in (administrator, lead):
            self.credentials += [person.bearer, bearer(await self._asymmetric(person))]
        for scope in ("idp:manage", "idp:introspect"):
            body = {"name": secrets.token_hex(6), "scopes": [scope]}
            made = await service.client.post("/auth/tokens", json=body, headers=admin)
            self.credentials.append(bearer(made.json()["token"]))

    async def _asymmetric(self, person: Person) -> str:
        tokens = self.world.service.app.core.tokens
        return (await tokens.issue_asymmetric(about(person), session=person.token_session)).token

    async def _add_cookies(self) -> None:
        for person in (await self.world.service.register(), await self.world.service.register_admin()):
            body = {"email": person.email, "password": person.password}
            answer = await self.world.service.client.post("/auth/login?mode=cookie", json=body)
            cookie, csrf = answer.cookies["idp_session"], answer.cookies["idp_csrf"]
            self.world.service.client.cookies.clear()
            plain = {"Cookie": f"idp_session={cookie}"}
            good = plain | {"X-CSRF-Token": csrf}
            self.credentials += [plain, good, plain | {"X-CSRF-Token": flipped(csrf)}]
            self.credentials += [
                good | {"Origin": "https://other.example.com"},
                good | {"Sec-Fetch-Site": "cross-site"},
            ]
            self.credentials += [good | {"Origin": "null"}, good | {"Sec-Fetch-Site": "same-origin"}]

    def _combine(self) -> None:
        """Add pairs of credentials, which are ambiguous, and the same credential in both headers."""
        tokens = [each["Authorization"].removeprefix("Bearer ") for each in self.credentials if "Authorization" in each]
        keys = [each["X-API-Key"] for each in self.credentials if "X-API-Key" in each]
        self.credentials += [bearer(tokens[0]) | {"X-API-Key": keys[0]}, bearer(keys[0]) | {"X-API-Key": keys[0]}]
        self.credentials += [bearer(tokens[-1]) | {"Cookie": "idp_session=x"}, {"Authorization": "Basic cGF0OnBhdA=="}]
        self.credentials += [{"Authorization": keys[0]}, {"X-API-Key": tokens[0]}, {"X-API-Key": ""}]

    def request(self, rng: random.Random, lines: list[RoutePolicy]) -> tuple[str, str, Headers]:
        line = rng.choice(lines)
        path = line.path
        if "{team_id:uuid}" in path and rng.random() < 0.7:
            path = path.replace("{team_id:uuid}", self.team)
        headers = dict(rng.choice(self.credentials))
        if headers and rng.random() < 0.1:
            name = rng.choice(sorted(headers))
            headers[name] = flipped(headers[name]) if headers[name] else "x"
        return line.method, filled(path), headers


def code_of(answer: Any) -> str | None:
    try:
        found = json.loads(answer.content)
    except ValueError:
        return None
    return found.get("code") if isinstance(found, dict) else None


async def explained(world: World, headers: Headers, route: str) -> Any:
    body = {"headers": headers, "route": route}
    answer = await world.service.client.post("/auth/explain", json=body, headers=bearer(ADMIN_TOKEN))
    assert answer.status_code == 200, (route, headers, answer.text)
    return answer


def hidden_in(headers: Headers) -> list[str]:
    """Return what an explanation of these headers never repeats: secrets, and every part of their secret half."""
    found = [ADMIN_TOKEN, SHARED_SECRET, ENVIRON["IDP_SECRET_KEY"]]
    for value in headers.values():
        secret = value.removeprefix("Bearer ").removeprefix("idp_session=").rpartition(".")[2]
        secret = secret.removeprefix("sk_live_").removeprefix("amp_live_")
        found += [secret[at : at + 16] for at in range(0, max(0, len(secret) - 15), 8)]
    return found


async def test_explain_and_enforce_never_differ_in_5000_generated_requests(world: World) -> None:
    """Issue "Explain": the same route, verdict, status and code, and no secret in any explanation."""
    pool, rng = Pool(world), random.Random(11)
    await pool.fill()
    lines = [each for each in policies(world.service.app) if each.path not in NOT_SENT and each.method != "HEAD"]
    seen: Counter[str] = Counter()
    for _ in range(REQUESTS):
        method, path, headers = pool.request(rng, lines)
        sent = {name: value.encode("latin-1") for name, value in headers.items()}
        content = b"[" if method != "GET" else None
        more = {"Content-Type": "application/json"} if content else {}
        answer = await world.service.client.request(method, path, headers=sent | more, content=content)
        text = await explained(world, headers, f"{method} {path}")
        found = text.json()
        context = (method, path, headers, answer.status_code, answer.text[:300], found["route"], found["verdict"])
        verdict = found["route"]
        if verdict["admitted"] is None:  # the handler decides by the body
            continue
        refused = code_of(answer) if code_of(answer) in REFUSALS else None
        assert verdict["code"] == refused, context
        if refused is not None:
            assert verdict["status"] == answer.status_code, context
        assert found["origin"]["agrees"], context
        assert not [each for each in hidden_in(headers) if each in text.text], context
        seen[refused or "admitted"] += 1
    assert seen["admitted"] > REQUESTS / 10, seen
    assert set(seen) >= REFUSALS - {"development_token"}, (REFUSALS - set(seen), seen)
