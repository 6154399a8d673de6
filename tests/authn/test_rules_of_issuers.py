"""Claim rules on the running service: teams, domains and roles follow the newest token (decision 0044)."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from authn.issuer_support import AUDIENCE, Issuer, running_issuer
from factories import Service, running
from flows.mail_support import ask_for_reset, reset
from idp.dev.embedded import EmbeddedPostgres

_numbers = itertools.count(1)
RULES: list[dict[str, Any]] = [
    {"claim": "groups", "values": ["eng"], "teams": ["Engineering"], "domains": ["design"], "roles": ["engineer"]},
    {"claim": "groups", "values": ["leads"], "teams": ["Engineering:admin"]},
    {"claim": "groups", "values": ["root"], "roles": ["admin"], "allow_admin_role": True},
    {"claim": "groups", "values": ["nothing"], "teams": ["No such team"]},
    {"claim": "realm_access.roles", "values": ["designer"], "teams": ["Design"], "roles": ["designer"]},
    {"claim": "departments", "teams_by_external_ref": True, "domains_by_key": True},
]


@dataclass(frozen=True)
class World:
    """A deployment with the rules for one issuer, another with its own, and one that creates no users."""

    service: Service
    issuer: Issuer
    second: Issuer
    closed: Issuer

    async def me(self, token: str) -> dict[str, Any]:
        answer = await self.service.client.get("/auth/me", headers={"Authorization": f"Bearer {token}"})
        return dict(answer.json())

    async def rights(self, token: str) -> tuple[set[str], set[str], set[str]]:
        """Return teams (admin ones with `:admin`), domains and roles, without those of every user."""
        me = await self.me(token)
        teams = {team["name"] + (":admin" if team["role"] == "admin" else "") for team in me["teams"]}
        return (
            teams - {"General"},
            {each["key"] for each in me["domains"]} - {"engineering"},
            set(me["roles"]) - {"user"},
        )


@pytest.fixture(scope="module")
async def world(postgres: EmbeddedPostgres) -> AsyncIterator[World]:
    async with running_issuer() as issuer, running_issuer() as second, running_issuer() as closed:
        trusted = {"audience": [AUDIENCE], "trusted_email_domains": ["corp.example"]}
        providers = {
            "corp": {"issuer": issuer.url, "rules": RULES, **trusted},
            "second": {"issuer": second.url, "rules": RULES[:1], **trusted},
            "closed": {"issuer": closed.url, "create_users": False, **trusted},
        }
        environ = {"IDP_OIDC__PROVIDERS": json.dumps(providers)}
        async with running(postgres.create_database("rules_of_issuers"), environ=environ) as service:
            yield World(service, issuer, second, closed)


def new_subject() -> str:
    return f"subject-{next(_numbers)}"


async def test_the_first_token_gives_what_the_rules_say(world: World) -> None:
    """S3-07 S3-37."""
    token = world.issuer.token(sub=new_subject(), groups=["eng", "others"], realm_access={"roles": ["designer"]})
    assert await world.rights(token) == ({"Engineering", "Design"}, {"design"}, {"engineer", "designer"})
    me = await world.me(token)
    sources = await world.service.sql("SELECT role, source FROM idp.user_roles WHERE user_id = $1", me["id"])
    rule = f"rule:{world.issuer.url}"
    assert {row["role"]: row["source"] for row in sources} == {
        "user": "default",
        "engineer": f"{rule}#groups",
        "designer": f"{rule}#realm_access.roles",
    }
    actions = await world.service.sql("SELECT action FROM idp.audit_logs WHERE user_id = $1", me["id"])
    assert {"team.member_added", "domain.user_added", "user.roles_changed"} <= {row["action"] for row in actions}


async def test_a_newer_token_takes_away_what_the_rules_gave(world: World) -> None:
    subject, now = new_subject(), int(time.time())
    before = world.issuer.token(sub=subject, groups=["eng", "leads"], iat=now - 20)
    assert await world.rights(before) == ({"Engineering:admin"}, {"design"}, {"engineer"})
    after = world.issuer.token(sub=subject, groups=["leads"], iat=now - 10)
    assert await world.rights(after) == ({"Engineering:admin"}, set(), set())
    assert await world.rights(world.issuer.token(sub=subject, groups=[], iat=now)) == (set(), set(), set())


async def test_an_older_token_brings_nothing_back(world: World) -> None:
    """The person was removed from the group; the token from before is valid until it expires."""
    subject, now = new_subject(), int(time.time())
    old = world.issuer.token(sub=subject, groups=["eng"], iat=now - 60)
    assert await world.rights(old) == ({"Engineering"}, {"design"}, {"engineer"})
    assert await world.rights(world.issuer.token(sub=subject, groups=["others"], iat=now)) == (set(), set(), set())
    assert await world.rights(old) == (set(), set(), set())
    same_time = world.issuer.token(sub=subject, groups=["eng"], iat=now - 60, jti="another")
    assert await world.rights(same_time) == (set(), set(), set())


async def test_an_older_token_that_was_kept_back_gives_nothing(world: World) -> None:
    """SEC-15: first presented after a newer one that said the same as the one before."""
    subject, now = new_subject(), int(time.time())
    before, kept, after = (
        world.issuer.token(sub=subject, groups=groups, iat=now - age)
        for groups, age in ((["others"], 60), (["root"], 40), (["others"], 20))
    )
    for token in (before, after, kept):
        assert await world.rights(token) == (set(), set(), set())


async def test_a_claim_with_nul_names_nothing(world: World) -> None:
    """SEC-76: PostgreSQL cannot store it."""
    for departments in ("a\x00b", ["product", "a\x00b"], {"a\x00b": 1, "product": 1}):
        token = world.issuer.token(sub=new_subject(), departments=departments)
        teams, _, _ = await world.rights(token)
        assert teams == ({"Product"} if "product" in departments else set())


async def test_a_claimed_account_keeps_nothing_that_rules_gave(world: World) -> None:
    """C-11, SEC-15: without the identity no later token could take it away any more."""
    email = world.service.new_email("insider")
    token = world.issuer.token(sub=new_subject(), groups=["root", "eng"], realm_access={"roles": []}, email=email)
    assert await world.rights(token) == ({"Engineering"}, {"design"}, {"admin", "engineer"})
    await reset(world.service, await ask_for_reset(world.service, email), "a brand new password")
    body = {"email": email, "password": "a brand new password"}
    signed_in = (await world.service.client.post("/auth/login", json=body)).json()
    assert await world.rights(signed_in["access_token"]) == (set(), set(), set())


async def test_an_absent_claim_takes_nothing_away(world: World) -> None:
    """An access token without groups, and Entra's overage: unknown, not none."""
    subject = new_subject()
    given = await world.rights(world.issuer.token(sub=subject, groups=["eng"], realm_access={"roles": ["designer"]}))
    for claims in ({}, {"groups": [], "_claim_names": {"groups": "src1"}}, {"hasgroups": True}, {"groups": 7}):
        assert await world.rights(world.issuer.token(sub=subject, jti=str(next(_numbers)), **claims)) == given
    only_one_known = world.issuer.token(sub=subject, realm_access={"roles": []})
    assert await world.rights(only_one_known) == ({"Engineering"}, {"design"}, {"engineer"})


