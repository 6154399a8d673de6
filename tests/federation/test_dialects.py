"""Each preset against a provider that speaks its dialect over a socket (S3-07, S3-37, contract/oidc-claims.md)."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
import time_machine

from authn.issuer_support import http, key_of
from factories import Service
from federation.provider_support import (
    APPLE_PEM,
    SECRET,
    Asked,
    FakeProvider,
    approve,
    begin,
    documented,
    me,
    running_provider,
    running_with,
    sign_in,
)
from idp.dev.embedded import EmbeddedPostgres
from idp.federation.github import _api_of
from provider_apps import Browser

TENANT = "11111111-2222-3333-4444-555555555555"
TRUSTED = ["corp.example", "privaterelay.appleid.com"]
ENCRYPTION = {**key_of("rsa-9").as_dict(private=False), "use": "enc", "alg": "RSA-OAEP"}


RULES = {
    "entra": "groups",
    "keycloak": "realm_access.roles",
    "auth0": "https://corp.example/roles",
    "okta": "groups",
    "cognito": "cognito:groups",
}
SUFFIXES = {
    "entra": f"/{TENANT}/v2.0",
    "keycloak": "/realms/corp",
    "auth0": "/",
    "okta": "/oauth2/default",
    "cognito": "/eu-central-1_Ab",
}
# The lines of the documentation, but for what is the fake's.
FAKE = {"client_id": "client-1", "client_secret": SECRET, "trusted_email_domains": TRUSTED}
APPLE = {"team_id": "TEAM123456", "key_id": "KEY1234567", "private_key": APPLE_PEM, "client_secret": None}


@pytest.fixture(scope="module")
async def service(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with AsyncExitStack() as stack:
        tables = {}
        for documented_table in documented().values():
            preset = documented_table.get("preset", "oidc")
            provider = await stack.enter_async_context(running_provider(suffix=SUFFIXES.get(preset, "")))
            PROVIDERS[preset] = provider
            rules = [{"claim": RULES[preset], "values": ["eng"], "teams": ["Engineering"]}] if preset in RULES else []
            tables[preset] = documented_table | FAKE | {"issuer": provider.issuer, "rules": rules, "email_domains": []}
            tables[preset] |= {"refuse_passwords": False} | (APPLE if preset == "apple" else {})
        service = await stack.enter_async_context(running_with(postgres, "dialects", **tables))
        admin = await service.register_admin()
        await service.client.post("/teams", headers=admin.bearer, json={"name": "Engineering"})
        yield service


PROVIDERS: dict[str, FakeProvider] = {}


@pytest.fixture
async def browser(service: Service) -> AsyncIterator[Browser]:
    async with Browser(service) as browser:
        yield browser


async def signed_in(browser: Browser, preset: str) -> dict[str, Any]:
    answer = await sign_in(browser, preset)
    assert (answer.status_code, answer.headers.get("Location")) == (303, "/"), answer.text[:800]
    return await me(browser)


async def identity(browser: Browser) -> tuple[str, str]:
    ((provider, subject),) = [
        (each["provider"], each["subject"])
        for each in (await browser.client.get("/api/auth/identities")).json()["identities"]
    ]
    return provider, subject


def teams(who: dict[str, Any]) -> list[str]:
    return [each["name"] for each in who["teams"] if each["name"] != "General"]


async def test_google_names_its_issuer_with_and_without_https(service: Service, browser: Browser) -> None:
    """The preset's alias is Google's own; here it is the fake's, without its scheme."""
    provider = PROVIDERS["google"]
    bare = provider.url.removeprefix("http://")
    provider.claims = {
        "sub": "110169484474386276334",
        "hd": "corp.example",
        "email": "ada-google@corp.example",
        "email_verified": True,
        "name": "Ada Lovelace",
        "azp": "client-1",
        "at_hash": "x",
    }
    provider.callback = {"scope": "email profile openid", "authuser": "0", "hd": "corp.example", "prompt": "none"}
    service.app.core.federation.sign_in.providers.get("google").upstream.issuer.names |= {bare}  # type: ignore[attr-defined]
    who = await signed_in(browser, "google")
    assert (who["email"], who["email_verified"], who["name"]) == ("ada-google@corp.example", True, "Ada Lovelace")
    provider.claims["iss"] = bare
    assert (await signed_in(browser, "google"))["id"] == who["id"]
    assert await identity(browser) == (provider.issuer, "110169484474386276334")


