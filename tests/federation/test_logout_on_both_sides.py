"""Logout here ends the session at the provider, and a logout token of the provider ends ours (S3-37, SEC-72)."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from authn.issuer_support import Issuer, http, running_issuer, well
from factories import Service, running
from idp.dev.embedded import EmbeddedPostgres
from provider_apps import App, Browser, claims_of, register_app, returned

EVENT = "http://schemas.openid.net/event/backchannel-logout"
AFTER = "https://app.example.com/bye"
ID = "the-client"


class Corp:
    """A provider on a socket, which signs anybody in and has a logout."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.nonce, self.sid, self.subject = "", "sid-1", "person-1"
        self.ends_sessions = True
        issuer.answer = self.answer

    async def answer(self, issuer: Issuer, path: str) -> bytes:
        if path == "/.well-known/openid-configuration":
            document = {
                "issuer": issuer.url,
                "jwks_uri": f"{issuer.url}/keys",
                "authorization_endpoint": f"{issuer.url}/authorize",
                "token_endpoint": f"{issuer.url}/token",
                **({"end_session_endpoint": f"{issuer.url}/logout?x=1"} if self.ends_sessions else {}),
            }
            return http(json.dumps(document).encode())
        if path == "/token":
            more = {"sub": self.subject, "nonce": self.nonce, "sid": self.sid}
            token = issuer.token(**more, email=f"{self.subject}@corp.example", email_verified=True)
            return http(json.dumps({"access_token": "a", "token_type": "Bearer", "id_token": token}).encode())
        return await well(issuer, path)

    def logout_token(self, *, header: dict[str, Any] | None = None, kid: str = "rsa-1", **changes: Any) -> str:
        now = int(time.time())
        usual = {"sub": self.subject, "sid": self.sid, "iat": now, "exp": now + 60, "jti": f"j-{now}", "nonce": None}
        claims = {**usual, "events": {EVENT: {}}, **changes}
        return self.issuer.token(header={"typ": "logout+jwt", **(header or {})}, kid=kid, **claims)


@pytest.fixture
async def corp() -> AsyncIterator[Corp]:
    async with running_issuer() as issuer:
        yield Corp(issuer)


