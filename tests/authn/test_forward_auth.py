"""GET /auth/forward: what a proxy learns about a request, of every kind of credential."""

import secrets
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx2
import pytest

from factories import PASSWORD, Person, Service, running
from idp.dev.embedded import EmbeddedPostgres
from provider_apps import App, Browser, register_app

FORWARD = "/auth/forward"


@pytest.fixture(scope="module")
async def service(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("forward_auth")) as service:
        yield service


@pytest.fixture(scope="module")
async def admin(service: Service) -> Person:
    return await service.register_admin()


@pytest.fixture(scope="module")
async def person(service: Service) -> Person:
    person = await service.register(name="Grace Hopper")
    await service.sql("UPDATE idp.users SET email_verified = true WHERE id = $1", person.id)
    return person


async def ask(service: Service, headers: dict[str, str], **required: Any) -> httpx2.Response:
    return await service.client.get(FORWARD, headers=headers, params=required)


def described(answer: httpx2.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items() if name.lower().startswith("x-auth-")}


async def test_a_user_is_described(service: Service, person: Person) -> None:
    answer = await ask(service, person.bearer)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Cache-Control"] == "no-store"
    assert described(answer) == {
        "x-auth-user": person.id,
        "x-auth-email": person.email,
        "x-auth-roles": "user",
        "x-auth-teams": "General",
        "x-auth-domains": "engineering",
        "x-auth-scopes": "openid,profile,email",
        "x-auth-method": "local_jwt",
    }


async def test_a_browser_is_known_by_its_session_cookie(service: Service, person: Person) -> None:
    async with Browser(service) as browser:
        await browser.sign_in(person)
        answer = await browser.client.get(FORWARD, headers={"X-Auth-User": "forged"})
        assert described(answer)["x-auth-user"] == person.id
        assert described(answer)["x-auth-method"] == "session_cookie"
        csrf = browser.client.cookies["idp_csrf"]
        await browser.client.post("/auth/logout", headers={"X-CSRF-Token": csrf})
        assert (await browser.client.get(FORWARD)).status_code == 401


async def test_an_address_that_nobody_confirmed_is_not_told(service: Service) -> None:
    """C-11: the app would take it for its owner's."""
    person = await service.register()
    assert "x-auth-email" not in described(await ask(service, person.bearer))


async def test_keys_and_services_are_described(service: Service, person: Person, admin: Person) -> None:
    body = {"name": "my script", "scopes": ["reports:read"]}
    key = (await service.client.post("/v1/api-keys", headers=person.bearer, json=body)).json()
    secret = key["secret"]
    seen = described(await ask(service, {"X-API-Key": secret}))
    assert (seen["x-auth-user"], seen["x-auth-method"], seen["x-auth-scopes"]) == (person.id, "api_key", "reports:read")
    assert (await ask(service, {"X-API-Key": secret}, scope="reports:read")).status_code == 200
    refused = await ask(service, {"X-API-Key": secret}, scope="reports:write")
    assert (refused.status_code, refused.headers["X-Auth-Error"]) == (403, "insufficient_scope")


async def test_requirements_are_all_met_or_it_is_403(service: Service, person: Person, admin: Person) -> None:
    assert (await ask(service, admin.bearer, role="admin")).status_code == 200
    assert (await ask(service, person.bearer, role="user", team="General", domain="engineering")).status_code == 200
    for required in (
        {"role": "admin"},
        {"role": ["user", "admin"]},
        {"role": "user", "team": "Nobody's"},
        {"domain": "General"},
        {"scope": "x"},
        {"role": ""},
    ):
        answer = await ask(service, person.bearer, **required)
        assert answer.status_code == 403, required
        assert described(answer) == {"x-auth-error": answer.headers["X-Auth-Error"]}
        assert "location" not in answer.headers


@pytest.mark.parametrize("misspelt", ["roles=user", "Role=user", "user=x", "x=", "role%00=user"])
async def test_a_misspelt_requirement_opens_nothing(service: Service, person: Person, misspelt: str) -> None:
    answer = await service.client.get(f"{FORWARD}?{misspelt}", headers=person.bearer)
    assert (answer.status_code, answer.headers["X-Auth-Error"]) == (403, "forbidden")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"Authorization": ""},
        {"Authorization": "Bearer a", "X-API-Key": "b"},
        {"X-API-Key": "idp_" + "a" * 40},
        {"Cookie": "idp_session=" + "a" * 43},
        {"Cookie": "idp_session=" + "a" * 5000},
        {"Authorization": "Bearer " + "a." * 5000},
        {"X-Auth-User": "forged", "X-Auth-Roles": "admin"},
    ],
)
async def test_no_valid_credential_is_401_with_the_login_page(service: Service, headers: dict[str, str]) -> None:
    """SEC-14: never another status, which nginx would turn into 500; what the client claims is not believed."""
    answer = await ask(service, headers | {"X-Original-URI": "/legacy/a?b=c&d=%2F"})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    where = urlsplit(answer.headers["X-Auth-Login"])
    assert f"{where.scheme}://{where.netloc}{where.path}" == f"{service.base_url}/login"
    assert parse_qs(where.query) == {"return_to": ["/legacy/a?b=c&d=%2F"]}
    assert not {"x-auth-user", "x-auth-roles"} & described(answer).keys()