async def test_values_name_teams_by_reference_and_domains_by_key(world: World) -> None:
    subject = new_subject()
    token = world.issuer.token(sub=subject, departments=["product", "marketing", "unheard of"])
    assert await world.rights(token) == ({"Product"}, {"product", "marketing"}, set())
    assert await world.rights(world.issuer.token(sub=subject, iat=int(time.time()), groups=["eng"])) == (
        {"Product", "Engineering"},
        {"product", "marketing", "design"},
        {"engineer"},
    )
    assert await world.rights(world.issuer.token(sub=subject, departments=[])) == (
        {"Engineering"},
        {"design"},
        {"engineer"},
    )


async def test_what_an_administrator_gave_stays(world: World) -> None:
    subject, admin = new_subject(), await world.service.register_admin()
    me = await world.me(world.issuer.token(sub=subject, groups=["others"]))
    teams = (await world.service.client.get("/teams/all", headers=admin.bearer)).json()
    team = next(each["id"] for each in teams if each["name"] == "Engineering")
    url = f"/teams/{team}/members/{me['id']}"
    assert (await world.service.client.put(url, headers=admin.bearer, json={})).status_code == 200
    now = int(time.time())
    await world.rights(world.issuer.token(sub=subject, groups=["eng"], iat=now - 1))
    assert (await world.rights(world.issuer.token(sub=subject, groups=[], iat=now)))[0] == {"Engineering"}


