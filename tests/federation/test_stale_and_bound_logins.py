"""Logins that were begun before something changed, bound domains in every spelling, and what is stored meanwhile."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from factories import Person, Service
from federation.provider_support import (
    FakeProvider,
    approve,
    me,
    running_provider,
    running_with,
    sign_in,
)
from federation.test_second_idp_as_upstream import mailed_link, submit
from idp.accounts.foreign_users import ProofRequired
from idp.dev.embedded import EmbeddedPostgres
from idp.directory.claim_rules import Evaluation
from idp.users.identities import ForeignIdentity
from provider_apps import Browser, challenge_of

EVENT = "http://schemas.openid.net/event/backchannel-logout"
_numbers = iter(range(1, 1_000_000))


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[tuple[FakeProvider, FakeProvider]]:
    async with running_provider() as corp, running_provider(suffix="/other") as other:
        yield corp, other


@pytest.fixture
def corp(shared: tuple[FakeProvider, FakeProvider]) -> FakeProvider:
    corp, other = shared
    corp.reset()
    other.reset()
    other.suffix, number = "/other", next(_numbers)
    corp.claims = {
        "sub": f"s-{number}",
        "email": f"p{number}@corp.example",
        "email_verified": True,
        "sid": f"i{number}",
    }
    other.claims = {"sub": f"o-{number}", "email": f"p{number}@bound.example", "email_verified": True}
    return corp


@pytest.fixture
def other(shared: tuple[FakeProvider, FakeProvider], corp: FakeProvider) -> FakeProvider:
    return shared[1]


@pytest.fixture(scope="module")
async def service(shared: tuple[FakeProvider, FakeProvider], postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    corp, other = shared
    providers: dict[str, dict[str, Any]] = {
        "corp": {"issuer": corp.issuer, "trusted_email_domains": ["corp.example"]},
        "other": {"issuer": other.issuer},
        "bound": {
            "issuer": f"{corp.url}/bound",
            "email_domains": ["bound.example", "xn--bcher-kva.example"],
            "refuse_passwords": True,
        },
    }
    async with running_with(postgres, "stale_and_bound", **providers) as service:
        yield service


@pytest.fixture
async def browser(service: Service) -> AsyncIterator[Browser]:
    async with Browser(service) as browser:
        yield browser


async def begun_link(browser: Browser) -> str:
    """Ask for the link of an identity to the signed-in account; return the provider's answer."""
    headers = {"X-CSRF-Token": browser.client.cookies["idp_csrf"]}
    asked = await browser.client.post("/api/auth/identities/corp", json={}, headers=headers)
    assert asked.status_code == 200, asked.text
    return (await approve(asked.json()["url"])).headers["Location"]


async def linked(service: Service, user_id: str) -> int:
    ((count,),) = await service.sql("SELECT count(*) FROM idp.identities WHERE user_id = $1", user_id)
    return int(count)


# --- what was begun before something changed --------------------------------------------------------------------------


async def ended(service: Service, browser: Browser, person: Person) -> None:
    answer = await service.client.post("/auth/logout-all", headers=person.bearer)
    assert answer.status_code == 200, answer.text


async def changed_password(service: Service, browser: Browser, person: Person) -> None:
    body = {"current_password": person.password, "new_password": "another long passphrase 7"}
    answer = await service.client.post("/api/auth/password/change", json=body, headers=person.bearer)
    assert answer.status_code == 200, answer.text


async def disabled(service: Service, browser: Browser, person: Person) -> None:
    await service.sql("UPDATE idp.users SET is_active = false WHERE id = $1", person.id)


@pytest.mark.parametrize("happened", [ended, changed_password, disabled], ids=lambda each: each.__name__)
async def test_a_session_that_has_ended_links_nothing(
    service: Service, browser: Browser, corp: FakeProvider, happened: Any
) -> None:
    """SEC-71 C-11: whoever had a session for a minute gets no lasting way in after its owner ended it."""
    person = await service.register()
    await browser.sign_in(person)
    callback = await begun_link(browser)
    await happened(service, browser, person)
    answer = await browser.client.get(callback)
    assert answer.status_code in {400, 401}, answer.text[:300]
    assert await linked(service, person.id) == 0


