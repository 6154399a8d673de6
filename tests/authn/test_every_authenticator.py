"""Every authenticator passes the shared suite (style card 13, rule 1): see `authenticator_suite.py`."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from authn.authenticator_suite import (
    CASES,
    AuthenticatorCase,
    Bad,
    Good,
    NotApplicable,
    World,
    ask,
    authenticator_of,
    chain_of,
    presented,
)
from authn.gateway_plugin import Gateway
from factories import Service
from idp.authn.outcome import Authenticated, ByCookie, ByKey, NotMine, Rejected, Unavailable
from idp.cli.dev_process import build
from idp.dev.embedded import EmbeddedPostgres

# Everything that a case may leave unanswered, with the question: one more line here is a decision, not an oversight.
NOT_APPLICABLE = {
    ("admin_token", "expired"),
    ("admin_token", "meant_for_others"),
    ("admin_token", "without_database"),
    ("dev_headers", "expired"),
}
every_case = pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.label)


@pytest.fixture(scope="module")
async def world(postgres: EmbeddedPostgres, installed_gateway: Gateway) -> AsyncIterator[World]:
    url, gateway = postgres.create_database("every_authenticator"), installed_gateway
    async with World.start(url, gateway.config, gateway.secret) as world:
        yield world


@pytest.fixture
def case(kind: type[AuthenticatorCase], world: World) -> AuthenticatorCase:
    return kind(world)


async def check_refused(service: Service, bad: Bad) -> None:
    answer = await ask(service, bad.headers)
    assert (answer.status_code, answer.json()["code"]) == (bad.status, bad.code), f"{bad.what}: {answer.text}"
    assert answer.headers["Content-Type"] == "application/problem+json"
    if bad.status == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer"), bad.what


async def check_accepted(service: Service, good: Good) -> None:
    answer = await ask(service, good.headers)
    assert answer.status_code == 200, answer.text
    if good.person is not None:
        assert (await service.me(good.headers)).json()["id"] == good.person.id


# --- who is in the suite ---------------------------------------------------------------------------------------------


async def test_every_authenticator_of_the_chain_has_a_case(world: World, service: Service, production: Service) -> None:
    """A new authenticator without a case fails here, and so does a case without its authenticator."""
    cases = {kind.authenticator for kind in CASES}
    assert [each.name for each in chain_of(world.service).authenticators] == [
        "admin_token",
        "api_key",
        "local_jwt",
        "upstream_oidc",
        "session_cookie",
        "clerk_jwt",
        "gateway",
        "dev_headers",
    ]
    for running in (world.service, service, production):
        assert {each.name for each in chain_of(running).authenticators} <= cases
    assert cases == {each.name for each in chain_of(world.service).authenticators}
    assert len({kind.label for kind in CASES}) == len(CASES)


@every_case
async def test_inapplicable_requirements_are_listed(case: AuthenticatorCase) -> None:
    """Nothing is skipped in silence: the cases and the table above say the same, each with a reason."""
    answers = {
        "expired": await case.expired(),
        "meant_for_others": await case.meant_for_others(),
        "without_database": case.without_database(),
    }
    left_out = {question for question, answer in answers.items() if isinstance(answer, NotApplicable)}
    assert {(case.label, question) for question in left_out} == {
        entry for entry in NOT_APPLICABLE if entry[0] == case.label
    }
    assert all(len(answer.why) > 20 for answer in answers.values() if isinstance(answer, NotApplicable))
    assert await case.malformed()
    assert await case.revocations()


# --- the questions ---------------------------------------------------------------------------------------------------


@every_case
async def test_a_valid_credential_identifies_the_caller(case: AuthenticatorCase) -> None:
    """The suite means something only if the credentials it damages are good before."""
    good = await case.good()
    outcome = await authenticator_of(case.service, case.authenticator).authenticate(presented(_local(good.headers)))
    assert isinstance(outcome, Authenticated)
    if outcome.credential is None:
        assert isinstance(outcome.subject, ByKey | ByCookie), "only the database knows whose a key or a cookie is"
    else:
        assert outcome.credential.method in {case.authenticator, "plugin"}
    await check_accepted(case.service, good)


@every_case
async def test_no_authenticator_owns_an_absent_credential(case: AuthenticatorCase) -> None:
    """Absent is not invalid: the authenticator steps aside, and the route says 401 without calling anything bad."""
    authenticator = authenticator_of(case.service, case.authenticator)
    for headers in ({}, {"Host": "localhost"}, {"Cookie": "a=b"}, {"X-Other": "1"}):
        assert isinstance(await authenticator.authenticate(presented(headers)), NotMine)
    answer = await ask(case.service, {})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@every_case
async def test_a_credential_of_another_kind_is_not_judged(case: AuthenticatorCase) -> None:
    """SEC-13: each credential is tried only by its own authenticator; all others step aside, they do not refuse."""
    authenticator = authenticator_of(case.service, case.authenticator)
    for other in CASES:
        if other.authenticator != case.authenticator:
            good = await other(case.world).good()
            outcome = await authenticator.authenticate(presented(_local(good.headers)))
            assert isinstance(outcome, NotMine), f"{case.label} judged {other.label}"


@every_case
async def test_a_malformed_credential_is_refused(case: AuthenticatorCase) -> None:
    """SEC-14: presented and useless is 401 with a code, never anonymous."""
    for bad in await case.malformed():
        await check_refused(case.service, bad)


@every_case
async def test_an_expired_credential_is_refused(case: AuthenticatorCase) -> None:
    """SEC-14 SEC-23: expired is its own answer. What cannot expire is still good in ten years."""
    expired = await case.expired()
    if isinstance(expired, NotApplicable):
        good = await case.good()
        with time_machine.travel(datetime.now(UTC) + timedelta(days=3650), tick=True):
            await check_accepted(case.service, good)
        return
    for bad in expired:
        await check_refused(case.service, bad)


@every_case
async def test_a_credential_for_another_audience_is_refused(case: AuthenticatorCase) -> None:
    """SEC-24: a wrong issuer or audience. What names neither is good whatever this deployment is called."""
    foreign = await case.meant_for_others()
    if isinstance(foreign, NotApplicable):
        good = await case.good()
        async with case.world.restarted({"IDP_PUBLIC_URL": "https://renamed.example.com"}) as renamed:
            await check_accepted(renamed, good)
        return
    for bad in foreign:
        await check_refused(case.service, bad)


@every_case
async def test_a_revoked_credential_is_refused_at_once(case: AuthenticatorCase) -> None:
    """SEC-19: a disabled or deleted user, a changed setting. The very same credential was good before."""
    for revocation in await case.revocations():
        good = await case.good()
        await check_accepted(case.service, good)
        bad = Bad(revocation.how, good.headers, revocation.code)
        if revocation.sql is not None:
            assert good.person is not None
            await case.service.sql(revocation.sql, good.person.id)
            await check_refused(case.service, bad)
        else:
            async with case.world.restarted(revocation.environ) as restarted:
                await check_refused(restarted, bad)
            async with case.world.restarted({}) as as_before:
                await check_accepted(as_before, good)


@every_case
async def test_a_second_explicit_credential_is_ambiguous(case: AuthenticatorCase) -> None:
    """C-24: whatever the first one was. Where it was only a header of its own, the explicit one decides alone."""
    good = await case.good()
    answer = await ask(case.service, {**good.headers, "X-API-Key": "another"})
    if "Authorization" in good.headers:
        assert (answer.status_code, answer.json()["code"]) == (400, "ambiguous_credentials")
    else:
        assert (answer.status_code, answer.json()["code"]) == (401, "credential_unrecognised")


# --- the dependency is down ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def stranded(
    installed_gateway: Gateway, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[World, EmbeddedPostgres, Mapping[str, Good]]]:
    """A deployment whose PostgreSQL was stopped after everyone got a credential."""
    gateway = installed_gateway
    with EmbeddedPostgres(tmp_path_factory.mktemp("stranded") / "postgres") as server:
        async with World.start(server.url, gateway.config, gateway.secret) as world:
            good = {kind.label: await kind(world).good() for kind in CASES}
            server.stop()
            yield world, server, good


Stranded = tuple[World, EmbeddedPostgres, Mapping[str, Good]]


@every_case
async def test_without_its_database_a_credential_is_unavailable_and_never_invalid(
    kind: type[AuthenticatorCase], stranded: Stranded
) -> None:
    """Rule 1: 503 with Retry-After, never 401. What needs no database goes on."""
    world, _, goods = stranded
    case, good = kind(world), goods[kind.label]
    answer = await ask(world.service, good.headers)
    if isinstance(case.without_database(), NotApplicable):
        assert (answer.status_code, answer.json()) == (200, [])
        return
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable"), answer.text
    assert answer.headers["Retry-After"] == "1"
    assert "WWW-Authenticate" not in answer.headers


@every_case
async def test_a_process_that_starts_without_its_database_says_unavailable(
    kind: type[AuthenticatorCase], stranded: Stranded
) -> None:
    """Rule 1: with nothing in memory yet, the authenticator itself has to say that it cannot know."""
    world, _, goods = stranded
    app = build(world.service.loaded)
    (middleware,) = app.middleware
    chain = middleware.introspector.chain  # type: ignore[union-attr]
    credential = presented(_local(goods[kind.label].headers))
    outcome = await chain.authenticate(credential)
    verdict = await middleware.introspector.introspect(credential)  # type: ignore[union-attr]
    await app.core.database.close()
    assert not isinstance(outcome, Rejected)
    assert isinstance(outcome, Unavailable) is kind.asks_database
    if kind(world).without_database() is None:
        assert verdict.unknown
        assert verdict.principal is None
    else:
        assert verdict.principal is not None


async def test_bad_credentials_are_bad_without_a_database_too(stranded: Stranded) -> None:
    """A signature alone is verified without the database; in an outage, nothing else is trusted."""
    world, _, goods = stranded
    for label in ("local_jwt at+jwt", "local_jwt HS256", "plugin"):
        ((name, value),) = goods[label].headers.items()
        answer = await ask(world.service, {name: value[:-6] + "AAAAAA"})
        assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid"), label


async def test_when_the_database_is_back_everyone_is_back(stranded: Stranded) -> None:
    """Recovery needs no restart."""
    world, server, goods = stranded
    server.start()
    try:
        for label, good in goods.items():
            if label != "plugin":  # an assertion lives half a minute, whatever happens meanwhile
                await check_accepted(world.service, good)
    finally:
        server.stop()


def _local(headers: Mapping[str, str]) -> dict[str, str]:
    """Add the Host that a client of this machine sends."""
    return {"Host": "localhost", **headers}
