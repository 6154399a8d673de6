"""Attacks on sign-in through providers: RFC 9700 by section, and SEC-67 to SEC-69. Two providers, real sockets."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest
import time_machine

from authn.issuer_support import key_of
from factories import Service
from federation.provider_support import (
    SECRET,
    FakeProvider,
    answered,
    approve,
    begin,
    me,
    running_provider,
    running_with,
    sign_in,
)
from idp.dev.embedded import EmbeddedPostgres
from idp.signing.base64url import encode
from provider_apps import Browser
from table_tests import table


@dataclass
class World:
    """A service with the providers `corp` (honest) and `evil` (of an attacker)."""

    service: Service
    corp: FakeProvider
    evil: FakeProvider

    def browser(self) -> Browser:
        return Browser(self.service)

    async def identities(self) -> int:
        ((count,),) = await self.service.sql("SELECT count(*) FROM idp.identities")
        return int(count)


@pytest.fixture(scope="module")
async def shared(postgres: EmbeddedPostgres) -> AsyncIterator[World]:
    async with running_provider() as corp, running_provider(suffix="/evil") as evil:
        trusted = {"trusted_email_domains": ["corp.example"]}
        providers = {
            "corp": {"issuer": corp.issuer, **trusted},
            "evil": {"issuer": evil.issuer, **trusted},
            "closed": {"issuer": f"{evil.url}/closed", "create_users": False},
        }
        async with running_with(postgres, "federation_attacks", **providers) as service:
            yield World(service, corp, evil)


_numbers = iter(range(1, 1_000_000))


@pytest.fixture
def world(shared: World) -> World:
    """The world, with an honest person at `corp` who has not been here."""
    shared.corp.reset()
    shared.evil.reset()
    shared.evil.suffix = "/evil"
    number = next(_numbers)
    shared.corp.claims = {"sub": f"s-{number}", "email": f"p{number}@corp.example", "email_verified": True}
    shared.evil.claims = {"sub": f"e-{number}", "email": f"e{number}@corp.example", "email_verified": True}
    return shared


def changed(callback: str, **changes: str | None) -> str:
    """Return a callback with other parameters; None leaves one out."""
    parts = urlsplit(callback)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()} | changes
    return parts._replace(query=urlencode({name: text for name, text in query.items() if text is not None})).geturl()


async def is_refused(browser: Browser, answer: httpx2.Response, *, status: int = 400) -> bool:
    """Whether an answer is a page with the other ways in, and nobody is signed in."""
    assert answer.status_code == status, (answer.status_code, answer.headers.get("location"), answer.text[:300])
    assert answer.headers["content-type"].startswith("text/html")
    assert "other=1" in answer.text
    assert (await browser.client.get("/auth/me")).status_code == 401
    return True


# --- RFC 9700: the answer ---------------------------------------------------------------------------------------------


async def test_mix_up(world: World) -> None:
    """RFC 9700 section 4.4, RFC 9207, SEC-67: the answer of one provider at the callback of another."""
    world.corp.callback = {"iss": world.evil.issuer}
    async with world.browser() as browser:
        assert await is_refused(browser, await sign_in(browser))
        world.corp.callback = {}
        at_other = (await answered(browser)).replace("/federation/corp/", "/federation/evil/")
        assert await is_refused(browser, await browser.client.get(at_other))
        # A provider that announces iss must send it.
        world.evil.callback = {}
        world.evil.metadata = {"authorization_response_iss_parameter_supported": True}
        world.service.app.core.federation.sign_in.providers.get("evil").upstream.metadata._fresh_until = 0  # type: ignore[attr-defined]
        assert await is_refused(browser, await sign_in(browser, "evil"))
        assert [each for each in world.evil.asked if each.path.endswith("/token")] == []  # no code was sent there
        world.evil.callback = {"iss": world.evil.issuer}
        assert (await sign_in(browser, "evil")).status_code == 303
    world.service.app.core.federation.sign_in.providers.get("evil").upstream.metadata._fresh_until = 0  # type: ignore[attr-defined]


async def test_each_provider_has_its_own_redirect_uri_and_secrets(world: World) -> None:
    """RFC 9700 section 4.4.2: the defence that needs no `iss`."""
    async with world.browser() as browser:
        urls = [dict(parse_qs(urlsplit(await begin(browser, name)).query)) for name in ("corp", "evil", "corp")]
    assert urls[0]["redirect_uri"] != urls[1]["redirect_uri"]
    for name in ("state", "nonce", "code_challenge"):
        assert len({url[name][0] for url in urls}) == 3


async def test_csrf_and_session_fixation(world: World) -> None:
    """RFC 9700 section 4.7, SEC-67: an answer that another browser began, or nobody."""
    async with world.browser() as attacker, world.browser() as victim:
        callback = await answered(attacker)
        for sent in (callback, changed(callback, state=None), changed(callback, state="A" * 43)):
            assert await is_refused(victim, await victim.client.get(sent))
        await begin(victim)  # with a cookie of their own
        assert await is_refused(victim, await victim.client.get(callback))
        posted = await victim.client.post(urlsplit(callback).path, data=dict(parse_qs(urlsplit(callback).query)))
        assert await is_refused(victim, await victim.client.get(posted.headers["Location"]))
        before = {cookie.name: cookie.value for cookie in attacker.client.cookies.jar}
        assert (await attacker.client.get(callback)).status_code == 303
        session = {cookie.name: cookie.value for cookie in attacker.client.cookies.jar}
        assert set(session) > set(before)  # a session that nobody knew before


async def test_code_injection(world: World) -> None:
    """RFC 9700 section 4.5: a stolen code in the attacker's own answer; PKCE refuses it, and without PKCE the nonce."""
    async with world.browser() as victim, world.browser() as attacker:
        for checks_pkce in (True, False):
            world.corp.checks_pkce = checks_pkce
            stolen = parse_qs(urlsplit(await answered(victim)).query)["code"][0]
            own = await answered(attacker)
            assert await is_refused(attacker, await attacker.client.get(changed(own, code=stolen)))
    assert await world.service.sql("SELECT 1 FROM idp.identities WHERE subject = $1", world.corp.claims["sub"]) == []


