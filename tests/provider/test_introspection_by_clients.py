"""Introspection by clients (RFC 7662, SEC-57): each sees the tokens that concern it, by both paths."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from factories import PASSWORD, Person, Service, running
from idp.dev.embedded import EmbeddedPostgres
from idp.signing.compact import parse
from idp.signing.jwt import TokenSession, TokenUser
from provider.test_client_credentials import CLIENTS, ask, basic, token_of
from provider.test_client_metadata import register, session_of

INTROSPECT, API = "/oauth2/introspect", "https://api.example.com"
INACTIVE = b'{"active":false}'
Client = dict[str, Any]


@pytest.fixture(scope="module")
async def service(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    environ = {"IDP_API_KEYS__DEFAULT_SCOPES": "read"}
    async with running(postgres.create_database("introspection_by_clients"), environ=environ) as service:
        yield service


@pytest.fixture(scope="module")
async def admin(service: Service) -> Person:
    return await service.register_admin()


@pytest.fixture(scope="module")
async def client(service: Service, admin: Person) -> Client:
    return await register(service, admin, client_name="Job", scope="read")


@pytest.fixture(scope="module")
async def api(service: Service, admin: Person) -> Client:
    return await register(service, admin, client_name="API", serves=[API])


async def introspect(service: Service, client: Client, token: str, **form: str) -> httpx2.Response:
    """Ask past the framework and through it; both must answer the same."""
    headers = basic(client["client_id"], client["client_secret"])
    secret = {"client_id": client["client_id"], "client_secret": client["client_secret"]}
    short = await service.client.post(INTROSPECT, headers=headers, data={"token": token, **form})
    long = await service.client.post(
        INTROSPECT, headers=headers | {"Origin": service.base_url}, data={"token": token, **form}
    )
    in_form = await service.client.post(INTROSPECT, data={"token": token, **secret, **form})
    assert (short.status_code, short.content) == (long.status_code, long.content)
    assert (short.status_code, short.content) == (in_form.status_code, in_form.content)
    assert short.headers["Cache-Control"] == long.headers["Cache-Control"] == "no-store"
    return short


async def token_of_app(
    service: Service, person: Person, client: Client, *, scopes: tuple[str, ...] = ("openid",), resource: str = API
) -> str:
    """Return an access token that a user granted to a client, for a resource."""
    session_id = await session_of(service, person, client)
    session = TokenSession(
        *(
            await service.sql(
                "SELECT id, auth_time, amr, acr, expires_at FROM idp.user_sessions WHERE id = $1", session_id
            )
        )[0]
    )
    user = TokenUser(id=person.id, email=person.email, email_verified=False)
    issued = await service.app.core.tokens.issue_for_app(
        user, session, client_id=client["client_id"], scopes=scopes, resources=(resource,)
    )
    return issued.token


async def test_a_client_sees_its_own_token(service: Service, client: Client) -> None:
    """RFC 7662 section 2.2."""
    token = await token_of(service, client)
    claims = parse(token).claims
    assert (await introspect(service, client, token)).json() == {
        "active": True,
        "scope": "read",
        "client_id": client["client_id"],
        "token_type": "Bearer",
        "sub": client["client_id"],
        **{name: claims[name] for name in ("exp", "iat", "aud", "iss", "jti")},
    }


async def test_a_resource_server_sees_the_tokens_for_it(
    service: Service, admin: Person, client: Client, api: Client
) -> None:
    """SEC-57: of a user, by the audience; without the user's record."""
    app = await register(service, admin, client_name="App", redirect_uris=["https://app.example.com/cb"])
    person = await service.register()
    token = await token_of_app(service, person, app, scopes=("profile",))
    seen = (await introspect(service, api, token)).json()
    assert (seen["active"], seen["sub"], seen["client_id"]) == (True, person.id, app["client_id"])
    assert (seen["aud"], seen["scope"]) == (API, "profile")
    assert not {"user", "username", "name", "kind"} & set(seen)
    assert (await introspect(service, app, token)).json() == seen
    assert (await introspect(service, client, token)).content == INACTIVE
    elsewhere = await token_of_app(service, person, app, scopes=("profile",), resource="https://other.example.com")
    assert (await introspect(service, api, elsewhere)).content == INACTIVE


async def test_everything_else_is_exactly_inactive(service: Service, client: Client, api: Client) -> None:
    """SEC-57: another client's token, a user's own, keys, and what is no credential at all."""
    person = await service.register()
    body = {"name": "Key", "password": PASSWORD}
    key = (await service.client.post("/v1/api-keys", headers=person.bearer, json=body)).json()
    token = await token_of(service, client)
    for each in (token, person.token, key.get("secret", "sk_live_x"), person.refresh_token or "x", "x", token + "x"):
        assert (await introspect(service, api, each)).content == INACTIVE
    assert (await introspect(service, client, person.token)).content == INACTIVE