async def test_entra_is_known_by_oid_and_an_overage_of_groups_takes_nothing_away(browser: Browser) -> None:
    provider = PROVIDERS["entra"]
    provider.claims = {
        "sub": "pairwise-1",
        "oid": "o-1",
        "tid": TENANT,
        "ver": "2.0",
        "email": "ada-entra@corp.example",
        "preferred_username": "ada-entra@corp.example",
        "name": "Ada",
        "groups": ["eng", *(f"{number:08}-aaaa-bbbb-cccc-dddddddddddd" for number in range(199))],
    }
    provider.callback = {"session_state": "x"}
    who = await signed_in(browser, "entra")  # its ID token has more than 8 kB
    assert (who["email_verified"], teams(who)) == (False, ["Engineering"])
    provider.claims |= {
        "sub": "pairwise-2",
        "groups": None,
        "_claim_names": {"groups": "src1"},
        "_claim_sources": {"src1": {"endpoint": f"{provider.url}/never"}},
    }
    again = await signed_in(browser, "entra")
    assert (again["id"], teams(again)) == (who["id"], ["Engineering"])
    assert [each for each in provider.asked if each.path == "/never"] == []
    assert (await identity(browser))[1] == "o-1"
    provider.claims |= {"oid": "o-2", "email": "eve@corp.example", "xms_edov": True}
    assert (await signed_in(browser, "entra"))["email_verified"] is True


async def test_github_is_known_by_its_number_and_its_verified_primary_address(browser: Browser) -> None:
    """GitHub Enterprise Server at `issuer`."""
    provider = PROVIDERS["github"]
    provider.client = "post"
    provider.user = {"id": 583231, "login": "octocat", "name": "Mona", "email": None}
    other = {"email": "other@corp.example", "primary": False, "verified": True, "visibility": None}
    provider.emails = [
        other,
        {"email": "mona@corp.example", "primary": True, "verified": True, "visibility": "private"},
    ]
    who = await signed_in(browser, "github")
    assert (who["email"], who["email_verified"], who["name"]) == ("mona@corp.example", True, "Mona")
    assert await identity(browser) == (provider.url, "583231")
    assert {each.headers["authorization"] for each in provider.asked if "/api/" in each.path} == {"Bearer gho_1"}
    provider.user["login"] = "renamed"
    assert (await signed_in(browser, "github"))["id"] == who["id"]
    provider.user, provider.emails = {"id": 2, "login": "octocat", "name": None}, [{**other, "primary": True}]
    provider.emails[0]["verified"] = False
    newcomer = await signed_in(browser, "github")
    assert (newcomer["id"] != who["id"], newcomer["email_verified"], newcomer["name"]) == (True, False, "octocat")


@pytest.mark.parametrize("user", [[], {"login": "x"}, {"id": "5"}, {"id": True}, "text"])
async def test_githubs_errors_end_on_a_page(browser: Browser, user: Any) -> None:
    provider = PROVIDERS["github"]
    provider.client, provider.user, provider.emails = "post", user, []
    refused = await sign_in(browser, "github")
    assert (refused.status_code, "/login?other=1" in refused.text) == (400, True)
    provider.client = "basic"  # its client secret is wrong: 200 with an error in JSON
    wrong = await sign_in(browser, "github")
    assert (wrong.status_code, "/login?other=1" in wrong.text) == (400, True)


@pytest.mark.parametrize("status", ["500 Internal Server Error", "403 Forbidden", "429 Too Many Requests"])
async def test_githubs_api_may_be_busy(browser: Browser, status: str) -> None:
    provider = PROVIDERS["github"]

    async def busy(provider: FakeProvider, asked: Asked) -> bytes:
        return http(b"{}", status=status)

    provider.client, provider.hooks = "post", {"/api/v3/user": busy}
    try:
        answer = await sign_in(browser, "github")
    finally:
        provider.hooks = {}
    assert (answer.status_code, "retry-after" in answer.headers, "other=1" in answer.text) == (503, True, True)


def test_githubs_api_is_found() -> None:
    assert _api_of("https://github.com") == "https://api.github.com"
    assert _api_of("https://corp.ghe.com") == "https://api.corp.ghe.com"
    assert _api_of("https://github.corp.example") == "https://github.corp.example/api/v3"


async def test_keycloak(service: Service, browser: Browser) -> None:
    provider = PROVIDERS["keycloak"]
    provider.further_keys = [ENCRYPTION]
    provider.claims = {
        "sub": "f:1:ada",
        "typ": "ID",
        "azp": "client-1",
        "sid": "sid-1",
        "session_state": "sid-1",
        "email": "ada-keycloak@corp.example",
        "email_verified": True,
        "realm_access": {"roles": ["eng"]},
        "acr": "1",
    }
    provider.callback = {"session_state": "sid-1", "iss": f"{provider.url}/realms/corp"}
    provider.metadata = {"authorization_response_iss_parameter_supported": True}
    who = await signed_in(browser, "keycloak")
    assert (who["email_verified"], teams(who)) == (True, ["Engineering"])
    (row,) = await service.sql("SELECT sid FROM idp.federated_sessions WHERE subject = 'f:1:ada'")
    assert row["sid"] == "sid-1"