async def test_replay_of_an_answer(world: World) -> None:
    """SEC-67: the state once, also with another code, and also after a failure."""
    async with world.browser() as browser, world.browser() as other:
        callback = await answered(browser)
        assert (await browser.client.get(callback)).status_code == 303
        browser.client.cookies.delete("idp_session")
        fresh = parse_qs(urlsplit(await answered(other)).query)["code"][0]
        for sent in (callback, changed(callback, code=fresh)):
            assert await is_refused(browser, await browser.client.get(sent))
        failing = await answered(browser)
        assert await is_refused(browser, await browser.client.get(changed(failing, code="wrong")))
        assert await is_refused(browser, await browser.client.get(failing))


async def test_replay_of_an_id_token(world: World) -> None:
    """OpenID Connect Core 3.1.3.7 number 11, SEC-67: the ID token of an earlier login."""
    kept: list[str] = []

    def keep(provider: FakeProvider, claims: dict[str, Any]) -> str:
        kept.append(provider.sign(claims))
        return kept[0]

    world.corp.signs = keep
    async with world.browser() as first, world.browser() as second:
        assert (await sign_in(first)).status_code == 303
        assert await is_refused(second, await sign_in(second))


async def test_two_tabs_and_a_late_answer(world: World) -> None:
    async with world.browser() as browser:
        one, other = await answered(browser), await answered(browser)
        assert (await browser.client.get(other)).status_code == 303
        assert (await browser.client.get(one)).status_code == 303
    async with world.browser() as browser:
        late = await answered(browser)
        with time_machine.travel(datetime.now(UTC) + timedelta(minutes=15, seconds=1), tick=True):
            assert await is_refused(browser, await browser.client.get(late))


# --- SEC-67: the ID token ---------------------------------------------------------------------------------------------


def unsigned(_: FakeProvider, claims: dict[str, Any]) -> str:
    head = encode(json.dumps({"alg": "none", "kid": "rsa-1"}).encode())
    return f"{head}.{encode(json.dumps(claims).encode())}."


def symmetric(_: FakeProvider, claims: dict[str, Any]) -> str:
    """Signed with the client secret, which some libraries accept."""
    import hmac

    signed = ".".join(encode(json.dumps(each).encode()) for each in ({"alg": "HS256", "kid": "rsa-1"}, claims))
    return f"{signed}.{encode(hmac.digest(SECRET.encode(), signed.encode(), 'sha256'))}"