async def test_a_client_that_serves_us_sees_our_own_tokens(service: Service, admin: Person) -> None:
    """The audience of a user's own token is this service, unless `tokens.audience` names an API."""
    front = await register(service, admin, client_name="Gateway", serves=[service.app.core.tokens.issuer])
    person = await service.register()
    seen = (await introspect(service, front, person.token)).json()
    assert (seen["sub"], seen["client_id"], seen["aud"]) == (person.id, "idp", service.app.core.tokens.issuer)


async def test_what_a_client_serves_may_change(service: Service, admin: Person) -> None:
    """SEC-59: answers are cached with the verdict, per client and what it serves."""
    app = await register(service, admin, client_name="App", redirect_uris=["https://app.example.com/cb"])
    api = await register(service, admin, client_name="API", serves=[API])
    token = await token_of_app(service, await service.register(), app)
    assert (await introspect(service, api, token)).json()["active"]
    body = {"client_name": "API", "serves": ["https://other.example.com"]}
    await service.client.put(f"{CLIENTS}/{api['client_id']}", headers=admin.bearer, json=body)
    assert (await introspect(service, api, token)).content == INACTIVE


async def test_an_ended_session_is_inactive_at_once(service: Service, admin: Person, api: Client) -> None:
    """SEC-59."""
    app = await register(service, admin, client_name="App", redirect_uris=["https://app.example.com/cb"])
    person = await service.register()
    token = await token_of_app(service, person, app)
    assert (await introspect(service, api, token)).json()["active"]
    await service.client.delete(f"{CLIENTS}/{app['client_id']}", headers=admin.bearer)
    assert (await introspect(service, api, token)).content == INACTIVE


async def test_who_cannot_authenticate_is_refused(service: Service, admin: Person, client: Client) -> None:
    """SEC-48, SEC-57: a public client proves nothing."""
    public = await register(
        service,
        admin,
        client_name="Spa",
        redirect_uris=["https://app.example.com/cb"],
        token_endpoint_auth_method="none",
    )
    token = await token_of(service, client)
    wrong = basic(client["client_id"], "wrong")
    for headers, form in (
        (wrong, {}),
        (wrong | {"Origin": service.base_url}, {}),
        ({}, {"client_id": public["client_id"]}),
        ({}, {"client_id": client["client_id"]}),
        (basic(public["client_id"], ""), {}),
    ):
        answer = await service.client.post(INTROSPECT, headers=headers, data={"token": token, **form})
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), (headers, form)
        assert answer.headers["WWW-Authenticate"] == "Basic"
    nobody = await service.client.post(INTROSPECT, data={"token": token})
    assert (nobody.status_code, nobody.headers["WWW-Authenticate"]) == (401, "Bearer")
    own = await service.client.post(INTROSPECT, headers={"Authorization": f"Bearer {token}"}, data={"token": token})
    assert own.status_code == 403, "a client's token is not its credential"


async def test_bad_requests_get_the_errors_of_rfc_6749(service: Service, client: Client) -> None:
    """SEC-55."""
    headers = basic(client["client_id"], client["client_secret"])
    form = headers | {"Content-Type": "application/x-www-form-urlencoded"}
    for content in (b"", b"token=a&token=b", b"token=%FF", b"tokn=a", b"token=a&client_secret=b"):
        answer = await service.client.post(INTROSPECT, headers=form, content=content)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), content
    assert (await service.client.post(INTROSPECT, headers=headers, json={"token": "x"})).status_code == 400
    both = {"Authorization": "Bearer x", "Content-Type": "application/x-www-form-urlencoded"}
    answer = await service.client.post(INTROSPECT, headers=both, content=b"token=a&client_id=b&client_secret=c")
    assert answer.status_code in {400, 401}


async def test_a_service_token_still_sees_every_credential(service: Service, client: Client, admin: Person) -> None:
    """C-09: with more members than before for access tokens."""
    body = {"name": "gateway", "scopes": ["idp:introspect"]}
    asker = (await service.client.post("/auth/tokens", headers=admin.bearer, json=body)).json()["token"]
    token = await token_of(service, client)
    headers = {"Authorization": f"Bearer {asker}"}
    found = (await service.client.post(INTROSPECT, headers=headers, data={"token": token})).json()
    assert (found["client_id"], found["kind"]) == (client["client_id"], "service_token")
    assert found["aud"] == service.app.core.tokens.issuer
    person = await service.register()
    found = (await service.client.post(INTROSPECT, headers=headers, data={"token": person.token})).json()
    assert (found["client_id"], found["user"]["id"]) == ("idp", person.id)
    assert (await ask(service, client)).status_code == 200
