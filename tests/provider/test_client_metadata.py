"""Metadata of clients: what may be registered, defaults, secrets, and what ends with a client (RFC 7591, SEC-65)."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from joserfc.jwk import ECKey

from factories import Person, Service, running
from idp.dev.embedded import EmbeddedPostgres
from provider.test_client_credentials import CLIENTS

CALLBACK = "https://app.example.com/callback"
CODE = {"client_name": "App", "redirect_uris": [CALLBACK]}
PUBLIC_KEY = ECKey.generate_key("P-256", private=True).as_dict(private=False)


@pytest.fixture(scope="module")
async def service(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("client_metadata"), profile="production") as service:
        yield service


@pytest.fixture(scope="module")
async def admin(service: Service) -> Person:
    return await service.register_admin()


async def register(service: Service, admin: Person, **metadata: Any) -> dict[str, Any]:
    answer = await service.client.post(CLIENTS, headers=admin.bearer, json=metadata)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def replace(service: Service, admin: Person, client: dict[str, Any], **changes: Any) -> dict[str, Any]:
    url = f"{CLIENTS}/{client['client_id']}"
    answer = await service.client.put(url, headers=admin.bearer, json=client | changes)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def refusal(service: Service, admin: Person, **metadata: Any) -> tuple[list[Any], str]:
    """Return where a registration is refused, and why."""
    answer = await service.client.post(CLIENTS, headers=admin.bearer, json=CODE | metadata)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed"), answer.text
    (error,) = answer.json()["errors"]
    return error["loc"], error["msg"]


# --- defaults --------------------------------------------------------------------------------------------------------


async def test_defaults_are_those_of_the_standard(service: Service, admin: Person) -> None:
    """RFC 7591 section 2, OpenID Connect Registration section 2."""
    client = await register(service, admin, **CODE, contacts=["unknown members are ignored"])
    assert client["client_secret"].startswith("idp_cs_")
    assert client["client_secret_expires_at"] == 0
    del client["client_secret"], client["client_secret_expires_at"], client["client_id"], client["client_id_issued_at"]
    assert client == {
        "client_name": "App",
        "scope": "openid profile email",
        "application_type": "web",
        "grant_types": ["authorization_code"],
        "response_types": ["code"],
        "redirect_uris": [CALLBACK],
        "post_logout_redirect_uris": [],
        "token_endpoint_auth_method": "client_secret_basic",
        "id_token_signed_response_alg": "RS256",
        "require_pkce": True,
        "skip_consent": False,
        "resources": [],
        "serves": [],
        "declared": False,
    }
    refreshing = await register(service, admin, **CODE, grant_types=["authorization_code", "refresh_token"])
    assert refreshing["scope"] == "openid profile email offline_access"
    machine = await register(service, admin, client_name="Job")
    assert (machine["grant_types"], machine["response_types"], machine["scope"]) == (["client_credentials"], [], "")


async def test_everything_is_returned_as_it_was_registered(service: Service, admin: Person) -> None:
    """Also by a GET, whose answer can be sent back with PUT."""
    metadata = {
        "client_name": "Everything",
        "scope": "openid roles read",
        "application_type": "native",
        "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
        "response_types": ["code"],
        "redirect_uris": ["com.example.app:/callback", "http://127.0.0.1/cb", "http://[::1]:8080/cb", CALLBACK],
        "post_logout_redirect_uris": ["com.example.app:/bye"],
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks": {"keys": [PUBLIC_KEY]},
        "id_token_signed_response_alg": "ES256",
        "client_uri": "https://app.example.com",
        "policy_uri": "https://app.example.com/policy",
        "tos_uri": "https://app.example.com/terms",
        "backchannel_logout_uri": "https://app.example.com/logout",
        "backchannel_logout_session_required": True,
        "require_pkce": False,
        "skip_consent": True,
        "resources": ["https://api.example.com/v1", "urn:example:files"],
        "serves": ["https://api.example.com"],
    }
    client = await register(service, admin, **metadata)
    assert {name: client[name] for name in metadata} == metadata
    assert "client_secret" not in client
    found = (await service.client.get(f"{CLIENTS}/{client['client_id']}", headers=admin.bearer)).json()
    assert found == client
    assert await replace(service, admin, found) == found
    (row,) = await service.sql("SELECT * FROM idp.oauth_clients WHERE client_id = $1", client["client_id"])
    assert row["secret_digest"] is None


# --- refusals: SEC-65 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        "javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd",
        "blob:https://app.example.com/1", "about:blank", "https://app.example.com/cb#fragment", "https://a.example/#",
        "https://user@app.example.com/", "https://user:pass@app.example.com/", "http://app.example.com/cb",
        "https://*.example.com/cb", "https://app.example.com/*", "/callback", "//app.example.com/cb", "callback", "",
        "https://", "https:///cb", "https://app.example.com/a b", "https://app.example.com/\n", "https://ä.example/cb",
        "https://app.example.com\\@evil.example", "https://app.example.com:99999/", "com.example.app:/cb", "myapp:/cb",
        "http://localhost.evil.example/", "http://127.0.0.1.evil.example/", "http://127.0.0.1@evil.example/",
        "https://app.example.com/" + "x" * 2000,
    ],
)  # fmt: skip
@pytest.mark.parametrize("member", ["redirect_uris", "post_logout_redirect_uris"])
async def test_dangerous_redirect_uris_are_refused(service: Service, admin: Person, uri: str, member: str) -> None:
    """SEC-34, SEC-42, SEC-65."""
    where, _ = await refusal(service, admin, **{member: [CALLBACK, uri]})
    assert where == ["body", member, 1]


@pytest.mark.parametrize(
    "uri", ["myapp:/cb", "myapp://cb", "javascript:alert(1)", "http://app.example/cb", "com.example.app://host/cb"]
)
async def test_a_native_app_has_a_reversed_domain_as_its_scheme(service: Service, admin: Person, uri: str) -> None:
    """RFC 8252 section 7.1: nobody else may claim the scheme."""
    where, _ = await refusal(service, admin, application_type="native", redirect_uris=[uri])
    assert where == ["body", "redirect_uris", 0]


@pytest.mark.parametrize("uri", ["http://localhost:5173/callback", "http://127.0.0.1/cb", "http://[::1]:80/", CALLBACK])
async def test_loopback_is_for_development(service: Service, admin: Person, uri: str) -> None:
    assert (await register(service, admin, client_name="Local", redirect_uris=[uri]))["redirect_uris"] == [uri]


@pytest.mark.parametrize(
    ("metadata", "member"),
    [
        ({"redirect_uris": [], "grant_types": ["authorization_code"]}, "redirect_uris"),
        ({"grant_types": []}, "grant_types"),
        ({"grant_types": ["refresh_token"]}, "grant_types"),
        ({"grant_types": ["client_credentials", "authorization_code"], "token_endpoint_auth_method": "none"},
         "grant_types"),
        ({"token_endpoint_auth_method": "none", "require_pkce": False}, "require_pkce"),
        ({"response_types": []}, "response_types"),
        ({"grant_types": ["client_credentials"], "response_types": ["code"]}, "response_types"),
        ({"token_endpoint_auth_method": "private_key_jwt"}, "jwks"),
        ({"jwks": {"keys": [PUBLIC_KEY]}, "jwks_uri": "https://app.example.com/jwks"}, "jwks_uri"),
        ({"jwks": {}}, "jwks"),
        ({"jwks": {"keys": []}}, "jwks"),
        ({"jwks": {"keys": {}}}, "jwks"),
        ({"jwks": {"keys": [PUBLIC_KEY] * 21}}, "jwks"),
        ({"jwks": {"keys": ["x", {"kty": "EC"}]}}, "jwks"),
        ({"jwks": {"keys": [PUBLIC_KEY, ECKey.generate_key("P-256").as_dict(private=True)]}}, "jwks"),
        ({"jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}}, "jwks"),
        ({"jwks": {"keys": [{"kty": "RSA", "n": "_" * 171, "e": "AQAB"}]}}, "jwks"),
        ({"jwks_uri": "http://app.example.com/jwks"}, "jwks_uri"),
        ({"jwks_uri": "http://127.0.0.1/jwks"}, "jwks_uri"),
        ({"jwks_uri": "https://user@app.example.com/jwks"}, "jwks_uri"),
        ({"backchannel_logout_uri": "http://localhost/logout"}, "backchannel_logout_uri"),
        ({"backchannel_logout_uri": "https://app.example.com/logout#x"}, "backchannel_logout_uri"),
        ({"client_uri": "javascript:alert(1)"}, "client_uri"),
        ({"tos_uri": "ftp://app.example.com"}, "tos_uri"),
        ({"scope": "openid idp:manage"}, "scope"),
        ({"scope": " ".join(f"s{n}" for n in range(101))}, "scope"),
    ],
)  # fmt: skip
async def test_metadata_that_does_not_fit_is_refused(
    service: Service, admin: Person, metadata: dict[str, Any], member: str
) -> None:
    """SEC-29, SEC-32, SEC-65, SEC-66."""
    where, sentence = await refusal(service, admin, **metadata)
    assert where == ["body", member]
    assert sentence.endswith(".")


@pytest.mark.parametrize(
    "metadata",
    [
        {"grant_types": ["implicit"]},
        {"grant_types": ["password"]},
        {"response_types": ["token"]},
        {"token_endpoint_auth_method": "client_secret_jwt"},
        {"id_token_signed_response_alg": "none"},
        {"id_token_signed_response_alg": "HS256"},
        {"redirect_uris": CALLBACK},
        {"redirect_uris": [CALLBACK] * 51},
        {"client_name": "App\u202e"},
        {"skip_consent": "yes"},
        {"redirect_uri": CALLBACK},
    ],
)
async def test_values_that_do_not_exist_are_refused(service: Service, admin: Person, metadata: dict[str, Any]) -> None:
    """SEC-39, SEC-46."""
    await refusal(service, admin, **metadata)


async def test_resources_are_uris_without_fragment(service: Service, admin: Person) -> None:
    """RFC 8707 section 2."""
    for member in ("resources", "serves"):
        for value in ("api", "https://api.example.com/#x", "https://api.example.com/a b"):
            where, _ = await refusal(service, admin, **{member: [value]})
            assert where == ["body", member, 0]


# --- changes ---------------------------------------------------------------------------------------------------------


async def test_a_secret_comes_and_goes_with_the_method(service: Service, admin: Person) -> None:
    """SEC-17, SEC-48."""
    client = await register(service, admin, **CODE, token_endpoint_auth_method="none")
    assert "client_secret" not in client
    url = f"{CLIENTS}/{client['client_id']}/secret"
    rotated = await service.client.post(url, headers=admin.bearer, json={})
    assert (rotated.status_code, rotated.json()["code"]) == (409, "client_has_no_secret")
    confidential = await replace(service, admin, client, token_endpoint_auth_method="client_secret_post")
    assert confidential["client_secret"].startswith("idp_cs_")
    again = await replace(service, admin, client, token_endpoint_auth_method="client_secret_basic")
    assert "client_secret" not in again, "it keeps the one that it has"
    await replace(service, admin, client, token_endpoint_auth_method="none")
    (row,) = await service.sql("SELECT * FROM idp.oauth_clients WHERE client_id = $1", client["client_id"])
    assert (row["secret_digest"], row["secret_created_at"]) == (None, None)


async def test_every_change_is_audited(service: Service, admin: Person) -> None:
    """SEC-74, SEC-75."""
    client = await register(service, admin, **CODE)
    await replace(service, admin, client)
    changed = [CALLBACK, "https://app.example.com/second"]
    await replace(service, admin, client, redirect_uris=changed, skip_consent=True)
    rows = await service.sql(
        "SELECT action, details FROM idp.audit_logs WHERE target = $1 ORDER BY timestamp",
        f"client:{client['client_id']}",
    )
    assert [row["action"] for row in rows] == ["client.created", "client.changed"], "nothing changed the first time"
    created, change = (json.loads(row["details"]) for row in rows)
    assert created["redirect_uris"] == [CALLBACK]
    assert change == {"redirect_uris": [[CALLBACK], changed], "skip_consent": [False, True]}


async def session_of(service: Service, person: Person, client: dict[str, Any]) -> str:
    """Start a session that a client has of a user."""
    session_id = str(uuid4())
    await service.sql(
        "INSERT INTO idp.user_sessions (id, user_id, created_at, last_seen_at, idle_seconds, idle_expires_at,"
        " expires_at, amr, acr, auth_time, parent_id, client_id, client_sid, scopes, resources, claims)"
        " SELECT $1, user_id, created_at, last_seen_at, idle_seconds, idle_expires_at, expires_at, amr, acr, auth_time,"
        " id, $2, id, '{openid}', '{}', '{}' FROM idp.user_sessions WHERE id = $3",
        session_id,
        client["client_id"],
        person.session_id,
    )
    return session_id


async def ended(service: Service, session_id: str) -> str | None:
    (row,) = await service.sql("SELECT ended_reason FROM idp.user_sessions WHERE id = $1", session_id)
    return row["ended_reason"]


async def test_a_client_that_loses_a_grant_or_is_deleted_loses_its_sessions(service: Service, admin: Person) -> None:
    """SEC-59: of every user; the browser's session stays."""
    both = ["authorization_code", "refresh_token"]
    client = await register(service, admin, **CODE, grant_types=both)
    other = await register(service, admin, **CODE, grant_types=both)
    people = [await service.register() for _ in range(2)]
    first = [await session_of(service, person, client) for person in people]
    untouched = await session_of(service, people[0], other)
    await replace(service, admin, client, client_name="Renamed", skip_consent=True)
    assert [await ended(service, each) for each in first] == [None, None]
    await replace(service, admin, client, grant_types=["authorization_code"], response_types=["code"])
    assert [await ended(service, each) for each in first] == ["client_changed"] * 2
    second = [await session_of(service, person, client) for person in people]
    await service.client.delete(f"{CLIENTS}/{client['client_id']}", headers=admin.bearer)
    assert [await ended(service, each) for each in second] == ["client_deleted"] * 2
    assert await ended(service, untouched) is None
    assert [await ended(service, person.session_id) for person in people] == [None, None]
