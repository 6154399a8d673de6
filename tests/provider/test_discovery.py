"""The metadata documents say what is built, and nothing else: each member is used (RFC 8414, OIDC Discovery)."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oidc.discovery import OpenIDProviderMetadata
from joserfc.jwk import RSAKey

from factories import Person, Service, running
from idp.dev.embedded import EmbeddedPostgres
from idp.signing.compact import parse
from provider_apps import Browser, claims_of, register_app, returned


@pytest.fixture(scope="module")
async def service(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("discovery")) as service:
        yield service


@pytest.fixture(scope="module")
async def admin(service: Service) -> Person:
    return await service.register_admin()


@pytest.fixture
async def browser(service: Service) -> AsyncIterator[Browser]:
    async with Browser(service) as browser:
        await browser.sign_in(await service.register(name="Grace Hopper"))
        yield browser


@pytest.fixture
async def metadata(service: Service) -> dict[str, Any]:
    return dict((await service.client.get("/.well-known/openid-configuration")).json())


# Each member by the test that uses it, so that no member is added without one.
USED = {
    "issuer": "both_documents",
    "service_documentation": "endpoints",
    "authorization_endpoint": "endpoints",
    "token_endpoint": "endpoints",
    "userinfo_endpoint": "endpoints",
    "jwks_uri": "endpoints",
    "introspection_endpoint": "endpoints",
    "revocation_endpoint": "endpoints",
    "end_session_endpoint": "endpoints",
    "scopes_supported": "scopes",
    "claims_supported": "scopes",
    "subject_types_supported": "scopes",
    "response_types_supported": "responses",
    "response_modes_supported": "responses",
    "code_challenge_methods_supported": "responses",
    "authorization_response_iss_parameter_supported": "responses",
    "grant_types_supported": "registration",
    "token_endpoint_auth_methods_supported": "registration",
    "token_endpoint_auth_signing_alg_values_supported": "registration",
    "introspection_endpoint_auth_methods_supported": "registration",
    "introspection_endpoint_auth_signing_alg_values_supported": "registration",
    "revocation_endpoint_auth_signing_alg_values_supported": "registration",
    "revocation_endpoint_auth_methods_supported": "registration",
    "id_token_signing_alg_values_supported": "registration",
    "acr_values_supported": "prompts",
    "prompt_values_supported": "prompts",
    "ui_locales_supported": "prompts",
    "claims_parameter_supported": "prompts",
    "request_parameter_supported": "prompts",
    "request_uri_parameter_supported": "prompts",
    "backchannel_logout_supported": "registration",
    "backchannel_logout_session_supported": "registration",
}


async def test_both_documents_are_the_same(service: Service, metadata: dict[str, Any]) -> None:
    assert set(metadata) == set(USED)
    assert metadata["issuer"] == service.base_url
    answer = await service.client.get("/.well-known/oauth-authorization-server")
    assert answer.json() == metadata
    assert answer.headers["Cache-Control"] == "public, max-age=300"


async def test_an_independent_reading_of_the_specifications_accepts_them(
    service: Service, metadata: dict[str, Any]
) -> None:
    """Authlib validates the members of OpenID Connect Discovery and of RFC 8414; it wants https."""
    public = {
        name: value.replace(service.base_url, "https://id.example.com") if isinstance(value, str) else value
        for name, value in metadata.items()
    }
    OpenIDProviderMetadata(public).validate()
    AuthorizationServerMetadata(public).validate()


async def test_the_endpoints_exist(service: Service, metadata: dict[str, Any]) -> None:
    for name, url in metadata.items():
        if name.endswith("_endpoint") or name in {"jwks_uri", "service_documentation"}:
            method = "POST" if name.split("_")[0] in {"token", "introspection", "revocation"} else "GET"
            answer = await service.client.request(method, url)
            assert answer.status_code not in {404, 405, 500}, name


async def test_pages_of_every_origin_may_call_what_single_page_apps_need(
    service: Service, metadata: dict[str, Any]
) -> None:
    """SEC-78: never with cookies; and never the authorization endpoint."""
    origin = {"Origin": "https://app.example.com"}
    preflight = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for name in ("token_endpoint", "userinfo_endpoint", "revocation_endpoint", "jwks_uri"):
        asked = await service.client.options(metadata[name], headers=preflight)
        assert (asked.status_code, asked.headers["Access-Control-Allow-Origin"]) == (204, "*"), name
        assert "authorization" in asked.headers["Access-Control-Allow-Headers"].lower()
        assert "Access-Control-Allow-Credentials" not in asked.headers
    answer = await service.client.post(metadata["token_endpoint"], headers=origin, data={"grant_type": "x"})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (400, "*")
    answer = await service.client.get(metadata["userinfo_endpoint"], headers=origin)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (401, "*")
    answer = await service.client.get("/.well-known/openid-configuration", headers=origin)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, "*")
    for path in ("/oauth2/authorize", "/oauth2/introspect", "/oauth2/logout"):
        answer = await service.client.options(path, headers=preflight)
        assert "Access-Control-Allow-Origin" not in answer.headers, path


async def test_every_scope_releases_its_claims(
    service: Service, admin: Person, browser: Browser, metadata: dict[str, Any]
) -> None:
    app = await register_app(service, admin)
    tokens = await app.tokens(browser, scope=" ".join(metadata["scopes_supported"]))
    assert tokens["scope"].split() == metadata["scopes_supported"]
    claims = set(claims_of(tokens["id_token"])) - {"idp_env"}
    assert claims <= set(metadata["claims_supported"])
    assert set(metadata["claims_supported"]) - claims <= {"picture"}  # the user has none
    assert metadata["subject_types_supported"] == ["public"]


async def test_every_response_form_is_answered(
    service: Service, admin: Person, browser: Browser, metadata: dict[str, Any]
) -> None:
    app = await register_app(service, admin)
    assert metadata["authorization_response_iss_parameter_supported"] is True
    for kind in metadata["response_types_supported"]:
        back = returned(await app.authorize(browser, response_type=kind))
        assert (set(back) >= {"code"}, back["iss"]) == (True, service.base_url)
    for mode in metadata["response_modes_supported"]:
        answer = await app.authorize(browser, response_mode=mode)
        assert ("code=" in answer.headers.get("Location", "")) or 'name="code"' in answer.text
    for method in metadata["code_challenge_methods_supported"]:
        assert "code" in returned(await app.authorize(browser, code_challenge_method=method))


async def test_every_registration_value_is_accepted(service: Service, admin: Person, metadata: dict[str, Any]) -> None:
    assert metadata["backchannel_logout_supported"] is metadata["backchannel_logout_session_supported"] is True
    methods = metadata["token_endpoint_auth_methods_supported"]
    assert metadata["revocation_endpoint_auth_methods_supported"] == methods
    assert set(metadata["introspection_endpoint_auth_methods_supported"]) == {*methods, "bearer"} - {"none"}
    for algorithm in metadata["id_token_signing_alg_values_supported"]:
        app = await register_app(service, admin, id_token_signed_response_alg=algorithm)
        async with Browser(service) as browser:
            await browser.sign_in(admin)
            token = (await app.tokens(browser))["id_token"]
        assert header_of(token)["alg"] == algorithm
    grants = [grant for grant in metadata["grant_types_supported"] if grant != "client_credentials"]
    for method in methods:
        keys = {"jwks": {"keys": [rsa_key()]}} if method == "private_key_jwt" else {}
        more = {"backchannel_logout_uri": "https://app.example.com/logout", "grant_types": grants}
        app = await register_app(service, admin, token_endpoint_auth_method=method, **keys, **more)
        assert (app.secret is None) == (method in {"none", "private_key_jwt"})


async def test_prompts_and_parameters(
    service: Service, admin: Person, browser: Browser, metadata: dict[str, Any]
) -> None:
    app = await register_app(service, admin)
    pages = {"none": None, "login": "/login", "consent": "/consent", "select_account": "/login"}
    assert set(metadata["prompt_values_supported"]) == set(pages)
    for prompt, page in pages.items():
        answer = await browser.client.get("/oauth2/authorize", params=app.parameters(prompt=prompt, max_age="3600"))
        assert answer.headers["Location"].startswith(page or app.redirect_uri), prompt
    assert metadata["claims_parameter_supported"] is True
    assert metadata["request_parameter_supported"] is metadata["request_uri_parameter_supported"] is False
    assert claims_of((await app.tokens(browser))["id_token"])["acr"] in metadata["acr_values_supported"]
    async with Browser(service) as stranger:
        for locale in metadata["ui_locales_supported"]:
            page_shown = await app.authorize(stranger, ui_locales=locale)
            assert page_shown.headers["Content-Language"] == locale
            assert f'lang="{locale}"' in page_shown.text


def header_of(token: str) -> dict[str, Any]:
    return dict(parse(token).header)


def rsa_key() -> dict[str, Any]:
    return {**RSAKey.generate_key(2048, private=False).as_dict(private=False), "alg": "RS256", "use": "sig"}
