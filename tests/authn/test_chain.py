"""The chain (rule 1, SEC-13, SEC-14): the first owner decides, later ones do not run, errors never authenticate."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog

import idp
from authn.authenticator_suite import chain_of
from factories import Service, running
from idp.app import create_app
from idp.authn import outcome as outcomes
from idp.authn.chain import AuthenticatorChain
from idp.authn.credential import Presented, from_token
from idp.authn.outcome import NOT_MINE, Authenticated, NotMine, Outcome, Rejected, Unavailable
from idp.dev.embedded import EmbeddedPostgres
from idp.development import Development
from idp.errors import CredentialUnrecognised, DatabaseUnavailable, DependencyUnavailable, TokenExpired
from idp.principal.model import AuthMethod, Credential
from idp.settings import SettingsError, load
from idp.settings_safety import refuse_unsafe

NOBODY = Presented()
ROBOT = Authenticated(outcomes.Service(), Credential(method=AuthMethod.PLUGIN, name="robot"))


class Says:
    """An authenticator that gives one answer, or raises it, and remembers being asked."""

    def __init__(self, answer: Any, name: str = "says") -> None:
        self.name = name
        self.answer = answer
        self.asked = 0

    async def authenticate(self, presented: Presented) -> Outcome:  # noqa: ARG002
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]


# --- who decides -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [ROBOT, Rejected(TokenExpired()), Unavailable(DependencyUnavailable()), DatabaseUnavailable(), ValueError()],
)  # fmt: skip
async def test_the_first_owner_decides_and_no_later_one_is_called(answer: Any) -> None:
    """C-24: whatever it says, and even if it breaks; a later one that would accept is never heard."""
    before, owner, after = Says(NOT_MINE), Says(answer), Says(ROBOT)
    outcome = await AuthenticatorChain([before, owner, after]).authenticate(from_token("a.b.c"))
    assert (before.asked, owner.asked, after.asked) == (1, 1, 0)
    if not isinstance(answer, Exception):
        assert outcome is answer


async def test_each_is_asked_once_and_in_order() -> None:
    asked: list[str] = []

    class Notes:
        def __init__(self, name: str) -> None:
            self.name = name

        async def authenticate(self, presented: Presented) -> Outcome:  # noqa: ARG002
            asked.append(self.name)
            return NOT_MINE

    await AuthenticatorChain([Notes("a"), Notes("b"), Notes("c")]).authenticate(NOBODY)
    assert asked == ["a", "b", "c"]


async def test_a_credential_without_owner_is_rejected_and_no_credential_is_anonymous() -> None:
    """SEC-14: an empty text is a credential too."""
    chain = AuthenticatorChain([Says(NOT_MINE)])
    for token in ("", "x", "a.b.c"):
        outcome = await chain.authenticate(from_token(token))
        assert isinstance(outcome, Rejected)
        assert isinstance(outcome.error, CredentialUnrecognised)
    assert isinstance(await chain.authenticate(NOBODY), NotMine)
    assert isinstance(await AuthenticatorChain([]).authenticate(from_token("x")), Rejected)


# --- one that breaks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyError("x"), RuntimeError(), TimeoutError(), OSError(), TypeError()]
)
async def test_an_authenticator_that_raises_is_unavailable_and_logged(error: Exception) -> None:
    """Rule 1: without a decision no caller is admitted, and no valid credential is called invalid."""
    with structlog.testing.capture_logs() as logged:
        outcome = await AuthenticatorChain([Says(error, "broken"), Says(ROBOT)]).authenticate(from_token("x"))
    assert isinstance(outcome, Unavailable)
    assert isinstance(outcome.error, DependencyUnavailable)
    assert [entry["authenticator"] for entry in logged] == ["broken"]


@pytest.mark.parametrize("answer", [None, True, False, "authenticated", {}, (), ROBOT.credential, TokenExpired()])
async def test_an_authenticator_with_an_invalid_outcome_is_unavailable(answer: Any) -> None:
    """Rule 1: "never None or bool", also where a plugin's author did not read it."""
    with structlog.testing.capture_logs() as logged:
        outcome = await AuthenticatorChain([Says(answer, "careless"), Says(ROBOT)]).authenticate(from_token("x"))
    assert isinstance(outcome, Unavailable)
    assert [entry["authenticator"] for entry in logged] == ["careless"]


async def test_a_database_that_is_away_keeps_its_own_name() -> None:
    """An operator reads 503 `database_unavailable`, not that something failed."""
    outcome = await AuthenticatorChain([Says(DatabaseUnavailable())]).authenticate(from_token("x"))
    assert isinstance(outcome, Unavailable)
    assert outcome.error.code == "database_unavailable"