def of_the_public_key(_: FakeProvider, claims: dict[str, Any]) -> str:
    import hmac

    public = key_of("rsa-1").as_pem(private=False)
    signed = ".".join(encode(json.dumps(each).encode()) for each in ({"alg": "HS256", "kid": "rsa-1"}, claims))
    return f"{signed}.{encode(hmac.digest(public, signed.encode(), 'sha256'))}"


def with_claims(**changes: Any) -> Callable[[FakeProvider, dict[str, Any]], str]:
    def sign(provider: FakeProvider, claims: dict[str, Any]) -> str:
        return provider.sign({name: value for name, value in (claims | changes).items() if value is not None})

    return sign


def tampered(provider: FakeProvider, claims: dict[str, Any]) -> str:
    head, _, signature = provider.sign(claims).split(".")
    return f"{head}.{encode(json.dumps(claims | {'sub': 'admin'}).encode())}.{signature}"


ID_TOKENS: dict[str, Callable[[FakeProvider, dict[str, Any]], str]] = {
    "alg none": unsigned,
    "HS256 with the client secret": symmetric,
    "HS256 with the public key": of_the_public_key,
    "tampered": tampered,
    "a key of another provider": lambda provider, claims: provider.sign(claims, kid="rsa-2"),
    "another key under the same kid": lambda provider, claims: provider.sign(claims, kid="rsa-2").replace(
        base64.urlsafe_b64encode(b"rsa-2").decode(), ""
    ),
    "no nonce": with_claims(nonce=None),
    "another nonce": with_claims(nonce="other"),
    "a nonce that is a list": with_claims(nonce=["other"]),
    "aud of another client": with_claims(aud="client-2"),
    "no aud": with_claims(aud=None),
    "two audiences and no azp": with_claims(aud=["client-1", "client-2"]),
    "azp of another client": with_claims(azp="client-2"),
    "an azp that is a list": with_claims(azp=["client-1"]),
    "an azp that is an object": with_claims(azp={}),
    "another issuer": with_claims(iss="https://evil.example"),
    "an issuer with a slash more": lambda provider, claims: provider.sign(claims | {"iss": claims["iss"] + "/"}),
    "an issuer that is a list": lambda provider, claims: provider.sign(claims | {"iss": [claims["iss"]]}),
    "expired": with_claims(exp=1),
    "no exp": with_claims(exp=None),
    "issued in the future": with_claims(iat=4_000_000_000),
    "no subject": with_claims(sub=None),
    "an empty subject": with_claims(sub=""),
    "a subject that is a number": with_claims(sub=5),
    "a subject with NUL": with_claims(sub="a\x00b"),
    "an endless subject": with_claims(sub="a" * 300),
    "a logout token": with_claims(events={"http://schemas.openid.net/event/backchannel-logout": {}}),
    "an access token": with_claims(token_use="refresh"),
    "a refresh token": with_claims(typ="Refresh"),
    "not a token": lambda *_: "nonsense",
    "an empty text": lambda *_: "",
    "too long": lambda *_: "a" * 450_000,
}


async def test_bad_id_tokens(world: World) -> None:
    """SEC-67, RFC 9700 section 4.5.3.2, OpenID Connect Core 3.1.3.7."""
    before = await world.identities()
    with table() as row:
        for name, make in ID_TOKENS.items():
            with row(name):
                world.corp.signs = make
                async with world.browser() as browser:
                    assert await is_refused(browser, await sign_in(browser))
    assert await world.identities() == before


async def test_odd_claims_of_a_good_id_token_are_no_error(world: World) -> None:
    """No 5xx for what only looks wrong."""
    odd: dict[str, dict[str, Any]] = {
        "sid with NUL": {"sid": "a\x00b"},
        "amr": {"amr": ["pwd", 5, None, {"a": "\x00"}, "x" * 99] * 5},
        "amr as text": {"amr": "pwd"},
        "name": {"name": ["x"]},
        "name with NUL": {"name": "a\x00\u202eb"},
        "email": {"email": {"a": 1}},
        "email with NUL": {"email": "a\x00@corp.example"},
        "verified as text": {"email_verified": "yes"},
    }
    with table() as row:
        for number, (name, claims) in enumerate(odd.items()):
            with row(name):
                own = {"sub": f"odd-{number}", "email": f"odd{number}@corp.example"}
                world.corp.claims = own | claims
                async with world.browser() as browser:
                    assert (await sign_in(browser)).status_code == 303
                    assert (await me(browser))["email_verified"] is False or name != "verified as text"


