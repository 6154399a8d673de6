"""Each example service as a process, called over its socket, beside the real idp (S2-42)."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from client.machines import api_key, revoke, service_token
from examples.example_support import EXAMPLES, ROOT, Command, asgi_service, django_service, flask_service, started
from factories import Service

ASGI = ["litestar_service", "fastapi_service", "starlette_service"]
WSGI = {"flask_service": flask_service(), "django_service": django_service()}
PYTHON = [*ASGI, *WSGI]
DEAD = "http://127.0.0.1:9"


@pytest.fixture(scope="module", params=[*PYTHON, "node_service"])
def command(request: pytest.FixtureRequest) -> Command:
    if request.param in WSGI:
        return WSGI[request.param]
    if request.param in ASGI:
        return asgi_service(request.param)
    folder = request.getfixturevalue("node_service")
    return lambda _port: ["node", str(folder / "service.mjs")]


@pytest.fixture(scope="module")
def example(command: Command, idp: Service) -> Iterator[httpx2.Client]:
    with started(command, AUTH_SERVICE_URL=idp.base_url) as client:
        yield client


async def call(client: httpx2.Client, method: str, path: str, **more: Any) -> httpx2.Response:
    """Ask the example, in a thread: the service that it asks lives in this loop."""
    return await asyncio.to_thread(client.request, method, path, **more)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def check_problem(answer: httpx2.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["Content-Type"].startswith("application/problem+json")


async def test_public_is_for_everyone(example: httpx2.Client) -> None:
    """S2-42: whatever credential is sent along."""
    for headers in ({}, bearer("rubbish")):
        answer = await call(example, "GET", "/public", headers=headers)
        assert answer.json() == {"message": "This is a public endpoint"}


async def test_me_knows_a_person_by_their_token(idp: Service, example: httpx2.Client) -> None:
    person = await idp.register()
    me = (await call(example, "GET", "/me", headers=person.bearer)).json()
    assert me == {"kind": "user", "name": None, "email": person.email, "scopes": ["openid", "profile", "email"]}


async def test_me_knows_a_person_by_their_key(idp: Service, example: httpx2.Client) -> None:
    person = await idp.register()
    key = await api_key(idp, person, "read")
    me = (await call(example, "GET", "/me", headers={"X-API-Key": key["secret"]})).json()
    assert (me["kind"], me["email"], me["scopes"]) == ("api_key", person.email, ["read"])


async def test_echo_needs_read_and_the_secret_needs_admin(idp: Service, example: httpx2.Client) -> None:
    """S2-19 S2-42: plain membership; `admin` implies nothing."""
    reads, rules = await service_token(idp, "read"), await service_token(idp, "admin")
    body = {"message": "hello"}
    answer = await call(example, "POST", "/echo", json=body, headers=bearer(reads["token"]))
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"message": "Echo: hello", "authenticated_as": reads["name"], "scopes": ["read"]}
    check_problem(
        await call(example, "POST", "/echo", json=body, headers=bearer(rules["token"])), 403, "insufficient_scopes"
    )
    for wrong in (b"", b"{}", b'{"message": 1}', b"null"):
        answer = await call(example, "POST", "/echo", content=wrong, headers=bearer(reads["token"]))
        assert answer.status_code in {400, 422}, answer.text
    answer = await call(example, "GET", "/admin/secret", headers=bearer(rules["token"]))
    assert answer.json() == {"secret": "This is secret admin data"}
    answer = await call(example, "GET", "/admin/secret", headers=bearer(reads["token"]))
    check_problem(answer, 403, "insufficient_scopes")
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope", scope="admin"'


async def test_the_report_needs_the_role_admin_and_not_the_scope(idp: Service, example: httpx2.Client) -> None:
    """An administrator's token names the role; keys and service tokens have scopes and no roles."""
    admin, person = await idp.sign_in(await idp.register_admin()), await idp.register()
    assert (await call(example, "GET", "/admin/report", headers=admin.bearer)).status_code == 200
    key, service = await api_key(idp, admin, "read"), await service_token(idp, "admin")
    for headers in (person.bearer, bearer(service["token"]), {"X-API-Key": key["secret"]}):
        answer = await call(example, "GET", "/admin/report", headers=headers)
        check_problem(answer, 403, "insufficient_roles")
        assert answer.json()["detail"] == "Insufficient permissions. Required role: admin"
    check_problem(await call(example, "GET", "/admin/report"), 401, "unauthenticated")


