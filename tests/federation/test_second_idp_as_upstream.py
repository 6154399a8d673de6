"""A second idp as upstream, over sockets: there and back, and who the user is here (S3-07, S3-37, SEC-67 to 69)."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from factories import Person, Service, running
from flows.mail_support import mails_about
from idp.dev.embedded import EmbeddedPostgres
from provider_apps import Browser, challenge_of, register_app, returned

PROVIDER = "corp"


@pytest.fixture(scope="module")
async def upstream(postgres: EmbeddedPostgres) -> AsyncIterator[Service]:
    async with running(postgres.create_database("upstream_idp")) as service:
        yield service


@asynccontextmanager
async def trusting(postgres: EmbeddedPostgres, upstream: Service, name: str, **changes: Any) -> AsyncIterator[Service]:
    """Run a service whose provider `corp` is the upstream."""
    admin = await upstream.register_admin()
    client = await register_app(upstream, admin, redirect_uris=["https://placeholder.example.com/callback"])
    provider = {
        "issuer": upstream.base_url,
        "client_id": client.client_id,
        "client_secret": client.secret,
        "trusted_email_domains": ["example.com"],
        **changes,
    }
    environ = {"IDP_FEDERATION__PROVIDERS": json.dumps({PROVIDER: provider})}
    async with running(postgres.create_database(name), environ=environ) as service:
        uri = f"{service.base_url}/federation/{PROVIDER}/callback"
        await upstream.sql(
            "UPDATE idp.oauth_clients SET redirect_uris = $2 WHERE client_id = $1", client.client_id, [uri]
        )
        await upstream.sql("UPDATE idp.users SET email_verified = true")
        yield service


@pytest.fixture(scope="module")
async def service(postgres: EmbeddedPostgres, upstream: Service) -> AsyncIterator[Service]:
    async with trusting(postgres, upstream, "federated") as service:
        yield service


class Traveller:
    """A browser that visits both services; each has its own cookies."""

    def __init__(self, here: Service, there: Service) -> None:
        self.here, self.there = Browser(here), Browser(there)

    async def __aenter__(self) -> "Traveller":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.here.client.aclose()
        await self.there.client.aclose()

    async def start(self, **query: str) -> httpx2.Response:
        """Press the button, and follow it to the upstream and to its answer."""
        began = await self.here.client.get(f"/federation/{PROVIDER}/start", params=query)
        assert began.status_code == 303, began.text[:500]
        return await self.there.follow(await self.there.client.get(began.headers["Location"]))

    async def come_back(self, answer: httpx2.Response) -> httpx2.Response:
        """Follow the upstream's answer to the callback."""
        return await self.here.client.get(answer.headers["Location"])


@pytest.fixture
async def traveller(service: Service, upstream: Service) -> AsyncIterator[Traveller]:
    async with Traveller(service, upstream) as traveller:
        yield traveller


async def person_there(upstream: Service, *, verified: bool = True, **more: Any) -> Person:
    person = await upstream.register(**more)
    await upstream.sql("UPDATE idp.users SET email_verified = $2 WHERE id = $1", person.id, verified)
    return person


async def me(browser: Browser) -> dict[str, Any]:
    answer = await browser.client.get("/auth/me")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_new_person_lands_signed_in(traveller: Traveller, upstream: Service) -> None:
    """S3-07 S3-37 for browsers; SEC-67 SEC-69."""
    person = await person_there(upstream, name="Grace Hopper")
    await traveller.there.sign_in(person)
    answer = await traveller.come_back(await traveller.start())
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    here = await me(traveller.here)
    assert (here["email"], here["name"], here["email_verified"]) == (person.email, "Grace Hopper", True)
    assert here["id"] != person.id
    listed = (await traveller.here.client.get("/api/auth/identities")).json()["identities"]
    assert [(each["provider"], each["subject"]) for each in listed] == [(upstream.base_url, person.id)]