@pytest.mark.parametrize("uri", ["https://evil.example/", "//evil.example", "/" + "a" * 5000, "", "\\evil"])
async def test_the_login_page_returns_to_no_other_host(service: Service, uri: str) -> None:
    """SEC-42: what is no path is left out; `//` is refused by the page."""
    answer = await ask(service, {"X-Original-URI": uri})
    assert answer.headers["X-Auth-Login"].startswith(f"{service.base_url}/login")
    page = await service.client.get(answer.headers["X-Auth-Login"])
    assert page.status_code == 200
    assert "evil.example" not in page.text


async def test_names_cannot_add_headers_or_items(service: Service, admin: Person) -> None:
    """Header injection: everything but printable ASCII is encoded, and so are commas."""
    person = await service.register()
    name = f"Ünit, admins\U0001f600 100% {secrets.token_hex(3)}"
    answer = await service.client.post("/teams", headers=admin.bearer, json={"name": name})
    assert answer.status_code in {200, 201}, answer.text
    await service.sql(
        "INSERT INTO idp.team_memberships (id, user_id, team_id, created_at, updated_at)"
        " SELECT gen_random_uuid(), $1, id, now(), now() FROM idp.teams WHERE name = $2",
        person.id,
        name,
    )
    teams = described(await ask(service, person.bearer))["x-auth-teams"]
    assert teams.isascii()
    assert sorted(map(unquote, teams.split(","))) == sorted(["General", name])
    assert (await ask(service, person.bearer, team=name)).status_code == 200


async def test_long_lists_are_left_out_and_named(service: Service) -> None:
    """A part of a list would mislead, and proxies limit the size of headers."""
    person = await service.register()
    await service.sql(
        "WITH made AS (INSERT INTO idp.teams (id, name, is_active, created_at, updated_at)"
        " SELECT gen_random_uuid(), $2 || n, true, now(), now() FROM generate_series(1, 60) n RETURNING id)"
        " INSERT INTO idp.team_memberships (id, user_id, team_id, created_at, updated_at)"
        " SELECT gen_random_uuid(), $1, id, now(), now() FROM made",
        person.id,
        f"team-{secrets.token_hex(4)}-",
    )
    seen = described(await ask(service, person.bearer))
    assert (seen["x-auth-omitted"], "x-auth-teams" in seen) == ("teams", False)
    assert seen["x-auth-roles"] == "user"


async def test_a_token_of_an_app_needs_a_scope_or_resource(service: Service, admin: Person, person: Person) -> None:
    """RFC 9700 section 2.3: a user who signed in to some app has not given it this one."""
    api = "https://legacy.example.com"
    app: App = await register_app(service, admin, resources=[api])
    async with Browser(service) as browser:
        await browser.sign_in(person)
        plain = await app.tokens(browser)
        for_api = await app.tokens(browser, resource=api, scope="roles")
        for_both = await app.tokens(browser, resource=api)
    usual = {"Authorization": f"Bearer {plain['access_token']}"}
    answer = await ask(service, usual)
    assert (answer.status_code, answer.headers["X-Auth-Error"]) == (403, "credential_not_accepted")
    assert (await ask(service, usual, role="user")).status_code == 403
    assert (await ask(service, usual, scope="teams")).status_code == 200
    assert (await ask(service, usual, resource=api)).status_code == 401
    bound = {"Authorization": f"Bearer {for_api['access_token']}"}
    assert (await ask(service, bound, resource=api)).status_code == 200
    assert (await ask(service, bound, scope="roles")).status_code == 401  # SEC-24: it is for that API only
    assert (await ask(service, bound, resource="https://other.example.com")).status_code == 401
    both = {"Authorization": f"Bearer {for_both['access_token']}"}
    assert (await ask(service, both, resource=api)).headers["X-Auth-User"] == person.id
    assert (await ask(service, both, resource="https://other.example.com")).status_code == 401


async def test_a_signed_out_or_disabled_user_is_refused_at_once(service: Service, admin: Person) -> None:
    """SEC-19 SEC-59."""
    person = await service.register()
    assert (await ask(service, person.bearer)).status_code == 200
    path = f"/api/auth/admin/users/{person.id}"
    await service.client.patch(path, headers=admin.bearer, json={"is_active": False})
    answer = await ask(service, person.bearer)
    assert (answer.status_code, answer.headers["X-Auth-Error"]) == (401, "user_inactive")


async def test_an_admin_token_is_no_user(postgres: EmbeddedPostgres) -> None:
    token = secrets.token_urlsafe(40)
    async with running(postgres.create_database("forward_admin"), environ={"ADMIN_TOKEN": token}) as service:
        assert (await ask(service, {"Authorization": f"Bearer {token}"})).status_code == 403
        body = {"email": service.new_email(), "password": PASSWORD, "name": "Pat"}
        assert (await service.client.post("/auth/register", json=body)).status_code == 200