# --- account takeover -------------------------------------------------------------------------------------------------


async def owned(world: World, email: str, *, verified: bool = True, admin: bool = False) -> str:
    owner = await (world.service.register_admin() if admin else world.service.register(email))
    if admin:
        await world.service.sql("UPDATE idp.users SET email = $2, email_verified = true WHERE id = $1", owner.id, email)
    await world.service.sql("UPDATE idp.users SET email_verified = $2 WHERE id = $1", owner.id, verified)
    return owner.id


@pytest.mark.parametrize("is_verified_there", [True, False])
@pytest.mark.parametrize("is_verified_here", [True, False])
async def test_takeover_by_address(world: World, is_verified_there: bool, is_verified_here: bool) -> None:
    """SEC-16, C-11, RFC 9700 section 4.16: only a verified address claims, and only an account that never proved it."""
    email = str(world.corp.claims["email"])
    owner = await owned(world, email, verified=is_verified_here)
    world.corp.claims["email_verified"] = is_verified_there
    async with world.browser() as browser:
        answer = await sign_in(browser)
        if is_verified_there and not is_verified_here:
            assert (await me(browser))["id"] == owner
            return
        assert answer.headers["Location"].startswith("/link-account?login=")
        assert (await browser.client.get("/auth/me")).status_code == 401
    assert await world.service.sql("SELECT 1 FROM idp.identities WHERE user_id = $1", owner) == []


async def test_takeover_of_an_administrator(world: World) -> None:
    """SEC-16: the address of an administrator gives nothing without a proof."""
    owner = await owned(world, f"root{next(_numbers)}@corp.example")
    await world.service.sql("INSERT INTO idp.user_roles (user_id, role) VALUES ($1, 'admin')", owner)
    ((email,),) = await world.service.sql("SELECT email FROM idp.users WHERE id = $1", owner)
    for spelt in (email, email.upper(), f" {email}"):
        world.evil.claims |= {"email": spelt, "email_verified": True}
        async with world.browser() as browser:
            await sign_in(browser, "evil")
            answer = await browser.client.get("/auth/me")
            assert answer.status_code == 401 or answer.json()["id"] != owner
    assert await world.service.sql("SELECT 1 FROM idp.identities WHERE user_id = $1", owner) == []


async def test_takeover_by_an_address_that_changed_at_the_provider(world: World) -> None:
    """SEC-69: the subject is the person, whatever the address becomes."""
    victim = await owned(world, f"victim{next(_numbers)}@corp.example")
    ((address,),) = await world.service.sql("SELECT email FROM idp.users WHERE id = $1", victim)
    async with world.browser() as browser:
        await sign_in(browser)
        mine = (await me(browser))["id"]
        world.corp.claims["email"] = address
        await sign_in(browser)
        who = await me(browser)
        assert (who["id"], who["email"] == address) == (mine, False)


async def test_takeover_by_a_recycled_address(world: World) -> None:
    """SEC-15: another subject with the same address is another person, who must prove the account."""
    async with world.browser() as left, world.browser() as newcomer:
        await sign_in(left)
        world.corp.claims["sub"] += "-new"
        answer = await sign_in(newcomer)
        assert answer.headers["Location"].startswith("/link-account?login=")
        assert (await newcomer.client.get("/auth/me")).status_code == 401


async def test_the_same_subject_at_two_providers_is_two_people(world: World) -> None:
    """SEC-69: unique is the pair of issuer and subject."""
    world.evil.claims["sub"] = world.corp.claims["sub"]
    async with world.browser() as one, world.browser() as other:
        await sign_in(one)
        await sign_in(other, "evil")
        assert (await me(one))["id"] != (await me(other))["id"]