async def test_a_squatters_link_does_not_survive_the_claim(
    service: Service, browser: Browser, corp: FakeProvider, other: FakeProvider
) -> None:
    """C-11 SEC-16: a link that was begun before the owner of the address came is not finished afterwards."""
    address = f"owner{next(_numbers)}@corp.example"
    squatter = await service.register(address)
    await service.sql("UPDATE idp.users SET email_verified = false WHERE id = $1", squatter.id)
    await browser.sign_in(squatter)
    mine = corp.claims
    corp.claims = {"sub": f"squatter-{next(_numbers)}", "email": "squatter@elsewhere.example"}
    callback = await begun_link(browser)
    corp.claims = mine | {"email": address}
    async with Browser(service) as owner:
        # the answer of the squatter's login waits; its claims were signed when its code was issued
        await sign_in(owner)
        assert (await me(owner))["id"] == squatter.id
        corp.claims = {"sub": "squatter", "email": "squatter@elsewhere.example"}
        assert (await browser.client.get(callback)).status_code == 400
    assert await linked(service, squatter.id) == 1


async def test_unlinking_ends_the_other_sessions_of_the_identity(
    service: Service, browser: Browser, corp: FakeProvider
) -> None:
    """SEC-71: whoever unlinks an identity that a thief has too, ends the thief's session."""
    person = await service.register()
    await browser.sign_in(person)
    assert (await browser.client.get(await begun_link(browser))).status_code == 303
    async with Browser(service) as thief:
        await sign_in(thief)
        assert (await me(thief))["id"] == person.id
        (identity,) = (await browser.client.get("/api/auth/identities")).json()["identities"]
        headers = {"X-CSRF-Token": browser.client.cookies["idp_csrf"]}
        done = await browser.client.delete(f"/api/auth/identities/{identity['id']}", headers=headers)
        assert done.status_code == 200
        assert (await thief.client.get("/auth/me")).status_code == 401
    assert (await me(browser))["id"] == person.id


async def test_a_code_of_an_identity_that_was_unlinked_starts_nothing(
    service: Service, browser: Browser, corp: FakeProvider
) -> None:
    """SEC-15 SEC-67: `mode=code` in the minute between the code and its exchange."""
    verifier = "v" * 50
    page = {"return_to": "http://localhost:5173/in", "mode": "code", "code_challenge": challenge_of(verifier)}
    back = await sign_in(browser, **page)
    code = parse_qs(urlsplit(back.headers["Location"]).query)["code"][0]
    await service.sql("DELETE FROM idp.identities WHERE subject = $1", corp.claims["sub"])
    answer = await service.client.post("/auth/federation/exchange", json={"code": code, "code_verifier": verifier})
    assert (answer.status_code, answer.json()["code"]) == (400, "federated_login_invalid")


async def test_a_code_is_exchanged_once_at_once(service: Service, browser: Browser, corp: FakeProvider) -> None:
    """SEC-67: of eight concurrent requests one gets a session."""
    verifier = "v" * 50
    page = {"return_to": "http://localhost:5173/in", "mode": "code", "code_challenge": challenge_of(verifier)}
    back = await sign_in(browser, **page)
    code = parse_qs(urlsplit(back.headers["Location"]).query)["code"][0]
    body = {"code": code, "code_verifier": verifier}
    answers = await asyncio.gather(*(service.client.post("/auth/federation/exchange", json=body) for _ in range(8)))
    assert sorted(each.status_code for each in answers) == [200, *[400] * 7]