async def test_no_and_bad_credentials_are_401(idp: Service, example: httpx2.Client) -> None:
    """Rule 1: and a revoked token is bad at the very next request."""
    made, person = await service_token(idp, "read"), await idp.register()
    await call(example, "POST", "/echo", json={"message": "x"}, headers=bearer(made["token"]))
    await revoke(idp, made["token_id"])
    answer = await call(example, "GET", "/me")
    check_problem(answer, 401, "unauthenticated")
    assert (answer.headers["WWW-Authenticate"], answer.json()["title"]) == ("Bearer", "Unauthorized")
    answer = await call(example, "GET", "/me", headers=bearer(made["token"]))
    assert answer.json()["detail"] == "Token has been revoked"
    bad = {
        f"Bearer {made['token']}": "token_revoked",
        "Bearer amp_live_nobody": "token_not_found",
        f"Bearer {person.token[:-4]}AAAA": "token_invalid",
        f"Bearer {person.token.rsplit('.', 1)[0]}.": "token_invalid",
        "Basic cGF0OnB3": "token_invalid",
        "Bearer": "token_invalid",
    }
    for authorization, code in bad.items():
        answer = await call(example, "GET", "/me", headers={"Authorization": authorization})
        check_problem(answer, 401, code)
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


async def test_two_credentials_that_differ_are_400(idp: Service, example: httpx2.Client) -> None:
    """C-24."""
    person = await idp.register()
    answer = await call(example, "GET", "/me", headers=person.bearer | {"X-API-Key": "another"})
    check_problem(answer, 400, "ambiguous_credentials")


async def test_without_idp_all_but_public_is_503(idp: Service, command: Command) -> None:
    """SEC-30 S2-15: never invalid, never accepted unchecked."""
    person, made = await idp.register(), await service_token(idp, "read")
    with started(command, AUTH_SERVICE_URL=DEAD, IDP_ISSUER=idp.base_url) as client:
        assert (await call(client, "GET", "/public")).status_code == 200
        for token in (person.token, made["token"], "amp_live_nobody"):
            answer = await call(client, "GET", "/me", headers=bearer(token))
            check_problem(answer, 503, "auth_unavailable")
            assert answer.headers["Retry-After"] == "1"


async def test_tokens_of_idp_dev_are_accepted_only_by_a_service_configured_for_them(
    service: Service, command: Command
) -> None:
    """Rule 7."""
    person = await service.register()
    with started(command, AUTH_SERVICE_URL=service.base_url) as client:
        check_problem(await call(client, "GET", "/me", headers=person.bearer), 401, "development_token")
    with started(command, AUTH_SERVICE_URL=service.base_url, IDP_DEVELOPMENT="1") as client:
        assert (await call(client, "GET", "/me", headers=person.bearer)).json()["email"] == person.email


def test_the_fastapi_example_tests_itself_without_idp() -> None:
    """idp_client.testing: its issuer is all that the tests of a service need."""
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*run, str(EXAMPLES / "fastapi_service")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\n\d\d passed in ", done.stdout), done.stdout


def test_the_examples_stay_small() -> None:
    """They are there to be read."""
    for name in PYTHON:
        assert len((EXAMPLES / name / f"{name}.py").read_text().splitlines()) <= 90, name
    assert len((EXAMPLES / "node_service/service.mjs").read_text().splitlines()) <= 160


def test_the_first_lines_say_how_to_start_it() -> None:
    starts = {"flask_service": "flask --app", "django_service": "runserver"}
    for name in PYTHON:
        first = (EXAMPLES / name / f"{name}.py").read_text().split('"""')[1]
        assert starts.get(name, f"uvicorn --app-dir examples/{name} {name}:app") in first
        (extra,) = re.findall(r"clients/python\[(\w+)\]", first)
        assert f"\n{extra} = [" in (ROOT / "clients/python/pyproject.toml").read_text()


def test_the_node_example_names_a_package_and_no_place() -> None:
    package = json.loads((EXAMPLES / "node_service/package.json").read_text())
    assert package["dependencies"].keys() == {"jose"}
    assert "://" not in json.dumps(package)
    assert not list((EXAMPLES / "node_service").glob("*lock*"))


def test_the_image_holds_what_the_readme_says() -> None:
    """S2-42: port 8000, AUTH_SERVICE_URL, the old project's network."""
    file, page = (EXAMPLES / "Containerfile").read_text(), (EXAMPLES / "README.md").read_text()
    assert "EXPOSE 8000" in file
    assert "COPY clients/python " in file
    assert "-p 8002:8000 --network auth-service_amplify-net -e AUTH_SERVICE_URL=http://auth-service:8000" in page
    compose = (ROOT / "deploy/compose/amplify.yaml").read_text()
    assert "name: auth-service" in compose
    assert "amplify-net" in compose
