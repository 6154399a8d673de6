"""Express and Fastify with the TypeScript client, as processes, over their sockets."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from client.machines import api_key, revoke, service_token
from examples.example_support import started
from factories import Service
from idp_client.testing import BAD_TOKENS, Issuer, bad_tokens
from idp_client.testing.bad_tokens import expected_code
from table_tests import table

INVALID = 'Bearer error="invalid_token"'


@pytest.fixture(scope="module", params=["express", "fastify"])
def script(request: pytest.FixtureRequest, package: Path) -> Path:
    return package / f"dist-test/{request.param}-app.js"


@pytest.fixture(scope="module")
def app(script: Path, idp: Service) -> Iterator[httpx2.Client]:
    """The application beside the real idp."""
    with run(script, idp.base_url) as client:
        yield client


@pytest.fixture(scope="module")
def tested(script: Path, issuer: Issuer) -> Iterator[httpx2.Client]:
    """The application beside the issuer of `idp_client.testing`."""
    with run(script, issuer.url) as client:
        yield client


def run(script: Path, url: str, **environ: str) -> AbstractContextManager[httpx2.Client]:
    return started(lambda _port: ["node", str(script)], AUTH_SERVICE_URL=url, **environ)


def bearer(credential: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential}"}


def check_problem(answer: httpx2.Response, status: int, code: str) -> None:
    """The same document and headers as the Python client's."""
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.json().keys() == {"type", "title", "status", "detail", "code"}
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.headers["Cache-Control"] == "no-store"


async def call(client: httpx2.Client, method: str, path: str, **more: Any) -> httpx2.Response:
    """Ask the application, in a thread: the idp that it asks lives in this loop."""
    return await asyncio.to_thread(client.request, method, path, **more)


# --- beside the real idp ---------------------------------------------------------------------------------------------


async def test_a_person_is_known_by_token_and_by_key(idp: Service, app: httpx2.Client) -> None:
    person = await idp.register()
    me = (await call(app, "GET", "/me", headers=person.bearer)).json()
    assert me == {"kind": "user", "name": None, "email": person.email, "scopes": ["openid", "profile", "email"]}
    key = await api_key(idp, person, "read")
    me = (await call(app, "GET", "/me", headers={"X-API-Key": key["secret"]})).json()
    assert (me["kind"], me["email"], me["scopes"]) == ("api_key", person.email, ["read"])


async def test_scopes_and_roles_are_plain_membership(idp: Service, app: httpx2.Client) -> None:
    """S2-19."""
    reads, rules = await service_token(idp, "read"), await service_token(idp, "admin")
    hello = {"message": "hello"}
    answer = await call(app, "POST", "/echo", json=hello, headers=bearer(reads["token"]))
    assert answer.json() == {"message": "Echo: hello", "authenticated_as": reads["name"], "scopes": ["read"]}
    answer = await call(app, "POST", "/echo", json=hello, headers=bearer(rules["token"]))
    check_problem(answer, 403, "insufficient_scopes")
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope", scope="read"'
    admin, person = await idp.sign_in(await idp.register_admin()), await idp.register()
    assert (await call(app, "GET", "/admin/report", headers=admin.bearer)).status_code == 200
    for headers in (person.bearer, bearer(rules["token"])):
        answer = await call(app, "GET", "/admin/report", headers=headers)
        check_problem(answer, 403, "insufficient_roles")
        assert answer.json()["detail"] == "Insufficient permissions. Required role: admin"


async def test_a_revoked_token_is_refused_at_the_next_request(idp: Service, app: httpx2.Client) -> None:
    """Rule 1."""
    made = await service_token(idp, "read")
    assert (await call(app, "GET", "/me", headers=bearer(made["token"]))).status_code == 200
    await revoke(idp, made["token_id"])
    answer = await call(app, "GET", "/me", headers=bearer(made["token"]))
    check_problem(answer, 401, "token_revoked")
    assert (answer.json()["detail"], answer.headers["WWW-Authenticate"]) == ("Token has been revoked", INVALID)