# --- input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "https:evil.example",
        "http://localhost:5173@evil.example/",
        "http://localhost:5173.evil.example/",
        "javascript:alert(1)",
        "/\r\nSet-Cookie: a=b",
        "data:text/html,x",
    ],
)
async def test_open_redirects_and_headers(world: World, target: str) -> None:
    """RFC 9700 section 4.11."""
    async with world.browser() as browser:
        for more in ({}, {"mode": "cookie"}, {"mode": "code", "code_challenge": "A" * 43}):
            answer = await browser.client.get("/federation/corp/start", params={"return_to": target, **more})
            assert answer.status_code in {303, 400, 403}, answer.text[:200]
            if answer.status_code == 303:  # to the provider; then to a page of ours
                done = await browser.client.get((await approve(answer.headers["Location"])).headers["Location"])
                assert done.headers["Location"].startswith("/")
                assert not done.headers["Location"].startswith(("//", "/\\"))
                assert "a" not in browser.client.cookies


async def test_odd_requests(world: World) -> None:
    """100 kB, repeated parameters, other providers, line breaks: a page with 4xx."""
    async with world.browser() as browser:
        callback = await answered(browser)
        path, query = urlsplit(callback).path, urlsplit(callback).query
        big = "x" * 20_000
        gets = {
            "state twice": f"{path}?{query}&state=x",
            "code twice": f"{path}?{query}&code=x",
            "big state": f"{path}?code=x&state={big}",
            "big code": f"{path}?{query}&code={big}",
            "many": f"{path}?{query}&" + "&".join(f"p{number}=1" for number in range(50)),
            "not UTF-8": f"{path}?code=%ff&state=%ff",
            "no state": f"{path}?code=x",
            "nothing": path,
            "unknown provider": f"/federation/nobody/callback?{query}",
            "line break": f"/federation/x%0d%0aSet-Cookie:a=b/callback?{query}",
        }
        posts = {
            "100 kB": (path, "state=" + "x" * 100_000),
            "2 MB": (path, "state=" + "x" * 2_000_000),
            "not a form": (path, '{"state": 1}'),
            "twice": (path, f"{query}&state=x"),
            "line break": ("/federation/x%0d%0aSet-Cookie:a=b/callback", query),
        }
        with table() as row:
            for name, url in gets.items():
                with row(name):
                    answer = await browser.client.get(url)
                    assert 400 <= answer.status_code < 500
                    assert "set-cookie" not in answer.headers or "a=b" not in answer.headers["set-cookie"]
            for name, (url, body) in posts.items():
                with row(f"post {name}"):
                    headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": "https://evil.example"}
                    answer = await browser.client.post(url, content=body, headers=headers)
                    assert 400 <= answer.status_code < 500 or answer.status_code == 303
                    assert "set-cookie" not in answer.headers
                    if answer.status_code == 303:
                        assert (await browser.client.get(answer.headers["Location"])).status_code == 400
            for name in ("login_hint", "return_to", "mode", "code_challenge", "request"):
                with row(f"start {name}"):
                    answer = await browser.client.get("/federation/corp/start", params={name: big})
                    assert answer.status_code < 500
                    assert len(answer.headers.get("Location", "")) < 10_000
        assert (await browser.client.get(callback)).status_code == 303  # none of these used it up


async def test_a_provider_that_may_not_create_users(world: World) -> None:
    world.evil.suffix = "/closed"
    async with world.browser() as browser:
        assert await is_refused(browser, await sign_in(browser, "closed"), status=403)


async def test_a_link_that_another_user_began_in_this_browser(world: World) -> None:
    """RFC 9700 section 4.7: nobody's identity is linked to the account of who used the browser before."""
    before, after = await world.service.register(), await world.service.register()
    async with world.browser() as browser:
        await browser.sign_in(before)
        begun = await browser.client.post("/api/auth/identities/corp", headers=_csrf(browser), json={})
        assert begun.status_code == 200, begun.text
        await browser.sign_in(after)
        answer = await browser.client.get((await approve(begun.json()["url"])).headers["Location"])
        assert answer.status_code == 400
        await browser.sign_in(before)
        begun = await browser.client.post("/api/auth/identities/corp", headers=_csrf(browser), json={})
        done = await browser.client.get((await approve(begun.json()["url"])).headers["Location"])
        assert (done.status_code, done.headers["Location"]) == (303, "/")
    linked = await world.service.sql("SELECT user_id FROM idp.identities WHERE subject = $1", world.corp.claims["sub"])
    assert [str(row["user_id"]) for row in linked] == [before.id]


def _csrf(browser: Browser) -> dict[str, str]:
    return {"X-CSRF-Token": browser.client.cookies["idp_csrf"]}