async def test_an_account_that_was_verified_meanwhile_is_linked_by_a_proof_only(service: Service) -> None:
    """SEC-16: between the look-up of the address and the link."""
    person = await service.register(f"late{next(_numbers)}@corp.example")
    await service.sql("UPDATE idp.users SET email_verified = true WHERE id = $1", person.id)
    identity = ForeignIdentity("https://corp.example", "s", email=person.email, email_verified=True)
    with pytest.raises(ProofRequired):
        await service.app.core.foreign_users.ensure(identity, Evaluation(), link_verified=False)
    assert await linked(service, person.id) == 0


@pytest.mark.parametrize("odd", ["\x00", "\n", "\u2028", "\ud800"])
async def test_an_odd_page_to_return_to_is_refused(service: Service, browser: Browser, odd: str) -> None:
    """SEC-42: NUL cannot be stored, line breaks do not belong into an address; 4xx, never a 5xx."""
    target = quote(f"http://localhost:5173/{odd}", errors="surrogatepass")
    answer = await browser.client.get(f"/federation/corp/start?mode=cookie&return_to={target}")
    assert answer.status_code == 303 if odd == "\ud800" else 400 <= answer.status_code < 500  # as U+FFFD
    await browser.sign_in(await service.register())
    headers = {"X-CSRF-Token": browser.client.cookies["idp_csrf"], "Content-Type": "application/json"}
    body = json.dumps({"return_to": f"/{odd}"})
    answer = await browser.client.post("/api/auth/identities/corp", content=body, headers=headers)
    assert answer.status_code == 422 or (odd == "\n" and answer.status_code == 200), answer.text


@pytest.mark.parametrize("user", [{"id": 1, "name": "\ud800"}, {"id": 10**300}, {"id": 2, "teams": ["\ud800"]}])
async def test_githubs_odd_answers_are_no_error(
    corp: FakeProvider, postgres: EmbeddedPostgres, user: dict[str, Any]
) -> None:
    """SEC-28: lone surrogates and huge numbers end on a page."""
    corp.client, corp.user, corp.emails = "post", user, []
    rules = [{"claim": "teams", "teams_by_external_ref": True}]
    name, github = f"odd_github_{next(_numbers)}", {"preset": "github", "issuer": corp.url, "rules": rules}
    async with running_with(postgres, name, corp=github) as service, Browser(service) as browser:
        assert (await sign_in(browser)).status_code == 400


# --- the replay of a logout token -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sid", [True, False])
async def test_a_logout_token_ends_no_session_that_began_after_it(
    service: Service, browser: Browser, corp: FakeProvider, sid: bool
) -> None:
    """SEC-73: a logout token that is sent again, within the time that it allows itself."""
    now = int(time.time())
    more = {"sid": corp.claims["sid"]} if sid else {}
    token = corp.sign(
        {"iss": corp.issuer, "aud": "client-1", "sub": corp.claims["sub"], "iat": now - 200, "exp": now + 10_000_000,
         "jti": "j", "events": {EVENT: {}}, **more}, typ="logout+jwt")  # fmt: skip
    assert (await sign_in(browser)).status_code == 303
    answer = await service.client.post("/federation/corp/backchannel-logout", data={"logout_token": token})
    assert answer.status_code == 200, answer.text
    assert (await browser.client.get("/auth/me")).status_code == 200


# --- bound domains ----------------------------------------------------------------------------------------------------

SPELLINGS = (
    "bound.example",
    "BOUND.Example",
    "bound.example ",
    "\uff42\uff4f\uff55\uff4e\uff44.example",
    "bound\u3002example",
    "bo\u00adund.example",
    "bücher.example",
    "BÜCHER.example",
    "bu\u0308cher.example",
    "xn--bcher-kva.example",
)