async def test_the_role_admin_comes_only_by_a_rule_that_says_so(world: World) -> None:
    subject, now = new_subject(), int(time.time())
    token = world.issuer.token(sub=subject, groups=["root"], iat=now - 10)
    headers = {"Authorization": f"Bearer {token}"}
    assert (await world.service.client.get("/api/auth/admin/users", headers=headers)).status_code == 200
    await world.rights(world.issuer.token(sub=subject, groups=["eng"], iat=now))
    assert (await world.service.client.get("/api/auth/admin/users", headers=headers)).status_code == 403


async def test_what_two_issuers_give_stays_while_one_of_them_gives_it(world: World) -> None:
    email, now = f"two-{next(_numbers)}@corp.example", int(time.time())
    about = {"sub": new_subject(), "email": email, "email_verified": True, "groups": ["eng"], "iat": now - 20}
    first = await world.me(world.issuer.token(**about))
    second = world.second.token(**about)
    assert (await world.me(second))["id"] == first["id"]
    await world.me(world.issuer.token(**about | {"groups": [], "iat": now - 10}))
    assert await world.rights(world.second.token(**about, jti="again")) == ({"Engineering"}, {"design"}, {"engineer"})


async def test_many_tokens_at_once_end_with_the_newest(world: World) -> None:
    subject, now = new_subject(), int(time.time())
    tokens = [
        world.issuer.token(sub=subject, iat=now - age, groups=["eng"] if age % 2 else ["leads"], jti=str(age))
        for age in range(40)
    ]
    await asyncio.gather(*map(world.me, tokens))
    assert (await world.rights(tokens[1])) == ({"Engineering:admin"}, set(), set())


async def test_a_team_that_is_deleted_meanwhile_fails_no_request(world: World) -> None:
    admin = await world.service.register_admin()
    for number in range(5):
        body = {"name": f"Short lived {number}", "external_ref": f"short-{number}"}
        team = (await world.service.client.post("/teams", headers=admin.bearer, json=body)).json()["id"]
        token = world.issuer.token(sub=new_subject(), departments=[f"short-{number}"])
        headers = {"Authorization": f"Bearer {token}"}
        answers = await asyncio.gather(
            world.service.client.get("/auth/me", headers=headers),
            world.service.client.delete(f"/teams/{team}", headers=admin.bearer),
        )
        assert [answer.status_code for answer in answers] == [200, 200]


async def test_a_deleted_user_gets_nothing(world: World) -> None:
    subject, now = new_subject(), int(time.time())
    me = await world.me(world.issuer.token(sub=subject, groups=[], iat=now - 10))
    await world.service.sql("UPDATE idp.users SET is_active = false, deleted_at = now() WHERE id = $1", me["id"])
    assert (await world.me(world.issuer.token(sub=subject, groups=["eng"], iat=now)))["code"] == "user_inactive"
    assert (
        await world.service.sql("SELECT FROM idp.user_domains WHERE user_id = $1 AND source LIKE 'rule:%'", me["id"])
        == []
    )


async def test_an_issuer_that_creates_no_users_is_for_accounts_that_exist(world: World) -> None:
    person = await world.service.register(f"closed-{next(_numbers)}@corp.example")
    unknown = await world.me(world.closed.token(sub=new_subject(), email="new@corp.example", email_verified=True))
    assert unknown["code"] == "token_not_found"
    assert await world.service.sql("SELECT FROM idp.users WHERE email = 'new@corp.example'") == []
    known = world.closed.token(sub=new_subject(), email=person.email, email_verified=True)
    assert (await world.me(known))["id"] == person.id