async def test_the_same_person_is_the_same_user_again(service: Service, upstream: Service) -> None:
    """SEC-69."""
    person, ids = await person_there(upstream), set()
    for _ in range(2):
        async with Traveller(service, upstream) as traveller:
            await traveller.there.sign_in(person)
            await traveller.come_back(await traveller.start())
            ids.add((await me(traveller.here))["id"])
    assert len(ids) == 1


async def test_an_app_gets_its_code_through_the_upstream(
    service: Service, traveller: Traveller, upstream: Service
) -> None:
    """The whole chain: app, us, upstream, and back to the app."""
    app = await register_app(service, await service.register_admin())
    await traveller.there.sign_in(await person_there(upstream))
    asked = await traveller.here.client.get("/oauth2/authorize", params=app.parameters())
    request = parse_qs(urlsplit(asked.headers["Location"]).query)["request"][0]
    answer = await traveller.come_back(await traveller.start(request=request))
    back = returned(await traveller.here.follow(answer))
    tokens = (await app.exchange(back["code"])).json()
    assert tokens["id_token"]


async def test_an_answer_is_used_once_and_in_one_browser(
    service: Service, traveller: Traveller, upstream: Service
) -> None:
    """SEC-67: replay, CSRF and session fixation (RFC 9700 section 4.7)."""
    await traveller.there.sign_in(await person_there(upstream))
    answer = await traveller.start()
    async with Browser(service) as other:
        stolen = await other.client.get(answer.headers["Location"])
        assert (stolen.status_code, "idp_session" in stolen.headers.get("set-cookie", "")) == (400, False)
    assert (await traveller.come_back(answer)).status_code == 303
    assert (await traveller.come_back(answer)).status_code == 400


async def test_an_account_with_the_address_must_be_proven(
    service: Service, traveller: Traveller, upstream: Service
) -> None:
    """C-11 SEC-16: nothing is linked, and nobody is signed in, before the proof."""
    person = await person_there(upstream)
    owner = await service.register(person.email)
    await service.sql("UPDATE idp.users SET email_verified = true WHERE id = $1", owner.id)
    await traveller.there.sign_in(person)
    answer = await traveller.come_back(await traveller.start())
    assert answer.headers["Location"].startswith("/link-account?login=")
    assert (await traveller.here.client.get("/auth/me")).status_code == 401
    assert await service.sql("SELECT 1 FROM idp.identities WHERE subject = $1", person.id) == []


async def test_a_verified_identity_claims_an_unverified_account(
    service: Service, traveller: Traveller, upstream: Service
) -> None:
    """C-11: the password of whoever registered the address is gone."""
    person = await person_there(upstream)
    squatter = await service.register(person.email)
    await traveller.there.sign_in(person)
    await traveller.come_back(await traveller.start())
    assert (await me(traveller.here))["id"] == squatter.id
    assert (await service.me(squatter.bearer)).status_code == 401


async def test_an_app_exchanges_its_code_once(service: Service, traveller: Traveller, upstream: Service) -> None:
    """`mode=code`, bound to the challenge of the app."""
    verifier = "v" * 50
    await traveller.there.sign_in(await person_there(upstream))
    page = "http://localhost:5173/welcome?x=1"
    answer = await traveller.start(return_to=page, mode="code", code_challenge=challenge_of(verifier))
    back = await traveller.come_back(answer)
    assert back.headers["Location"].startswith(f"{page}&code=")
    code = back.headers["Location"].partition("code=")[2]
    wrong = await service.client.post("/auth/federation/exchange", json={"code": code, "code_verifier": "w" * 50})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "federated_login_invalid")
    right = await service.client.post("/auth/federation/exchange", json={"code": code, "code_verifier": verifier})
    assert right.status_code == 200
    assert right.json()["refresh_token"]
    assert (await service.validate(right.json()["access_token"]))["valid"]
    again = await service.client.post("/auth/federation/exchange", json={"code": code, "code_verifier": verifier})
    assert again.status_code == 400
    foreign = await traveller.here.client.get(
        f"/federation/{PROVIDER}/start", params={"return_to": "https://evil.example/", "mode": "cookie"}
    )
    assert foreign.status_code == 403