@pytest.mark.parametrize("domain", SPELLINGS)
@pytest.mark.parametrize("path", ["/api/auth/login", "/auth/login"])
async def test_no_spelling_of_a_bound_domain_takes_a_password(service: Service, domain: str, path: str) -> None:
    """SEC-16, decision 0051: Unicode, case and IDNA; the account exists, and its password is right."""
    plain = "xn--bcher-kva.example" if "cher" in domain.lower() else "bound.example"
    local = f"p{next(_numbers)}"
    person = await service.register(f"{local}@elsewhere.example")
    shown = "bücher.example" if "cher" in domain.lower() else plain
    await service.sql(
        "UPDATE idp.users SET email = $2, email_key = $3, email_verified = true WHERE id = $1",
        person.id, f"{local}@{shown}", f"{local}@{plain}",
    )  # fmt: skip
    answer = await service.client.post(path, json={"email": f"{local}@{domain}", "password": person.password})
    assert answer.status_code in {403, 422}, answer.text
    if answer.status_code == 403:
        assert answer.json()["code"] == "passwords_refused"


@pytest.mark.parametrize("domain", ["bound.example", "\uff42\uff4f\uff55\uff4e\uff44.example", "bücher.example"])
async def test_no_password_is_registered_for_a_bound_domain(service: Service, domain: str) -> None:
    """SEC-16, by both registrations."""
    for path in ("/auth/register", "/api/auth/email/register"):
        body = {"email": f"n{next(_numbers)}@{domain}", "password": "a long passphrase 42", "name": "N"}
        answer = await service.client.post(path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "passwords_refused"), (path, answer.text)


async def test_the_password_of_a_bound_domain_proves_no_account(
    service: Service, browser: Browser, other: FakeProvider
) -> None:
    """SEC-16: not on the page of another provider either, whose word about the address is worth nothing."""
    person = await service.register()
    address = other.claims["email"]
    await service.sql(
        "UPDATE idp.users SET email = $2, email_key = $2, email_verified = true WHERE id = $1", person.id, address
    )
    page = (await sign_in(browser, "other")).headers["Location"]
    assert page.startswith("/link-account?login=")
    assert 'type="password"' not in (await browser.client.get(page)).text
    answer = await submit(browser, page, password=person.password)
    assert answer.status_code == 403
    assert (await browser.client.get("/auth/me")).status_code == 401
    assert await linked(service, person.id) == 0
    await submit(browser, page, mail="1")
    assert (await submit(browser, await mailed_link(service, address))).status_code == 303
    assert (await me(browser))["id"] == person.id


# --- what is stored, and what a provider publishes --------------------------------------------------------------------


async def test_no_id_token_is_stored_in_clear(service: Service, browser: Browser, corp: FakeProvider) -> None:
    """SEC-67 SEC-74: neither while a proof is awaited, nor with a code, nor of a session."""
    page = {"return_to": "http://localhost:5173/in", "mode": "code", "code_challenge": challenge_of("v" * 50)}
    assert "code=" in (await sign_in(browser, **page)).headers["Location"]
    corp.claims |= {"sub": f"another-{next(_numbers)}"}
    assert (await sign_in(browser)).headers["Location"].startswith("/link-account")
    await service.sql("SELECT 1")
    rows = await service.sql("SELECT outcome::text AS outcome FROM idp.federated_logins WHERE outcome IS NOT NULL")
    tokens = [each for row in rows for each in _texts(json.loads(row["outcome"])) if each.count(".") == 2]
    assert rows
    assert tokens == []


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in members for text in _texts(each)]


@pytest.mark.parametrize(
    "endpoint", ["javascript:alert(1)", "https://[::1", "https://a b/\x00", "http://corp.example/x", ""]
)
async def test_an_unusable_logout_endpoint_is_not_used(
    corp: FakeProvider, postgres: EmbeddedPostgres, endpoint: str
) -> None:
    """SEC-66: the metadata of a provider lead no browser to a script, and make no logout fail."""
    corp.metadata = {"end_session_endpoint": endpoint}
    name = f"logout_{next(_numbers)}_endpoint"
    async with running_with(postgres, name, corp={"issuer": corp.issuer}) as service, Browser(service) as browser:
        assert (await sign_in(browser)).status_code == 303
        headers = {"X-CSRF-Token": browser.client.cookies["idp_csrf"]}
        answer = await browser.client.post("/auth/logout", headers=headers)
        assert answer.status_code == 200, answer.text
        assert "javascript" not in answer.text