async def test_a_development_token_is_refused_unless_allowed(service: Service, script: Path) -> None:
    """Rule 7."""
    person = await service.register()
    with run(script, service.base_url) as client:
        check_problem(await call(client, "GET", "/me", headers=person.bearer), 401, "development_token")
    with run(script, service.base_url, IDP_DEVELOPMENT="1") as client:
        assert (await call(client, "GET", "/me", headers=person.bearer)).json()["email"] == person.email


# --- beside the issuer for tests -------------------------------------------------------------------------------------


def test_every_bad_token_is_refused_and_public_is_for_everyone(issuer: Issuer, tested: httpx2.Client) -> None:
    """SEC-20 to SEC-28, over the socket."""
    assert tested.get("/me", headers=bearer(issuer.token(issuer.user()))).status_code == 200
    assert len(BAD_TOKENS) > 80
    with table() as row:
        for name, token in bad_tokens(issuer).items():
            if name == "oversized-text":  # Node itself refuses such a header: 431
                continue
            with row(name):
                answer = tested.get("/me", headers=bearer(token))
                code = expected_code(name)
                assert answer.json()["code"] in {code, "token_not_found"}, answer.text
                check_problem(answer, 401, answer.json()["code"])
                assert answer.headers["WWW-Authenticate"] == INVALID
                assert tested.get("/public", headers=bearer(token)).status_code == 200


def test_no_credential_and_two_credentials(issuer: Issuer, tested: httpx2.Client) -> None:
    """C-24: also if the same header is there twice."""
    answer = tested.get("/me")
    check_problem(answer, 401, "unauthenticated")
    assert (answer.json()["title"], answer.headers["WWW-Authenticate"]) == ("Unauthorized", "Bearer")
    token = issuer.token(issuer.user())
    check_problem(tested.get("/me", headers=bearer(token) | {"X-API-Key": "other"}), 400, "ambiguous_credentials")
    twice = [("Authorization", f"Bearer {token}"), ("Authorization", "Bearer other")]
    check_problem(tested.get("/me", headers=twice), 400, "ambiguous_credentials")
    assert tested.get("/me", headers=bearer(token) | {"X-API-Key": token}).status_code == 200


def test_optional_authentication_never_ignores_a_bad_credential(issuer: Issuer, tested: httpx2.Client) -> None:
    user = issuer.user()
    assert tested.get("/greeting").json() == {"greeting": "Hello stranger"}
    assert tested.get("/greeting", headers=bearer(issuer.token(user))).json() == {"greeting": f"Hello {user.email}"}
    check_problem(tested.get("/greeting", headers=bearer("rubbish")), 401, "token_not_found")


def test_an_outage_is_503_and_keys_live_on(issuer: Issuer, tested: httpx2.Client, script: Path) -> None:
    """SEC-30 S2-15: never invalid, never accepted unchecked."""
    user = issuer.user()
    key = issuer.api_key(user, "read")
    assert tested.get("/me", headers=bearer(issuer.token(user))).status_code == 200
    with issuer.outage():
        assert tested.get("/me", headers=bearer(issuer.token(user))).status_code == 200, "its key is cached"
        answer = tested.get("/me", headers=bearer(key))
        check_problem(answer, 503, "auth_unavailable")
        assert answer.headers["Retry-After"] == "1"
        with run(script, issuer.url) as fresh:
            for credential in (issuer.token(user), key):
                check_problem(fresh.get("/me", headers=bearer(credential)), 503, "auth_unavailable")
    assert tested.get("/me", headers=bearer(key)).status_code == 200


def test_tokens_without_roles_are_asked_about(issuer: Issuer, tested: httpx2.Client) -> None:
    admin = issuer.user(roles=["admin"])
    assert tested.get("/admin/report", headers=bearer(issuer.token(admin, roles=None))).status_code == 200
    unknown = issuer.token(admin, roles=None)
    assert "roles" not in str(unknown)
    key = issuer.api_key(admin, "read")
    check_problem(tested.get("/admin/report", headers=bearer(key)), 403, "insufficient_roles")