class OnHeader:
    """A development authenticator that does something odd when a header asks for it."""

    name = "odd"

    async def authenticate(self, presented: Presented) -> Outcome:
        match presented.headers.get("x-odd") or presented.token:
            case "raise":
                raise RuntimeError("a defect of mine, with a secret in it: hunter2")
            case "none":
                return None  # type: ignore[return-value]
            case "robot":
                return ROBOT
            case _:
                return NOT_MINE


@pytest.fixture(scope="module")
async def odd(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    """A service with a further authenticator at the end of its chain."""
    url = postgres.create_database("odd")
    environ = {"DATABASE_URL": url, "IDP_SECRET_KEY": "x" * 40}
    app = create_app(load("development", environ=environ), Development(authenticators=(lambda _parts: OnHeader(),)))
    async with running(url, app=app) as service:
        yield service


@pytest.mark.parametrize("what", ["raise", "none"])
async def test_a_failing_authenticator_is_503_with_retry_after(odd: Service, what: str) -> None:
    """Rule 1: on a route and from /auth/validate, and the answer tells nothing of what went wrong."""
    routed = await odd.me({"X-Odd": what})
    asked = await odd.client.post("/auth/validate", json={"token": what})
    for answer in (routed, asked):
        assert (answer.status_code, answer.json()["code"]) == (503, "dependency_unavailable")
        assert answer.headers["Retry-After"] == "1"
        assert "hunter2" not in answer.text


async def test_a_failing_authenticator_does_not_affect_earlier_ones(odd: Service) -> None:
    person = await odd.register()
    answer = await odd.me({**person.bearer, "X-Odd": "raise"})
    assert (answer.status_code, answer.json()["id"]) == (200, person.id)


async def test_a_service_principal_has_no_user(odd: Service) -> None:
    """C-18: who asks "who am I" as a service is told to ask otherwise."""
    answer = await odd.me({"X-Odd": "robot"})
    assert (answer.status_code, answer.json()["code"]) == (403, "not_a_user")
    verdict = await odd.validate("robot")
    assert (verdict["valid"], verdict["kind"], verdict["user"], verdict["name"]) == (
        True,
        "service_token",
        None,
        "robot",
    )


# --- dev headers among the others (C-23, SEC-12, SEC-14) -------------------------------------------------------------


async def users_named(service: Service, email: str) -> int:
    (row,) = await service.sql("SELECT count(*) FROM idp.users WHERE email = $1", email)
    return int(row["count"])


async def test_dev_headers_beside_a_good_credential_are_ignored(service: Service) -> None:
    """C-23: the credential decides, and no user is created."""
    person, other = await service.register(), service.new_email()
    answer = await service.me({**person.bearer, "X-User-Email": other, "X-User-Name": "Other"})
    assert (answer.status_code, answer.json()["id"]) == (200, person.id)
    assert await users_named(service, other) == 0


async def test_a_rejected_token_beside_dev_headers_stays_401(service: Service) -> None:
    """SEC-14: for every kind of invalid token; and no user is created."""
    person, other = await service.register(), service.new_email()
    header, payload, signature = person.token.split(".")
    for token in (f"{header}.{payload}.AAAA", f"{header}.{payload}", "a.b.c", "rubbish", signature):
        for headers in ({"Authorization": f"Bearer {token}"}, {"X-API-Key": token}):
            answer = await service.me({**headers, "X-User-Email": other})
            assert answer.status_code == 401, token
    assert await users_named(service, other) == 0


@pytest.mark.parametrize(
    "host",
    ["evil.example.com", "localhost.evil.example.com", "evil-localhost", "127.0.0.1.nip.io", "localhost@evil.com",
     "192.0.2.1", "[2001:db8::1]", "0.0.0.0", "idp", "", "localhost,evil.example.com"],
)  # fmt: skip
async def test_dev_headers_under_a_foreign_name_are_refused(service: Service, host: str) -> None:
    """DNS rebinding: a page elsewhere points its own name at this machine, but cannot change what Host says."""
    email = service.new_email()
    answer = await service.me({"X-User-Email": email, "Host": host})
    assert (answer.status_code, answer.json()["code"]) == (401, "dev_headers_malformed")
    assert await users_named(service, email) == 0


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "127.8.9.1", "[::1]:8000", "idp.localhost"]
)
async def test_dev_headers_under_a_name_of_this_machine_are_accepted(service: Service, host: str) -> None:
    """S3-05."""
    email = service.new_email()
    answer = await service.me({"X-User-Email": email, "Host": host})
    assert (answer.status_code, answer.json()["email"]) == (200, email)