async def test_the_last_way_in_stays(traveller: Traveller, upstream: Service) -> None:
    await traveller.there.sign_in(await person_there(upstream))
    await traveller.come_back(await traveller.start())
    (identity,) = (await traveller.here.client.get("/api/auth/identities")).json()["identities"]
    headers = {"X-CSRF-Token": traveller.here.client.cookies["idp_csrf"]}
    answer = await traveller.here.client.delete(f"/api/auth/identities/{identity['id']}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "last_way_in")


async def test_the_providers_are_listed(service: Service) -> None:
    answer = await service.client.get("/auth/providers")
    assert answer.json() == {
        "providers": [{"name": PROVIDER, "label": "Single sign-on", "start_url": f"/federation/{PROVIDER}/start"}]
    }


# --- the proof of an account -----------------------------------------------------------------------------------------


async def waiting_link(
    service: Service, traveller: Traveller, upstream: Service, *, verified: bool = True
) -> tuple[Person, str]:
    """Sign in upstream with the address of an account here; return the account, and the page that asks for a proof."""
    person = await person_there(upstream)
    owner = await service.register(person.email)
    await service.sql("UPDATE idp.users SET email_verified = $2 WHERE id = $1", owner.id, verified)
    await traveller.there.sign_in(person)
    return owner, (await traveller.come_back(await traveller.start())).headers["Location"]


async def submit(browser: Browser, path: str, **form: str) -> httpx2.Response:
    page = await browser.client.get(path)
    token = page.text.partition('name="csrf_token" value="')[2].partition('"')[0]
    return await browser.client.post(path, data={"csrf_token": token, **form})


async def test_the_password_proves_the_account(service: Service, traveller: Traveller, upstream: Service) -> None:
    """C-11 SEC-16."""
    owner, page = await waiting_link(service, traveller, upstream)
    wrong = await submit(traveller.here, page, password="a wrong guess")
    assert (wrong.status_code, "The password is wrong" in wrong.text) == (422, True)
    assert (await traveller.here.client.get("/auth/me")).status_code == 401
    right = await submit(traveller.here, page, password=owner.password)
    assert (right.status_code, right.headers["Location"]) == (303, "/")
    assert (await me(traveller.here))["id"] == owner.id
    assert (await traveller.here.client.get(page)).status_code == 400
    async with Traveller(service, upstream) as again:  # no proof is asked any more
        await again.there.sign_in(owner)
        await again.come_back(await again.start())
        assert (await me(again.here))["id"] == owner.id


async def test_a_link_proves_the_account_in_the_browser_that_asked(
    service: Service, traveller: Traveller, upstream: Service
) -> None:
    """C-11 C-31: a stranger cannot have the owner finish their login."""
    owner, page = await waiting_link(service, traveller, upstream)
    sent = await submit(traveller.here, page, mail="1")
    assert sent.headers["Location"] == f"{page}&step=sent"
    link = await mailed_link(service, owner.email)
    async with Browser(service) as owners_browser:
        assert (await owners_browser.client.get(link)).status_code == 400
    opened = await traveller.here.client.get(link)
    assert (opened.status_code, "Connect Single sign-on" in opened.text) == (200, True)
    assert await service.sql("SELECT 1 FROM idp.identities WHERE user_id = $1", owner.id) == []
    done = await submit(traveller.here, link)
    assert done.status_code == 303, done.text
    assert (await me(traveller.here))["id"] == owner.id
    assert (await traveller.here.client.get(link)).status_code == 400


async def mailed_link(service: Service, email: str) -> str:
    """Return the path of the link in the newest mail to an address."""
    (mail,) = await mails_about(service, email, "Connect a sign-in to your account")
    parts = urlsplit(mail["links"][0])
    return f"{parts.path}?{parts.query}"
