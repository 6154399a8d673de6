"""Input that no client of good will sends to the provider: an error of RFC 6749 or a page, never a 5xx (SEC-76)."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import asyncpg
import msgspec
import pytest
from joserfc.jwk import ECKey

from factories import Person, Service, running
from idp.dev.embedded import EmbeddedPostgres
from idp.provider.cleanup import ProviderCleanup
from idp.signing import base64url
from idp.signing.client_assertion import ASSERTION_TYPE
from provider_apps import App, Browser, claims_of, register_app, returned

_NULL = "a\x00b"
JWK = ECKey.generate_key("P-256", private=True).as_dict(private=False)


@pytest.fixture(scope="module")
async def service(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("provider_bad_input")) as service:
        yield service


@pytest.fixture(scope="module")
async def admin(service: Service) -> Person:
    return await service.register_admin()


@pytest.fixture(scope="module")
async def app(service: Service, admin: Person) -> App:
    return await register_app(service, admin)


@pytest.fixture
async def browser(service: Service) -> AsyncIterator[Browser]:
    async with Browser(service) as browser:
        await browser.sign_in(await service.register(name="Grace Hopper"))
        yield browser


@pytest.mark.parametrize(
    "wanted",
    [
        {"sub": {"value": _NULL}},
        {"sub": {"value": ["a list"]}},
        {"sub": {"value": "x" * 300}},
        {"acr": {"essential": True, "values": [_NULL]}},
        {"acr": {"essential": True, "values": [{"an": "object"}]}},
        {"acr": {"essential": True, "values": [str(number) for number in range(30)]}},
    ],
)
async def test_claims_request_only_values_that_can_be_saved(
    service: Service, app: App, browser: Browser, wanted: dict[str, Any]
) -> None:
    """SEC-76: `claims` is JSON, in which a null character and long lists are escaped or nested. With and without a
    session, by GET and POST."""
    sent = app.parameters(claims=json.dumps({"id_token": wanted}))
    async with Browser(service) as stranger:
        answers = [
            await browser.client.get("/oauth2/authorize", params=sent),
            await stranger.client.get("/oauth2/authorize", params=sent),
            await stranger.client.post("/oauth2/authorize", data=sent),
        ]
    assert [returned(answer)["error"] for answer in answers] == ["invalid_request"] * 3


@pytest.mark.parametrize("field", ["redirect_uri", "code", "code_verifier"])
async def test_a_null_character_does_not_use_up_a_code(app: App, browser: Browser, field: str) -> None:
    """SEC-76 SEC-56."""
    code = await app.code(browser)
    usual = {"code": code, "redirect_uri": app.redirect_uri, "code_verifier": app.verifier}
    answer = await app.ask(grant_type="authorization_code", **usual | {field: _NULL})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"] in {"invalid_grant", "invalid_request"}
    assert (await app.exchange(code)).status_code == 200


@pytest.mark.parametrize(
    "field", ["scope", "resource", "client_id", "client_secret", "client_assertion", "client_assertion_type"]
)
async def test_a_parameter_without_a_value_counts_as_absent(app: App, browser: Browser, field: str) -> None:
    """RFC 6749 section 3.2; SEC-48."""
    answer = await app.exchange(await app.code(browser), **{field: ""})
    assert answer.status_code == 200, answer.text
    refreshed = await app.refresh(answer.json()["refresh_token"], **{field: ""})
    assert refreshed.status_code == 200, refreshed.text
    asked = await app.post("/oauth2/introspect", token=refreshed.json()["access_token"], **{field: ""})
    assert asked.json()["active"] is True


async def test_an_empty_verifier_is_none(app: App, browser: Browser) -> None:
    """SEC-35: it does not satisfy a challenge."""
    answer = await app.exchange(await app.code(browser), code_verifier="")
    assert answer.json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "header", [{"alg": ["ES256"]}, {"alg": {}}, {"alg": 5}, {"kid": ["k"]}, {"kid": {}}, {"kid": 5}]
)
async def test_a_header_of_another_shape_is_no_assertion(
    service: Service, admin: Person, header: dict[str, Any]
) -> None:
    """SEC-54 SEC-76: anybody can send one, without a key."""
    client = await register_app(
        service,
        admin,
        token_endpoint_auth_method="private_key_jwt",
        jwks={"keys": [JWK]},
    )
    claims = {"iss": client.client_id, "sub": client.client_id}
    parts = [{"alg": "ES256", "typ": "JWT", **header}, claims]
    assertion = ".".join(
        [*(base64url.encode(msgspec.json.encode(each)) for each in parts), base64url.encode(b"x" * 64)]
    )
    form = {"client_assertion": assertion, "client_assertion_type": ASSERTION_TYPE, "grant_type": "client_credentials"}
    answer = await service.client.post("/oauth2/token", data=form)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_keys_with_a_null_character_are_refused(service: Service, admin: Person) -> None:
    """SEC-65 SEC-76."""
    for jwks in ({"keys": [{**JWK, "kid": _NULL}]}, {"keys": [JWK], "x": _NULL}):
        body = {"client_name": "Keys", "token_endpoint_auth_method": "private_key_jwt", "jwks": jwks}
        answer = await service.client.post("/api/auth/admin/clients", headers=admin.bearer, json=body)
        assert answer.status_code == 422, answer.text
        assert "null character" in answer.text


async def test_a_logout_form_is_redirected_with_its_own_parameters_only(service: Service, app: App) -> None:
    """SEC-76: a proxy answers 502 to a header of this length."""
    form = {"client_id": app.client_id, "state": "s", "other": "x" * 100_000, "logout_hint": "y" * 100_000}
    answer = await service.client.post("/oauth2/logout", data=form)
    expected = urlencode({"client_id": app.client_id, "state": "s"})
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/oauth2/logout?{expected}")


# --- what a client may have ------------------------------------------------------------------------------------------


async def test_claims_do_not_reach_beyond_the_clients_scopes(service: Service, admin: Person, browser: Browser) -> None:
    """SEC-45: an administrator vouched for `openid` only, and nobody is asked."""
    client = await register_app(service, admin, scope="openid")
    wanted = {"id_token": {"email": None, "roles": None}, "userinfo": {"name": None, "teams": None}}
    tokens = await client.tokens(browser, scope="openid", claims=json.dumps(wanted))
    assert not {"email", "roles", "name", "teams"} & set(claims_of(tokens["id_token"]))
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert set((await service.client.get("/oauth2/userinfo", headers=bearer)).json()) == {"sub"}


async def test_tokens_follow_a_client_that_is_reduced(service: Service, admin: Person, browser: Browser) -> None:
    """SEC-50: what an administrator takes from a client is in no token that it gets afterwards."""
    resources = ["https://a.example.com", "https://b.example.com"]
    client = await register_app(service, admin, resources=resources)
    wanted = json.dumps({"userinfo": {"roles": None}})
    changed = {"resource": resources[0]}
    code = await client.code(browser, claims=wanted)
    tokens = await client.tokens(browser, scope="openid email offline_access", claims=wanted)
    bound = await client.tokens(browser, **changed)
    body = {
        "client_name": "Notes",
        "redirect_uris": [client.redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "scope": "openid offline_access",
        "resources": resources[1:],
        "skip_consent": True,
    }
    answer = await service.client.put(f"/api/auth/admin/clients/{client.client_id}", headers=admin.bearer, json=body)
    assert answer.status_code == 200, answer.text
    refreshed = (await client.refresh(tokens["refresh_token"])).json()
    exchanged = (await client.exchange(code)).json()
    for each in (refreshed, exchanged):
        assert each["scope"] == "openid offline_access"
        assert not {"email", "roles"} & set(claims_of(each["id_token"]))
        bearer = {"Authorization": f"Bearer {each['access_token']}"}
        assert set((await service.client.get("/oauth2/userinfo", headers=bearer)).json()) == {"sub"}
    # A token for this service instead would be one for another audience than the user granted.
    assert (await client.refresh(bound["refresh_token"])).json()["error"] == "invalid_target"


async def test_cleanup_deletes_everything_that_has_expired(service: Service) -> None:
    """SEC-76: with one batch in five minutes, the table of a busy service would grow for ever."""
    await service.sql(
        "INSERT INTO idp.client_assertions (digest, expires_at)"
        " SELECT 'expired-' || n, now() - interval '1 day' FROM generate_series(1, 2500) n"
    )
    await ProviderCleanup(service.app.core.database).clean_up()
    assert (await service.sql("SELECT count(*) AS n FROM idp.client_assertions"))[0]["n"] == 0


async def test_without_offline_access_a_client_refreshes_no_more(
    service: Service, admin: Person, browser: Browser
) -> None:
    """SEC-50: an administrator who removes the scope ends its long sessions (as CVE-2025-12110 in Keycloak)."""
    client = await register_app(service, admin)
    tokens = await client.tokens(browser)
    body = {"client_name": "Notes", "redirect_uris": [client.redirect_uri], "scope": "openid profile"}
    body["grant_types"] = ["authorization_code", "refresh_token"]
    answer = await service.client.put(f"/api/auth/admin/clients/{client.client_id}", headers=admin.bearer, json=body)
    assert answer.status_code == 200, answer.text
    assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


# --- half-failures ---------------------------------------------------------------------------------------------------


async def test_a_lost_connection_leaves_a_code_whole(service: Service, app: App, browser: Browser) -> None:
    """SEC-77: connections end at every moment; the answer is tokens or 503, and nothing is half-written."""
    codes = [await app.code(browser) for _ in range(40)]
    is_over = asyncio.Event()

    async def end_connections() -> None:
        connection = await asyncpg.connect(service.database_url)
        while not is_over.is_set():
            await connection.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await asyncio.sleep(0.03)
        await connection.close()

    ending = asyncio.create_task(end_connections())
    answers = [await app.exchange(code) for code in codes]
    is_over.set()
    await ending
    assert {answer.status_code for answer in answers} <= {200, 503, 400}, [answer.text for answer in answers]
    used = await service.sql(
        "SELECT count(*) AS n FROM idp.authorization_codes c WHERE c.used_at IS NOT NULL"
        " AND NOT EXISTS (SELECT FROM idp.refresh_tokens r WHERE r.session_id = c.app_session_id)"
        f" AND c.client_id = '{app.client_id}' AND 'offline_access' = ANY(c.scopes)"
    )
    assert used[0]["n"] == 0