FROM_AFAR = {
    "a proxy's name": {"X-Forwarded-Host": "idp.example.com"},
    "a proxy's name among others": {"X-Forwarded-Host": "localhost, idp.example.com"},
    "a sender elsewhere": {"X-Forwarded-For": "203.0.113.9"},
    "a sender elsewhere, first of two": {"X-Forwarded-For": "203.0.113.9, 127.0.0.1"},
}
FROM_HERE = {
    "a local proxy": {"X-Forwarded-Host": "localhost:5173", "X-Forwarded-For": "127.0.0.1"},
    "a local proxy over IPv6": {"X-Forwarded-For": "::1"},
}


@pytest.mark.parametrize("name", [*FROM_AFAR, "a local proxy", "a local proxy over IPv6"])
async def test_dev_headers_through_a_proxy_are_accepted_only_if_every_hop_is_local(service: Service, name: str) -> None:
    """SEC-12: a tunnel or a proxy rewrites Host to localhost, and says where the request really came from."""
    email = service.new_email()
    answer = await service.me({"X-User-Email": email, "Host": "localhost", **(FROM_AFAR | FROM_HERE)[name]})
    if name in FROM_HERE:
        assert (answer.status_code, answer.json()["email"]) == (200, email)
    else:
        assert (answer.status_code, answer.json()["code"]) == (401, "dev_headers_malformed")
        assert await users_named(service, email) == 0


@pytest.mark.parametrize(
    "value",
    ["[::1", "]", "a:b:c", "x" * 300],
)
async def test_forwarded_headers_that_cannot_be_read_are_a_refusal(service: Service, value: str) -> None:
    """SEC-76: what a client wrote wrongly is 4xx; it is no dependency that failed."""
    for header in ("X-Forwarded-Host", "X-Forwarded-For"):
        answer = await service.me({"X-User-Email": service.new_email(), "Host": "localhost", header: value})
        assert (answer.status_code, answer.json()["code"]) == (401, "dev_headers_malformed"), header


async def test_a_deleted_users_address_belongs_to_a_new_user(service: Service) -> None:
    """C-13 SEC-19: dev headers name an address; the one who was deleted does not come back by it."""
    person = await service.register()
    await service.sql("UPDATE idp.users SET deleted_at = now() WHERE id = $1", person.id)
    answer = await service.me({"X-User-Email": person.email})
    assert answer.status_code == 200
    assert answer.json()["id"] != person.id


async def test_production_knows_no_dev_headers(production: Service) -> None:
    """SEC-12: they are two headers that mean nothing; absent a credential it is 401, with one it changes nothing."""
    person, other = await production.register(), production.new_email()
    for host in ("localhost", "127.0.0.1", "idp.example.com"):
        answer = await production.me({"X-User-Email": person.email, "X-User-Name": "Pat", "Host": host})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    answer = await production.me({**person.bearer, "X-User-Email": other})
    assert (answer.status_code, answer.json()["id"]) == (200, person.id)
    assert await users_named(production, other) == 0
    assert "dev_headers" not in {each.name for each in chain_of(production).authenticators}


def test_production_refuses_to_start_with_dev_headers_on(postgres: EmbeddedPostgres) -> None:
    """SEC-12: the setting stops `idp serve`; and by itself it puts nothing into the chain."""
    environ = {"DATABASE_URL": postgres.url, "IDP_SECRET_KEY": "x" * 40, "AUTH_ALLOW_DEV_HEADERS": "true"}
    loaded = load("production", environ=environ)
    with pytest.raises(SettingsError, match="AUTH_ALLOW_DEV_HEADERS"):
        refuse_unsafe(loaded.settings)
    app = create_app(loaded)
    (middleware,) = app.middleware
    names = [each.name for each in middleware.introspector.chain.authenticators]  # type: ignore[union-attr]
    assert names == ["admin_token", "api_key", "local_jwt", "upstream_oidc", "session_cookie", "clerk_jwt"]


def test_idp_serve_exits_when_dev_headers_are_on(postgres: EmbeddedPostgres) -> None:
    """SEC-12: the real command, one sentence, exit code 1."""
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(idp.__file__).parents[1]),
        "DATABASE_URL": postgres.url,
        "IDP_SECRET_KEY": "9f2c1b7de4a8035c6b1f0e9d8c7b6a59",
        "AUTH_ALLOW_DEV_HEADERS": "true",
    }
    command = [sys.executable, "-m", "idp.cli.main", "serve", "--host", "127.0.0.1", "--port", "0"]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "AUTH_ALLOW_DEV_HEADERS is true" in ended.stderr
    assert "Traceback" not in ended.stderr