async def test_auth0(browser: Browser) -> None:
    provider = PROVIDERS["auth0"]
    provider.claims = {
        "sub": "google-oauth2|1",
        "email": "ada-auth0@corp.example",
        "email_verified": True,
        "https://corp.example/roles": ["eng"],
        "sid": "s",
    }
    assert teams(await signed_in(browser, "auth0")) == ["Engineering"]
    assert await identity(browser) == (f"{provider.url}/", "google-oauth2|1")


async def test_okta(browser: Browser) -> None:
    provider = PROVIDERS["okta"]
    provider.claims = {
        "sub": "00u1",
        "ver": 1,
        "amr": ["pwd", "mfa"],
        "idp": "00o1",
        "email": "ada-okta@corp.example",
        "email_verified": True,
        "groups": ["Everyone", "eng"],
    }
    assert teams(await signed_in(browser, "okta")) == ["Engineering"]
    asked = next(each for each in provider.asked if each.path.endswith("/authorize"))
    assert asked.query["scope"] == "openid profile email groups"


async def test_cognito(browser: Browser) -> None:
    """Its userinfo sends `email_verified` as text."""
    provider = PROVIDERS["cognito"]
    provider.claims = {
        "sub": "u-1",
        "token_use": "id",
        "cognito:username": "ada",
        "cognito:groups": ["eng"],
        "origin_jti": "x",
        "event_id": "y",
    }
    provider.userinfo = {"sub": "u-1", "email": "ada-cognito@corp.example", "email_verified": "true", "username": "ada"}
    who = await signed_in(browser, "cognito")
    assert (who["email_verified"], teams(who)) == (True, ["Engineering"])
    provider.claims["sub"], provider.userinfo["email"] = "u-2", "eve@corp.example"  # userinfo of another
    assert (await signed_in(browser, "cognito"))["email"] is None


async def from_form(browser: Browser, answer: httpx2.Response) -> httpx2.Response:
    """Post the provider's answer as its page does: without the cookies that the callback needs, then follow."""
    page = answer.json()
    async with Browser(browser.service) as without_cookies:
        posted = await without_cookies.client.post(page["action"], data=page["fields"])
    assert posted.status_code == 303, posted.text
    return await browser.client.get(posted.headers["Location"])


def secret_of(provider: FakeProvider) -> str:
    """Return the client secret that was last sent."""
    return [each.form["client_secret"] for each in provider.asked if each.path == "/token"][-1]


async def test_apple(service: Service, browser: Browser) -> None:
    provider = PROVIDERS["apple"]
    provider.client = "apple"
    provider.claims = {
        "sub": "001.a",
        "email": "x7@privaterelay.appleid.com",
        "email_verified": "true",
        "is_private_email": "true",
        "nonce_supported": True,
    }
    name = {"name": {"firstName": "Ada", "lastName": "Lovelace"}, "email": "someone@else.example"}
    provider.callback = {"user": json.dumps(name)}
    done = await from_form(browser, await approve(await begin(browser, "apple")))
    assert (done.status_code, done.headers.get("Location")) == (303, "/"), done.text[:800]
    who = await me(browser)
    assert (who["email"], who["name"]) == ("x7@privaterelay.appleid.com", "Ada Lovelace")
    assert who["email_verified"] is True
    secret = secret_of(provider)
    provider.callback = {}  # Apple sends the name once
    await from_form(browser, await approve(await begin(browser, "apple")))
    assert ((await me(browser))["id"], secret_of(provider)) == (who["id"], secret)
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=2), tick=True):
        async with Browser(browser.service) as later:
            done = await from_form(later, await approve(await begin(later, "apple")))
            assert done.status_code == 303, done.text[:800]
        assert secret_of(provider) != secret  # made anew


@pytest.mark.parametrize("sent", ["[]", "{}", "nonsense", '{"name":5}', "[" * 2000, '{"name":{"firstName":"\\u0000"}}'])
async def test_apples_name_may_be_anything(browser: Browser, sent: str) -> None:
    provider = PROVIDERS["apple"]
    provider.client = "apple"
    provider.claims = {"sub": f"001.{len(sent)}", "email": f"apple{len(sent)}@corp.example", "email_verified": True}
    provider.callback = {"user": sent}
    done = await from_form(browser, await approve(await begin(browser, "apple")))
    assert done.status_code == 303, done.text[:800]


async def test_clerk(browser: Browser) -> None:
    """As an OAuth provider: `sub` is the user at Clerk, the address is in userinfo."""
    provider = PROVIDERS["clerk"]
    provider.claims = {"sub": "user_29w83sxmDNGwOuEthce5gg56FcC", "rat": None, "sid": "sess_1"}
    provider.userinfo = {
        "sub": "user_29w83sxmDNGwOuEthce5gg56FcC",
        "email": "ada-clerk@corp.example",
        "email_verified": True,
        "name": "Ada",
        "picture": "https://img.clerk.com/x",
    }
    who = await signed_in(browser, "clerk")
    assert (who["email"], who["email_verified"], who["name"]) == ("ada-clerk@corp.example", True, "Ada")