@pytest.fixture
async def service(corp: Corp, postgres: EmbeddedPostgres, request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    provider = {"issuer": corp.issuer.url, "client_id": ID, "client_secret": "s", "label": "Corp",
                "trusted_email_domains": ["corp.example"], **getattr(request, "param", {})}  # fmt: skip
    environ = {"IDP_FEDERATION__PROVIDERS": json.dumps({"corp": provider})}
    name = f"logout_{abs(hash(request.node.name)) % 10**8}"
    async with running(postgres.create_database(name), environ=environ) as service:
        yield service


@pytest.fixture
async def browser(service: Service) -> AsyncIterator[Browser]:
    async with Browser(service) as browser:
        yield browser


async def signed_in(browser: Browser, corp: Corp, **query: str) -> httpx2.Response:
    began = await browser.client.get("/federation/corp/start", params=query)
    sent = parse_qs(urlsplit(began.headers["Location"]).query)
    corp.nonce = sent["nonce"][0]
    answer = await browser.client.get("/federation/corp/callback", params={"state": sent["state"][0], "code": "c"})
    assert answer.status_code == 303, answer.text
    return answer


async def is_signed_in(browser: Browser) -> bool:
    return (await browser.client.get("/auth/me")).status_code == 200


async def app_of(browser: Browser, corp: Corp, service: Service) -> tuple[App, dict[str, Any]]:
    """Sign an app in through the provider; return it, and its tokens."""
    admin = await service.register_admin()
    app = await register_app(service, admin, post_logout_redirect_uris=[AFTER])
    asked = await browser.client.get("/oauth2/authorize", params=app.parameters())
    request = parse_qs(urlsplit(asked.headers["Location"]).query)["request"][0]
    back = returned(await browser.follow(await signed_in(browser, corp, request=request)))
    return app, (await app.exchange(back["code"])).json()


async def notify(service: Service, token: str) -> httpx2.Response:
    return await service.client.post("/federation/corp/backchannel-logout", data={"logout_token": token})


# --- our logout ------------------------------------------------------------------------------------------------------


async def test_an_apps_logout_goes_by_the_provider_and_back_to_the_app(
    service: Service, browser: Browser, corp: Corp
) -> None:
    """SEC-72: the app's address and `state` survive the way; our session has ended before the browser leaves."""
    _, tokens = await app_of(browser, corp, service)
    sent = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": AFTER, "state": "s 1"}
    left = await browser.client.get("/oauth2/logout", params=sent)
    assert left.status_code == 303
    assert not await is_signed_in(browser)
    target = urlsplit(left.headers["Location"])
    query = {name: values[0] for name, values in parse_qs(target.query).items()}
    assert (f"{target.scheme}://{target.netloc}", target.path) == (corp.issuer.url, "/logout")
    assert (query["x"], query["client_id"]) == ("1", ID)
    assert claims_of(query["id_token_hint"])["sub"] == "person-1"
    assert query["post_logout_redirect_uri"] == f"{service.base_url}/federation/corp/signed-out"
    assert "app.example.com" not in query["state"]  # sealed
    back = await browser.client.get("/federation/corp/signed-out", params={"state": query["state"]})
    assert (back.status_code, back.headers["Location"]) == (303, f"{AFTER}?state=s%201")
    for wrong in ("", "x", query["state"][:-2], "a" * 3000):
        other = await browser.client.get("/federation/corp/signed-out", params={"state": wrong})
        assert (other.status_code, other.headers["Location"]) == (303, "/signed-out"), wrong


async def test_the_question_leads_to_the_provider_by_a_page(service: Service, browser: Browser, corp: Corp) -> None:
    """Chromium would apply the form's `form-action` to a redirect."""
    await signed_in(browser, corp)
    page = await browser.client.get("/oauth2/logout")
    token = page.text.partition('name="csrf_token" value="')[2].partition('"')[0]
    left = await browser.client.post("/oauth2/logout/confirm", data={"csrf_token": token})
    assert left.status_code == 200
    assert left.headers["Refresh"].startswith(f"0;url={corp.issuer.url}/logout?")
    assert "On to Corp" in left.text
    assert not await is_signed_in(browser)


async def test_a_page_of_a_front_end_learns_the_providers_logout(browser: Browser, corp: Corp) -> None:
    await signed_in(browser, corp)
    headers = {"X-CSRF-Token": browser.client.cookies["idp_csrf"]}
    answer = await browser.client.post("/auth/logout", headers=headers)
    assert answer.status_code == 200
    assert answer.json()["logout_url"].startswith(f"{corp.issuer.url}/logout?")


async def test_a_session_with_a_password_ends_here_alone(service: Service, browser: Browser) -> None:
    await browser.sign_in(await service.register())
    headers = {"X-CSRF-Token": browser.client.cookies["idp_csrf"]}
    answer = await browser.client.post("/auth/logout", headers=headers)
    assert answer.json() == {"message": "Logged out successfully"}


@pytest.mark.parametrize("service", [{"logout": False}], indirect=True)
async def test_a_setting_keeps_the_logout_here(service: Service, browser: Browser, corp: Corp) -> None:
    _, tokens = await app_of(browser, corp, service)
    sent = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": AFTER}
    left = await browser.client.get("/oauth2/logout", params=sent)
    assert (left.status_code, left.headers["Location"]) == (303, AFTER)


async def test_a_provider_without_a_logout_is_left_alone(service: Service, browser: Browser, corp: Corp) -> None:
    corp.ends_sessions = False
    _, tokens = await app_of(browser, corp, service)
    sent = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": AFTER}
    left = await browser.client.get("/oauth2/logout", params=sent)
    assert left.headers["Location"] == AFTER


# --- the provider's logout tokens ------------------------------------------------------------------------------------


async def test_a_logout_token_ends_the_session_with_its_apps(service: Service, browser: Browser, corp: Corp) -> None:
    """S3-37 for browsers; a replay, and a session that is not known, are answered the same."""
    app, tokens = await app_of(browser, corp, service)
    token = corp.logout_token()
    for _ in range(3):
        answer = await notify(service, token)
        assert (answer.status_code, answer.text, answer.headers["Cache-Control"]) == (200, "", "no-store")
    assert not await is_signed_in(browser)
    assert (await app.refresh(tokens["refresh_token"])).status_code == 400 if "refresh_token" in tokens else True
    assert (await notify(service, corp.logout_token(sid="unknown"))).status_code == 200
    ended = await service.sql("SELECT count(*) AS n FROM idp.user_sessions s JOIN idp.federated_sessions f ON"
                              " f.session_id = s.id WHERE s.ended_at IS NULL")  # fmt: skip
    assert ended[0]["n"] == 0


async def test_sid_names_one_session_and_the_subject_all(service: Service, corp: Corp) -> None:
    async with Browser(service) as first, Browser(service) as second, Browser(service) as other:
        await signed_in(first, corp)
        corp.sid = "sid-2"
        await signed_in(second, corp)
        corp.subject, corp.sid = "person-2", "sid-3"
        await signed_in(other, corp)
        await notify(service, corp.logout_token(sub="person-1", sid="sid-3"))  # they do not belong together
        assert await is_signed_in(other)
        assert (await notify(service, corp.logout_token(sub=None, sid="sid-1"))).status_code == 200
        assert (await is_signed_in(first), await is_signed_in(second)) == (False, True)
        assert (await notify(service, corp.logout_token(sub="person-1", sid=None))).status_code == 200
        assert (await is_signed_in(second), await is_signed_in(other)) == (False, True)


WRONG: tuple[dict[str, Any], ...] = (
    {"iss": "https://evil.example"},
    {"iss": {"a": 1}},
    {"aud": "another"},
    {"aud": None},
    {"nonce": "n"},
    {"events": None},
    {"events": {}},
    {"events": {EVENT: "x"}},
    {"events": [EVENT]},
    {"jti": None},
    {"jti": 7},
    {"iat": None},
    {"iat": "now"},
    {"iat": 10**30},
    {"iat": int(time.time()) - 4000, "exp": None},
    {"iat": int(time.time()) + 4000},
    {"exp": int(time.time()) - 300},
    {"exp": "later"},
    {"sid": None, "sub": None},
    {"sid": 7},
    {"sid": "a\x00b"},
    {"sub": "x" * 300},
    {"header": {"typ": "at+jwt"}},
    {"kid": "rsa-unpublished"},
)


async def test_wrong_logout_tokens_end_nothing(service: Service, browser: Browser, corp: Corp) -> None:
    """Back-Channel Logout 1.0 section 2.6; SEC-24 to SEC-26."""
    await signed_in(browser, corp)
    unsigned = ".".join([b64({"alg": "none", "kid": "rsa-1"}), corp.logout_token().split(".")[1], ""])
    for token in (unsigned, *(corp.logout_token(**wrong) for wrong in WRONG)):
        answer = await notify(service, token)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), answer.text
        assert answer.headers["content-type"].startswith("application/json")
    assert await is_signed_in(browser)


def b64(members: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(members).encode()).rstrip(b"=").decode()


async def test_an_id_token_is_not_a_logout_token(service: Service, browser: Browser, corp: Corp) -> None:
    await signed_in(browser, corp)
    id_token = corp.issuer.token(sub="person-1", sid="sid-1", nonce=corp.nonce)
    for body in (
        {"logout_token": id_token},
        {"logout_token": "x"},
        {"logout_token": ""},
        {},
        {"logout_token": "a.b.c"},
    ):
        answer = await service.client.post("/federation/corp/backchannel-logout", data=body)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), body
    as_json = await service.client.post("/federation/corp/backchannel-logout", json={"logout_token": id_token})
    assert as_json.status_code == 400
    assert (
        await service.client.post("/federation/other/backchannel-logout", data={"logout_token": "x"})
    ).status_code == 404
    assert await is_signed_in(browser)


async def test_many_at_once_end_it_once(service: Service, browser: Browser, corp: Corp) -> None:
    await signed_in(browser, corp)
    answers = await asyncio.gather(*(notify(service, corp.logout_token(jti=str(n))) for n in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    rows = await service.sql("SELECT count(*) AS n FROM idp.audit_logs WHERE actor = 'provider:corp'")
    assert rows[0]["n"] == 1
